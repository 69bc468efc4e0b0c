//! The daemon's own traffic, which no capture may contain: forwarding it would beget more of it.
//!
//! Two kinds of it are known. What goes to or from an address and port that the daemon listens on for
//! control connections is its own, whoever the peer is: so strangers who connect add nothing to
//! remember. Every data connection is a [`Flow`] from before its first packet until a while after its
//! end. In front of every capture's filter stands a guard that refuses both, those of other sessions
//! too. A client's own filter never replaces it.

mod program;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use capture::{Control, Instruction, LinkType};

use crate::locked::lock;

/// How long the last packets of a closed connection may still be on their way.
const AFTERLIFE: Duration = Duration::from_secs(60);

/// Most data connections at a time. The guard against so many of IPv6, and against all control
/// addresses, leaves room in the kernel's 4,096 instructions.
const FLOWS_MAX: usize = 60;

/// Most addresses of control connections that are remembered: those last connected to. A host with
/// more is rare, and a forgotten one comes back with its next connection.
const CONTROL_MAX: usize = 16;

/// A transport protocol, by its IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// The packets between two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// TCP or UDP.
    pub transport: Transport,
    /// This host's end.
    pub local: SocketAddr,
    /// The other host; `None` for all of them.
    pub peer: Option<IpAddr>,
    /// Its port; `None` for all of them.
    pub peer_port: Option<u16>,
}

/// Why a connection cannot be kept out of captures, and therefore is not to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHidden {
    /// There are as many as a guard has room for.
    #[error(
        "{FLOWS_MAX} data connections are open, and the traffic of one more could not be kept out of \
         captures; --capture-own-traffic lifts this"
    )]
    TooMany,
    /// The system takes no such guard.
    #[error(
        "the traffic of one more data connection could not be kept out of captures: {0}; \
         --capture-own-traffic lifts this"
    )]
    NoGuard(String),
}

/// All of the daemon's traffic, and all captures that must not contain it.
#[derive(Debug, Default)]
pub struct OwnTraffic {
    /// Whether captures may contain it after all.
    allowed: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    /// Where control connections end, the last used last.
    control: Vec<Flow>,
    /// Data connections, the oldest first.
    flows: Vec<Entry>,
    captures: Vec<(u64, Control, LinkType)>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    flow: Flow,
    closed: Option<Instant>,
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn guard(&self, linktype: LinkType, with_dead: bool) -> Vec<Instruction> {
        // Those that live come first: if there is no room for all, it is the dead that go without.
        let living = self.flows.iter().filter(|f| f.closed.is_none());
        let dead = self.flows.iter().rev().filter(|f| with_dead && f.closed.is_some());
        let flows = living.chain(dead).map(|f| &f.flow);
        program::guard(self.control.iter().chain(flows), linktype)
    }

    /// Gives every capture the guard of now, or what matters of it. An error: one of them has that of
    /// before.
    fn spread(&self) -> Result<(), capture::Error> {
        let mut result = Ok(());
        for (_, control, linktype) in &self.captures {
            // The kernel may have room for a shorter one (net.core.optmem_max).
            let given = control
                .set_guard(&self.guard(*linktype, true))
                .or_else(|_| control.set_guard(&self.guard(*linktype, false)));
            if let Err(e) = given {
                tracing::warn!("keeping the daemon's own traffic out of a capture: {e}");
                result = Err(e);
            }
        }
        result
    }
}

impl OwnTraffic {
    /// `allowed` lets captures contain the daemon's own traffic.
    pub fn new(allowed: bool) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Keeps out all control connections to this address and port of the daemon's.
    pub fn hide_control(&self, local: SocketAddr) {
        let flow = Flow { transport: Transport::Tcp, local, peer: None, peer_port: None };
        let mut state = self.lock();
        if let Some(at) = state.control.iter().position(|known| *known == flow) {
            let known = state.control.remove(at);
            state.control.push(known);
            return;
        }
        if state.control.len() == CONTROL_MAX {
            state.control.remove(0);
        }
        state.control.push(flow);
        // If it is not taken, that was logged: a control connection is few packets.
        let _ = state.spread();
    }

    /// Keeps a data connection out, from now until a while after the result is dropped.
    pub fn hide(self: &Arc<Self>, flow: Flow) -> Result<Hidden, NotHidden> {
        let mut state = self.lock();
        state.flows.retain(|f| f.closed.is_none_or(|at| at.elapsed() < AFTERLIFE));
        let living = state.flows.iter().filter(|f| f.closed.is_none()).count();
        if living >= FLOWS_MAX && !self.allowed {
            return Err(NotHidden::TooMany);
        }
        // Of the dead, as many as there may be of the living.
        if state.flows.len() - living >= FLOWS_MAX
            && let Some(at) = state.flows.iter().position(|f| f.closed.is_some())
        {
            state.flows.remove(at);
        }
        let id = state.id();
        state.flows.push(Entry { id, flow, closed: None });
        if let Err(e) = state.spread() {
            state.flows.pop();
            return Err(NotHidden::NoGuard(e.to_string()));
        }
        Ok(Hidden { own: Arc::clone(self), id })
    }

    /// The guard for a capture that is about to start. [`Self::watch`] keeps it up to date.
    pub fn guard(&self, linktype: LinkType) -> Vec<Instruction> {
        if self.allowed { Vec::new() } else { self.lock().guard(linktype, true) }
    }

    /// Keeps a capture's guard up to date until the result is dropped.
    #[must_use]
    pub fn watch(self: &Arc<Self>, control: Control, linktype: LinkType) -> Watched {
        let mut state = self.lock();
        let id = state.id();
        if !self.allowed {
            state.captures.push((id, control, linktype));
            // Something may have come since the capture got its first guard. If it is not taken, that
            // was logged.
            let _ = state.spread();
        }
        Watched { own: Arc::clone(self), id }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A data connection that is kept out of captures.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16) -> Flow {
        Flow {
            transport: Transport::Udp,
            local: ([192, 0, 2, 1], port).into(),
            peer: Some([192, 0, 2, 9].into()),
            peer_port: Some(7),
        }
    }

    #[test]
    fn strangers_leave_nothing_behind() {
        let own = Arc::new(OwnTraffic::new(false));
        let empty = own.guard(LinkType::ETHERNET).len();
        for _ in 0..10_000 {
            own.hide_control("192.0.2.1:2002".parse().unwrap());
        }
        let one = own.guard(LinkType::ETHERNET).len();
        for port in 0..10_000 {
            own.hide_control(([192, 0, 2, 1], port).into());
        }
        let many = own.guard(LinkType::ETHERNET).len();
        assert!(empty == 0 && one > 0 && many < one * CONTROL_MAX);
        assert_eq!(own.lock().control.len(), CONTROL_MAX);
    }

    #[test]
    fn the_dead_make_room_for_the_living_and_the_living_are_limited() {
        let own = Arc::new(OwnTraffic::new(false));
        for port in 0..1000 {
            drop(own.hide(flow(port)));
        }
        assert!(own.lock().flows.len() <= FLOWS_MAX + 1);
        let hidden: Vec<_> = (0..FLOWS_MAX as u16).map(|p| own.hide(flow(p)).unwrap()).collect();
        assert_eq!(own.hide(flow(99)).map(drop), Err(NotHidden::TooMany));
        drop(hidden);
        assert!(own.hide(flow(99)).is_ok());
    }
}
