//! The daemon's own traffic, which no capture may contain: forwarding it would beget more of it.
//!
//! Every connection of the daemon is a [`Flow`] for as long as it lives and a while longer; every
//! capture gets a guard in front of its filter that refuses all flows, those of other sessions too. A
//! client's own filter never replaces it.

mod program;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use capture::{Control, Instruction, LinkType};

/// How long the last packets of a closed connection may still be on their way.
const AFTERLIFE: Duration = Duration::from_secs(60);

/// A transport protocol, by its IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// The packets between two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// TCP or UDP.
    pub transport: Transport,
    /// This host's end.
    pub local: SocketAddr,
    /// The other host.
    pub peer: IpAddr,
    /// Its port; `None` for all of them.
    pub peer_port: Option<u16>,
}

/// All flows of the daemon, and all captures that must not contain them.
#[derive(Debug, Default)]
pub struct OwnTraffic {
    /// Whether captures may contain it after all.
    allowed: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    flows: Vec<Entry>,
    captures: Vec<(u64, Control, LinkType)>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    flow: Flow,
    closed: Option<Instant>,
}

impl OwnTraffic {
    /// `allowed` lets captures contain the daemon's own traffic.
    pub fn new(allowed: bool) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Keeps a flow out of all captures, from now until a while after the result is dropped.
    #[must_use]
    pub fn hide(self: &Arc<Self>, flow: Flow) -> Hidden {
        let mut state = self.lock();
        state.next_id += 1;
        let id = state.next_id;
        state.flows.retain(|f| f.closed.is_none_or(|at| at.elapsed() < AFTERLIFE));
        state.flows.push(Entry { id, flow, closed: None });
        self.spread(&state);
        Hidden { own: Arc::clone(self), id }
    }

    /// The guard for a capture that is about to start. [`Self::watch`] keeps it up to date.
    pub fn guard(&self, linktype: LinkType) -> Vec<Instruction> {
        if self.allowed {
            return Vec::new();
        }
        program::guard(self.lock().flows.iter().map(|f| &f.flow), linktype)
    }

    /// Keeps a capture's guard up to date until the result is dropped.
    #[must_use]
    pub fn watch(self: &Arc<Self>, control: Control, linktype: LinkType) -> Watched {
        let mut state = self.lock();
        state.next_id += 1;
        let id = state.next_id;
        state.captures.push((id, control, linktype));
        // Flows may have come since the capture got its first guard.
        self.spread(&state);
        Watched { own: Arc::clone(self), id }
    }

    fn spread(&self, state: &State) {
        if self.allowed {
            return;
        }
        for (_, control, linktype) in &state.captures {
            let guard = program::guard(state.flows.iter().map(|f| &f.flow), *linktype);
            if let Err(e) = control.set_guard(&guard) {
                tracing::warn!("keeping the daemon's own traffic out of a capture: {e}");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flow that is kept out of captures.
#[derive(Debug)]
pub struct Hidden {
    own: Arc<OwnTraffic>,
    id: u64,
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let now = Instant::now();
        if let Some(entry) = self.own.lock().flows.iter_mut().find(|f| f.id == self.id) {
            entry.closed = Some(now);
        }
    }
}

/// A capture whose guard is kept up to date.
#[derive(Debug)]
pub struct Watched {
    own: Arc<OwnTraffic>,
    id: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.own.lock().captures.retain(|(id, ..)| *id != self.id);
    }
}
