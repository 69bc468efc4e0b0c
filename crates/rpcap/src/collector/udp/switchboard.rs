//! Whose a datagram is.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpcap_proto::wire::MessageType;

use super::line::Line;
use crate::collector::flow::Flow;
use crate::data::Received;
use crate::output::Outlet;

/// Bytes of datagrams that are kept for captures that are about to start, in all.
const KEPT: usize = 4 * 1024 * 1024;
/// The same for one address.
const KEPT_OF_ONE: usize = 256 * 1024;
/// How long the source of a capture that is over is remembered: what comes late is no stranger's,
/// and no other capture's.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What a receiver is told by those who start and end captures.
#[derive(Debug)]
pub enum Command {
    /// A capture of an agent there is about to start: its first datagrams may come before it is
    /// known which they are.
    Await(IpAddr),
    /// The start that was awaited is over. If it failed, what came meanwhile may be of nobody.
    Settle(IpAddr, Started),
    /// The datagrams from there are of this capture.
    Bind(SocketAddr, Arc<Flow>),
    /// The first datagram of this agent, from a port that is nobody's, tells where this capture's
    /// come from.
    Learn(Arc<Flow>),
    /// No more are expected of this capture.
    End(Arc<Flow>),
}

/// How a start was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The capture's datagrams are known, or will be by the first.
    Well,
    /// They cannot be told from others'.
    Badly,
}

/// Datagrams that were nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    /// From somebody unknown.
    pub unknown: u64,
    /// Of a capture that was over.
    pub late: u64,
}

/// Datagrams of an agent whose capture is about to start.
#[derive(Debug, Default)]
struct Awaited {
    starts: u32,
    kept: Vec<(SocketAddr, Box<[u8]>)>,
    bytes: usize,
}

/// Gives every datagram to the capture that it is of. One for each receiving thread, without locks.
#[derive(Debug, Default)]
pub struct Switchboard {
    lines: Vec<Option<Box<Line>>>,
    by_source: HashMap<SocketAddr, usize>,
    /// The one that the last datagram was for: they come in runs.
    last: Option<(SocketAddr, usize)>,
    /// Captures whose source is known and that nothing has come of, to this thread at least.
    expected: HashMap<SocketAddr, Arc<Flow>>,
    learning: HashMap<IpAddr, Arc<Flow>>,
    awaited: HashMap<IpAddr, Awaited>,
    kept: usize,
    over: HashMap<SocketAddr, Instant>,
    outlets: Vec<Outlet>,
    /// Lines that something came for since the last look.
    touched: Vec<usize>,
    /// Lines in which datagrams wait for one before them.
    waiting: Vec<usize>,
    strangers: Strangers,
}

impl Switchboard {
    /// Datagrams so far that were nobody's.
    pub fn strangers(&self) -> Strangers {
        self.strangers
    }

