//! Accepting: who connects gets a session, as long as there is room.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::auth::Rights;
use crate::control::{Control, canonical};
use crate::listeners::is_passing;
use crate::session::{self, Shared};
use crate::settings::Terms;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Most connections that are accepted before the thread looks at what else it has to do: whoever
/// connects without end keeps it neither from the watchdog nor from the end of the daemon.
const AT_ONCE: usize = 64;

/// Takes connections in, as long as there is room.
#[derive(Debug)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
    /// When it was last said that there is no room, and how many were turned away since.
    full: Option<(Instant, u64)>,
}

impl Gate {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, full: None }
    }

    /// Accepts what waits, or some of it. The result is how long to pause before the next call, if it
    /// is not for a new connection.
    pub(crate) fn accept_some(&mut self) -> Option<Duration> {
        for _ in 0..AT_ONCE {
            match self.shared.listeners.accept() {
                Ok((stream, peer)) => self.admit(stream.into(), canonical(peer)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Err(e) if is_passing(&e) => {}
                Err(e) => {
                    tracing::error!("accepting a connection: {e}");
                    return Some(ACCEPT_PAUSE);
                }
            }
        }
        Some(Duration::ZERO)
    }

    fn admit(&mut self, stream: std::net::TcpStream, peer: SocketAddr) {
        let limit = self.shared.settings.get().cli.max_sessions;
        if !self.shared.sessions.make_room(limit) {
            self.turn_away(peer, limit);
            return;
        }
        let control = match Control::new(stream, peer) {
            Ok(control) => control,
            Err(e) => {
                tracing::warn!(%peer, "connection not taken: {e}");
                return;
            }
        };
        let shared = Arc::clone(&self.shared);
        let place = shared.sessions.enter(peer, control.local, None, control.waker());
        // Once it is entered: a reload either ends it, or it sees what the reload brought.
        let terms =
            Terms { settings: shared.settings.get(), peer: None, rights: Rights::default() };
        let spawned = thread::Builder::new().name("session".to_owned()).spawn(move || {
            session::serve(control, terms, &place.entry, &shared);
        });
        if let Err(e) = spawned {
            tracing::error!(%peer, "starting a session's thread: {e}");
        }
    }

    /// Closes the connection; the log gets a line a second at most.
    fn turn_away(&mut self, peer: SocketAddr, limit: usize) {
        match &mut self.full {
            Some((since, n)) if since.elapsed() < Duration::from_secs(1) => *n += 1,
            full => {
                let others = full.take().map_or(0, |(_, n)| n);
                tracing::warn!(%peer, others, "connection closed: {limit} sessions are the limit");
                *full = Some((Instant::now(), 0));
            }
        }
    }
}
