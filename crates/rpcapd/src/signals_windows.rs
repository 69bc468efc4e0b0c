//! Ctrl-C, Ctrl-Break and a console that is closed end the daemon in order, a second one at once. A
//! service hears from its manager instead.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::locked::lock;
use crate::reload::Reloader;
use crate::session::Shared;

/// Both Ctrl-C and Ctrl-Break may come when one is meant.
const ONCE: Duration = Duration::from_millis(500);

/// Wishes from the moment this is made: they wait to be heeded.
#[derive(Debug)]
pub(crate) struct Signals(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// When the end was asked for first.
    first: Option<Instant>,
    /// Whom to tell.
    daemon: Option<(Arc<Shared>, Arc<Waker>)>,
}

impl State {
    fn end(&self) {
        if let (Some(_), Some((shared, waker))) = (self.first, &self.daemon) {
            tracing::info!("Ctrl-C, Ctrl-Break or the end of the console: ending");
            shared.shutdown.store(true, SeqCst);
            // It fails only if the main loop is over already.
            let _ = waker.wake();
        }
    }
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        // Windows tells services when any user logs off, as if their console was closed.
        if !win::service::is_one() {
            let told = Arc::clone(&state);
            let heed = move || {
                let mut state = lock(&told);
                match state.first {
                    Some(first) if first.elapsed() < ONCE => {}
                    Some(_) => std::process::exit(1),
                    None => {
                        state.first = Some(Instant::now());
                        state.end();
                    }
                }
            };
            ctrlc::set_handler(heed).map_err(io::Error::other)?;
        }
        Ok(Self(state))
    }

    /// Heeds them. `waker` wakes who looks whether the daemon is to end.
    pub(crate) fn heed(
        self,
        shared: &Arc<Shared>,
        waker: Arc<Waker>,
        reloader: Reloader,
    ) -> io::Result<()> {
        crate::service::heed(shared, Arc::clone(&waker), reloader);
        let mut state = lock(&self.0);
        state.daemon = Some((Arc::clone(shared), waker));
        state.end();
        Ok(())
    }
}
