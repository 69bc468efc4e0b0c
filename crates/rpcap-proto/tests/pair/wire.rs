//! Two sessions and what is between them.

use std::collections::VecDeque;
use std::time::Duration;

use rpcap_proto::session::{
    ClientSession, Config, DaemonSession, EndReason, Event, Request, Timers,
};
use rpcap_proto::wire::AuthRequest;

use crate::support::host::{Host, drive};

/// Where the wire cuts what passes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nowhere: what was written at once arrives at once.
    None,
    /// After this many bytes of each direction.
    At(usize),
    /// After every so many bytes.
    Every(usize),
}

/// One direction.
#[derive(Debug)]
struct Lane {
    bytes: VecDeque<u8>,
    carried: usize,
    cut: Cut,
}

impl Lane {
    fn new(cut: Cut) -> Self {
        Self { bytes: VecDeque::new(), carried: 0, cut }
    }

    /// The next segment to arrive.
    fn next(&mut self) -> Option<Vec<u8>> {
        let len = match self.cut {
            Cut::Every(n) => self.bytes.len().min(n),
            Cut::At(at) if at > self.carried => self.bytes.len().min(at - self.carried),
            _ => self.bytes.len(),
        };
        self.carried += len;
        (len > 0).then(|| self.bytes.drain(..len).collect())
    }
}

/// A daemon and a client.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) now: Duration,
    pub(crate) daemon: DaemonSession,
    pub(crate) host: Host,
    pub(crate) client: ClientSession,
    pub(crate) end: Option<EndReason>,
    up: Lane,
    down: Lane,
}

impl Pair {
    pub(crate) fn new(config: Config, cut: Cut) -> Self {
        // Not zero, so that a time that was never set shows.
        let now = Duration::from_secs(1_000_000);
        Self {
            now,
            daemon: DaemonSession::new(config, now),
            host: Host::default(),
            client: ClientSession::new(),
            end: None,
            up: Lane::new(cut),
            down: Lane::new(cut),
        }
    }

    /// A pair whose client was let in.
    pub(crate) fn accepted() -> Self {
        let mut pair = Self::new(permissive(), Cut::None);
        let auth = Request::Authenticate(AuthRequest::Null);
        assert!(matches!(pair.ask(&auth), Event::Authenticated(_)));
        pair
    }

    /// Puts bytes on the wire that the client's session would not send.
    pub(crate) fn inject(&mut self, bytes: &[u8]) {
        self.up.bytes.extend(bytes);
    }

    /// Lets everything pass that is under way, and returns what the client then knows.
    pub(crate) fn settle(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            self.up.bytes.extend(self.client.output().drain(..));
            let segment = self.up.next();
            if let Some(bytes) = &segment {
                self.daemon.receive(bytes);
            }
            self.poll_daemon();
            let reply = self.down.next();
            if let Some(bytes) = &reply {
                self.client.receive(bytes);
            }
            while let Some(event) = self.client.poll().expect("a daemon that can be followed") {
                events.push(event);
            }
            if segment.is_none() && reply.is_none() {
                return events;
            }
        }
    }

    /// Bytes that passed in the busier direction.
    pub(crate) fn carried(&self) -> usize {
        self.up.carried.max(self.down.carried)
    }

    fn poll_daemon(&mut self) {
        if self.end.is_none() {
            self.end = drive(&mut self.daemon, &mut self.host, self.now);
            self.down.bytes.extend(self.daemon.output().drain(..));
        }
    }

    /// Sends a request and returns the one answer to it.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Event {
        self.client.request(request).expect("an idle client");
        let mut events = self.settle();
        assert_eq!(events.len(), 1, "to {request:?}: {events:?}");
        events.remove(0)
    }

    /// Lets time pass, waking the daemon at every deadline as its program would.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Event> {
        let until = self.now + time;
        let mut events = Vec::new();
        while let Some(deadline) = self.daemon.deadline().filter(|d| *d <= until) {
            if self.end.is_some() {
                break;
            }
            self.now = deadline;
            events.extend(self.settle());
        }
        self.now = until;
        events.extend(self.settle());
        events
    }
}

/// A daemon that lets everybody in.
pub(crate) fn permissive() -> Config {
    Config { null_auth: true, active: false, timers: Timers::default(), system: None }
}
