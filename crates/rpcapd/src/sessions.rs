//! The sessions that run: counted, looked at and ended from other threads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mio::Waker;

use crate::auth::By;
use crate::ledger::Ledger;
use crate::locked::lock;
use crate::peers::Peer;
use crate::pump::Gauge;
use crate::totals::Totals;

/// How long sessions have to end when the daemon does.
const SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// How long a client that is not accepted yet keeps its place when others want it.
const PATIENCE: Duration = Duration::from_secs(10);

/// All sessions of the daemon.
#[derive(Debug, Default)]
pub struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    live: BTreeMap<u64, Arc<Entry>>,
    /// What became of the packets of captures that are over.
    ended: Totals,
}

impl State {
    fn capture_ended(&mut self, entry: &Entry, ledger: impl FnOnce(&Gauge) -> Ledger) {
        if let Some(gauge) = lock(&entry.seen).capture.take() {
            self.ended.add(&gauge.device, entry.peer.ip(), &ledger(&gauge));
        }
    }
}

/// What others can know of a session, and do to it.
#[derive(Debug)]
pub struct Entry {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client, or this daemon, connected from or to.
    pub local: SocketAddr,
    /// Whom this daemon called; `None` if the client called.
    pub called: Option<Arc<Peer>>,
    /// When it began.
    pub since: SystemTime,
    began: Instant,
    waker: Arc<Waker>,
    ending: OnceLock<Ending>,
    seen: Mutex<Seen>,
}

/// Why others end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The configuration has no place for it.
    Unwanted,
    /// All places were taken, and its client took too long to be accepted.
    PlaceNeeded,
}

/// How far a session has come.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whether the client was accepted.
    pub authenticated: bool,
    /// Whether all that is left is to let the client read why it ended.
    pub over: bool,
    /// The name under which it was, and how it proved it, if it has one.
    pub identity: Option<(String, By)>,
    /// The capture that runs.
    pub capture: Option<Gauge>,
}

impl Entry {
    /// How far the session has come.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Ends the session soon. The first reason given counts.
    pub fn end(&self, why: Ending) {
        let _ = self.ending.set(why);
        // It fails only for a session that is over.
        let _ = self.waker.wake();
    }

    /// Why the session is to end, if it is.
    pub fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }

    /// Notes that the client was accepted, and as whom.
    pub fn authenticated(&self, identity: Option<(String, By)>) {
        let mut seen = lock(&self.seen);
        seen.authenticated = true;
        seen.identity = identity;
    }

    /// Notes that the session is over, but for the client that may still read why.
    pub fn over(&self) {
        lock(&self.seen).over = true;
    }

    /// Notes which capture runs.
    pub fn capturing(&self, capture: Gauge) {
        lock(&self.seen).capture = Some(capture);
    }
}

impl Sessions {
    /// Enters a session, until the result is dropped.
    pub fn enter(
        self: &Arc<Self>,
        peer: SocketAddr,
        local: SocketAddr,
        called: Option<Arc<Peer>>,
        waker: Arc<Waker>,
    ) -> Place {
        let entry = Arc::new(Entry {
            peer,
            local,
            called,
            since: SystemTime::now(),
            began: Instant::now(),
            waker,
            ending: OnceLock::new(),
            seen: Mutex::default(),
        });
        let mut state = lock(&self.state);
        state.next += 1;
        let id = state.next;
        state.live.insert(id, Arc::clone(&entry));
        Place { sessions: Arc::clone(self), id, entry }
    }

    /// The sessions by their numbers, the oldest first.
    pub fn list(&self) -> Vec<(u64, Arc<Entry>)> {
        lock(&self.state).live.iter().map(|(id, entry)| (*id, Arc::clone(entry))).collect()
    }

    /// The sessions, how far each has come, and what became of the packets of captures that are over:
    /// every capture is in exactly one of them.
    pub fn look(&self) -> (Vec<(u64, Arc<Entry>, Seen)>, Totals) {
        let state = lock(&self.state);
        let live = state.live.iter().map(|(id, entry)| (*id, Arc::clone(entry), entry.seen()));
        (live.collect(), state.ended.clone())
    }

    /// Notes that the capture of a session is over, and what became of its packets.
    pub fn capture_ended(&self, entry: &Entry, ledger: &Ledger) {
        lock(&self.state).capture_ended(entry, |_| *ledger);
    }

    /// Whether there is room for one more session that a client begins. If there is none, one that is
    /// over or the oldest client that was not accepted within `PATIENCE` makes way, so that strangers
    /// cannot keep others out by connecting.
    pub fn make_room(&self, limit: usize) -> bool {
        let state = lock(&self.state);
        let mut passive =
            state.live.values().filter(|e| e.called.is_none() && e.ending().is_none());
        if passive.clone().count() < limit {
            return true;
        }
        let makes_way = |e: &&Arc<Entry>| {
            let seen = lock(&e.seen);
            seen.over || !seen.authenticated && e.began.elapsed() > PATIENCE
        };
        // They are in the order in which they began.
        let found = passive.find(makes_way);
        if let Some(entry) = found {
            entry.end(Ending::PlaceNeeded);
        }
        found.is_some()
    }

    /// Ends all sessions and waits for them, within bounds.
    pub fn end(&self) {
        let deadline = Instant::now() + SHUTDOWN_TIME;
        let count = || lock(&self.state).live.len();
        for (_, entry) in self.list() {
            entry.end(Ending::Unwanted);
        }
        while count() > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        match count() {
            0 => {}
            left => tracing::warn!("{left} sessions did not end in time"),
        }
    }
}

/// A session's place among the sessions; it is given back however the session ends.
#[derive(Debug)]
pub struct Place {
    sessions: Arc<Sessions>,
    id: u64,
    /// What others see of the session.
    pub entry: Arc<Entry>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.sessions.state);
        state.live.remove(&self.id);
        // Of a session that panicked.
        state.capture_ended(&self.entry, |gauge| gauge.ledger().unwrap_or_default());
    }
}