    /// Takes a datagram.
    #[inline]
    pub fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        let known = match self.last {
            Some((source, line)) if source == from => Some(line),
            _ => self.by_source.get(&canonical(from)).copied(),
        };
        match known {
            Some(line) => {
                self.last = Some((from, line));
                self.take(line, bytes);
            }
            None => self.stranger(canonical(from), bytes),
        }
    }

    fn take(&mut self, at: usize, bytes: &[u8]) {
        if let Some(line) = &mut self.lines[at] {
            if !line.touched {
                line.touched = true;
                self.touched.push(at);
            }
            line.datagram(bytes, &mut self.outlets);
        }
    }

    fn stranger(&mut self, from: SocketAddr, bytes: &[u8]) {
        let ip = from.ip();
        if let Some(flow) = self.expected.remove(&from) {
            let line = self.open(from, flow);
            self.take(line, bytes);
        } else if self.over.contains_key(&from) {
            self.strangers.late += 1;
        } else if let Some(awaited) = self.awaited.get_mut(&ip) {
            // It may be of the capture that starts, so it tells nothing about another.
            if awaited.bytes + bytes.len() <= KEPT_OF_ONE && self.kept + bytes.len() <= KEPT {
                awaited.kept.push((from, bytes.into()));
                awaited.bytes += bytes.len();
                self.kept += bytes.len();
            } else {
                self.strangers.unknown += 1;
            }
        } else if let Some(flow) = self.learning.get(&ip).filter(|_| is_framed(bytes)).cloned() {
            self.learning.remove(&ip);
            // Another thread may have been told by another datagram.
            match flow.set_source(from) {
                true => {
                    let line = self.open(from, flow);
                    self.take(line, bytes);
                }
                false => self.strangers.unknown += 1,
            }
        } else {
            self.strangers.unknown += 1;
        }
    }

    fn open(&mut self, from: SocketAddr, flow: Arc<Flow>) -> usize {
        let outlet = match self.outlets.iter().position(|o| o.leads_to(&flow.route)) {
            Some(at) => at,
            None => {
                self.outlets.push(Outlet::new(flow.route.clone()));
                self.outlets.len() - 1
            }
        };
        let line = Some(Box::new(Line::new(flow, outlet)));
        let at = match self.lines.iter().position(Option::is_none) {
            Some(free) => {
                self.lines[free] = line;
                free
            }
            None => {
                self.lines.push(line);
                self.lines.len() - 1
            }
        };
        self.by_source.insert(from, at);
        self.last = None;
        at
    }

    /// Does as told. What came of a capture that is over, if any of it came here.
    pub fn command(&mut self, command: Command, now: Instant) -> Option<Received> {
        match command {
            Command::Await(ip) => self.awaited.entry(ip.to_canonical()).or_default().starts += 1,
            Command::Settle(ip, started) => self.settle(ip.to_canonical(), started),
            Command::Bind(source, flow) => {
                let source = canonical(source);
                self.over.remove(&source);
                if flow.set_source(source) {
                    self.expected.insert(source, flow);
                    self.replay(source.ip());
                }
            }
            Command::Learn(flow) => drop(self.learning.insert(flow.agent, flow)),
            Command::End(flow) => return self.end(&flow, now),
        }
        None
    }

    /// Takes kept datagrams again: somebody may know them now.
    fn replay(&mut self, ip: IpAddr) {
        let Some(awaited) = self.awaited.get_mut(&ip) else { return };
        self.kept -= std::mem::take(&mut awaited.bytes);
        for (from, bytes) in std::mem::take(&mut awaited.kept) {
            // Those of others are kept again.
            self.datagram(from, &bytes);
        }
    }

    fn settle(&mut self, ip: IpAddr, started: Started) {
        let Some(awaited) = self.awaited.get_mut(&ip) else { return };
        awaited.starts = awaited.starts.saturating_sub(1);
        if started == Started::Badly {
            self.kept -= std::mem::take(&mut awaited.bytes);
            self.strangers.unknown += std::mem::take(&mut awaited.kept).len() as u64;
        }
        if awaited.starts == 0
            && let Some(awaited) = self.awaited.remove(&ip)
        {
            self.kept -= awaited.bytes;
            for (from, bytes) in awaited.kept {
                self.datagram(from, &bytes);
            }
        }
    }

    fn end(&mut self, flow: &Arc<Flow>, now: Instant) -> Option<Received> {
        if self.learning.get(&flow.agent).is_some_and(|f| Arc::ptr_eq(f, flow)) {
            self.learning.remove(&flow.agent);
        }
        self.over.retain(|_, since| now.duration_since(*since) < REMEMBERED);
        let source = flow.source()?;
        if self.expected.get(&source).is_some_and(|f| Arc::ptr_eq(f, flow)) {
            self.expected.remove(&source);
            self.over.insert(source, now);
        }
        let at = *self.by_source.get(&source)?;
        let of_flow = self.lines[at].as_ref().is_some_and(|l| Arc::ptr_eq(&l.flow, flow));
        if !of_flow {
            return None;
        }
        let mut line = self.lines[at].take()?;
        self.by_source.remove(&source);
        self.last = None;
        self.touched.retain(|t| *t != at);
        self.waiting.retain(|w| *w != at);
        self.over.insert(source, now);
        let received = line.finish(&mut self.outlets);
        self.outlets[line.outlet].flush();
        self.close(line.outlet);
        Some(received)
    }

    /// Lets go of an outlet that no line leads to any more: it would keep the queues of outputs that
    /// have ended.
    fn close(&mut self, outlet: usize) {
        if self.lines.iter().flatten().any(|line| line.outlet == outlet) {
            return;
        }
        self.outlets.swap_remove(outlet);
        let moved = self.outlets.len();
        for line in self.lines.iter_mut().flatten().filter(|line| line.outlet == moved) {
            line.outlet = outlet;
        }
    }

    /// The socket is empty, or much came: shows what came and gives up what has been missing for
    /// too long. How long to wait at most for what is still missing.
    pub fn look(&mut self, now: Instant) -> Option<Duration> {
        for at in std::mem::take(&mut self.touched) {
            if let Some(line) = &mut self.lines[at] {
                line.touched = false;
                line.show();
                if line.waits() && !self.waiting.contains(&at) {
                    self.waiting.push(at);
                }
            }
        }
        let mut soonest = None;
        let (lines, outlets) = (&mut self.lines, &mut self.outlets);
        self.waiting.retain(|at| {
            let left = lines[*at].as_mut().and_then(|line| line.patience(now, outlets));
            if let Some(left) = left {
                soonest = Some(soonest.map_or(left, |s: Duration| s.min(left)));
            }
            left.is_some()
        });
        soonest
    }

    /// Gives on what was gathered.
    pub fn flush(&mut self) {
        self.outlets.iter_mut().for_each(Outlet::flush);
    }

    /// Whether something was gathered.
    pub fn gathers(&self) -> bool {
        self.outlets.iter().any(|o| !o.is_empty())
    }
}

/// An IPv4 address may come in IPv6's clothes.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether bytes look like a datagram of a capture.
fn is_framed(bytes: &[u8]) -> bool {
    let kind = bytes.get(1).map(|kind| MessageType::from(*kind));
    bytes.len() > 8
        && bytes[0] == 0
        && matches!(kind, Some(MessageType::Packet | MessageType::UdpStream))
}
