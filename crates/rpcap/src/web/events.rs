//! The status of each second, for those who listen.

use std::sync::{Arc, Mutex};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Web;
use super::guard::{Caller, Problem};
use crate::locked::lock;

/// Listeners at a time.
const MOST: usize = 64;

/// Those who listen.
#[derive(Debug)]
pub(super) struct Listeners {
    places: Arc<Semaphore>,
    /// The newest event, and of which second it is: made once for all.
    newest: Mutex<Option<(u64, Bytes)>>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MOST)), newest: Mutex::default() }
    }
}

/// One who listens, until it goes away or is no longer let in.
struct Listening {
    web: Arc<Web>,
    caller: Caller,
    headers: HeaderMap,
    ticks: watch::Receiver<u64>,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

/// `GET /api/events`.
pub(super) async fn events(
    State(web): State<Arc<Web>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = Arc::clone(&web.listeners.places).try_acquire_owned();
    let place = place.map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{MOST} listen already"))
    })?;
    let ticks = web.ticks.subscribe();
    let listening = Listening { web, caller, headers, ticks, begun: false, _place: place };
    let events = stream::unfold(listening, |mut listening| async move {
        // Who is slow gets the newest and not those between.
        if std::mem::replace(&mut listening.begun, true) {
            listening.ticks.changed().await.ok()?;
        }
        let tick = *listening.ticks.borrow_and_update();
        let Listening { web, caller, headers, .. } = &listening;
        let event = web.lets(caller, headers).then(|| web.event(tick))?;
        Some((Ok::<_, std::convert::Infallible>(event), listening))
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response())
}

impl Web {
    fn event(&self, tick: u64) -> Bytes {
        let mut newest = lock(&self.listeners.newest);
        if let Some((_, event)) = newest.as_ref().filter(|(of, _)| *of == tick) {
            return event.clone();
        }
        // JSON of one line.
        let status = serde_json::to_string(&self.status()).unwrap_or_default();
        let event = Bytes::from(format!("event: status\ndata: {status}\n\n"));
        *newest = Some((tick, event.clone()));
        event
    }
}
