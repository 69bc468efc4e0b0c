//! Batches of datagrams.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(any(target_os = "linux", windows)))]
mod portable;
#[cfg(windows)]
mod windows;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rpcap_proto::batch::{Batch, Datagram};

#[cfg(target_os = "linux")]
use self::linux::{Calls, Socket};
#[cfg(not(any(target_os = "linux", windows)))]
use self::portable::{Calls, Socket};
#[cfg(windows)]
use self::windows::{Calls, Socket};
use super::{Options, Sink};
use crate::ledger::{Counters, Sent, Way};

/// Most payload of a datagram over IPv4, and enough for IPv6.
const PAYLOAD_MAX: usize = 65_507;

/// How long a datagram that the host has no room for is tried again. The ring holds more, and what
/// it does not hold is counted.
const PATIENCE: Duration = Duration::from_millis(100);

/// Between two tries, where nothing tells when there is room.
const PAUSE: Duration = Duration::from_millis(1);

/// Tries after reports about earlier datagrams, which each take the place of one.
const REPORTS: u32 = 16;

/// How often the path is asked whether it takes more again.
const LOOK: Duration = Duration::from_secs(10);

/// Sizes to fall back to, where the path does not say what it takes.
const PLATEAUS: [usize; 6] = [8_972, 4_324, 1_472, 1_452, 1_232, 548];

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Nobody listens, or there is no way. It may be said of an earlier datagram.
    Unreachable,
    /// No room; it may be there in a moment.
    NoRoom,
    /// Larger than the path takes.
    TooLarge,
    /// Not with many datagrams in one send.
    #[cfg_attr(
        not(any(target_os = "linux", windows)),
        allow(dead_code, reason = "each send has one datagram there")
    )]
    NoSegmentation,
    /// The capture was ended.
    Closed,
    Other,
}

/// A connected socket, made ready.
#[derive(Debug)]
pub struct Ready {
    socket: Socket,
    fragments: bool,
}

impl Ready {
    /// Takes a connected socket.
    pub fn new(socket: UdpSocket, options: &Options) -> io::Result<Self> {
        Ok(Self { socket: Socket::new(socket, options)?, fragments: options.fragments })
    }
}

/// A UDP data connection.
#[derive(Debug)]
pub struct UdpSink {
    socket: Socket,
    calls: Calls,
    counters: Arc<Counters>,
    /// Nothing more is to be sent.
    aborted: Arc<AtomicBool>,
    sent: Sent,
    way: Way,
    fragments: bool,
    looked: Instant,
    /// The host had no room for as long as it was waited: until there is some, nothing waits.
    congested: bool,
    /// The last failure that was logged, so that each kind is told once.
    told: Option<Failure>,
}

impl UdpSink {
    /// Sends on the thread that it is made on, until it is `aborted`.
    pub fn new(ready: Ready, counters: Arc<Counters>, aborted: Arc<AtomicBool>) -> Self {
        let Ready { socket, fragments } = ready;
        // What is to be sent in fragments cannot be a segment.
        let segmentation = socket.has_segmentation() && !fragments;
        let mut sink = Self {
            way: Way { datagram_limit: 0, segmentation },
            socket,
            calls: Calls::new(),
            counters,
            aborted,
            sent: Sent::default(),
            fragments,
            looked: Instant::now(),
            congested: false,
            told: None,
        };
        sink.way.datagram_limit = sink.path_limit();
        sink.counters.publish_way(sink.way);
        sink
    }

    /// What the path takes in a datagram, as far as the host knows.
    fn path_limit(&self) -> usize {
        match self.socket.path_payload() {
            Some(limit) if !self.fragments => limit.min(PAYLOAD_MAX),
            _ => PAYLOAD_MAX,
        }
    }

    /// Counts packets that are not to be sent.
    pub(super) fn refuse(&mut self, packets: u64) {
        self.sent.refused += packets;
        self.counters.publish_sent(&self.sent);
    }

    fn set_limit(&mut self, limit: usize) {
        if limit != self.way.datagram_limit {
            let before = self.way.datagram_limit;
            tracing::info!(before, limit, "the path takes datagrams of another size");
            self.way.datagram_limit = limit;
            self.counters.publish_way(self.way);
        }
    }

    /// The path does not take a datagram of this size.
    fn shrink(&mut self, size: usize) {
        let known = self.path_limit();
        let limit = if known < size {
            known
        } else {
            PLATEAUS.into_iter().find(|limit| *limit < size).unwrap_or(self.way.datagram_limit)
        };
        self.set_limit(limit.min(self.way.datagram_limit));
    }

    /// Sends the datagrams from number `first` on, or some of them.
    fn send_from(&mut self, batch: &Batch, first: usize) -> Result<usize, Failure> {
        let began = Instant::now();
        let mut reports = 0;
        loop {
            let (attempted, result) =
                self.socket.send(&mut self.calls, batch, first, self.way.segmentation);
            let failure = match result {
                Ok(datagrams) => {
                    self.congested = false;
                    return Ok(datagrams);
                }
                Err(e) => self.socket.failure(&e, attempted),
            };
            match failure {
                Failure::Unreachable if reports < REPORTS => {
                    self.sent.reports += 1;
                    reports += 1;
                }
                Failure::NoSegmentation => {
                    tracing::info!("no segmentation offload on this path: datagrams go one by one");
                    self.way.segmentation = false;
                    self.counters.publish_way(self.way);
                }
                Failure::NoRoom if !self.congested && began.elapsed() < PATIENCE => {
                    self.socket.wait_for_room(PAUSE);
                }
                // What was said of an earlier, larger one.
                Failure::TooLarge
                    if reports < REPORTS
                        && attempted.size <= self.way.datagram_limit.min(self.path_limit()) =>
                {
                    reports += 1;
                }
                failure => {
                    if failure == Failure::NoRoom {
                        self.congested = true;
                    }
                    if failure == Failure::TooLarge && !self.fragments {
                        self.shrink(attempted.size);
                    }
                    if self.told != Some(failure) {
                        self.told = Some(failure);
                        tracing::warn!(?failure, size = attempted.size, "datagrams are not sent");
                    }
                    return Err(failure);
                }
            }
        }
    }
}

/// The first send of a call.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// Bytes of its longest datagram.
    size: usize,
    /// How many datagrams it has.
    #[cfg_attr(
        not(any(target_os = "linux", windows)),
        allow(dead_code, reason = "each send has one datagram there")
    )]
    datagrams: usize,
}

/// Tells which packets of a batch are complete where datagrams are missing.
#[derive(Default)]
struct Tally {
    /// The packet that goes on into the next datagram has a part missing.
    broken: bool,
}

impl Tally {
    /// Of the packets that end in a datagram: how many are whole, and how many are not.
    fn sent(&mut self, datagram: &Datagram<'_>) -> (u64, u64) {
        let packets = u64::from(datagram.packets);
        if packets == 0 {
            return (0, 0);
        }
        let broken = u64::from(std::mem::take(&mut self.broken));
        (packets - broken, broken)
    }

    /// The same for one that was not sent.
    fn missing(&mut self, datagram: &Datagram<'_>) -> u64 {
        self.broken = datagram.continues || self.broken && datagram.packets == 0;
        u64::from(datagram.packets)
    }
}

impl Sink for UdpSink {
    fn send(&mut self, batch: &mut Batch) {
        let mut tally = Tally::default();
        let mut cause = Failure::Other;
        let mut next = 0;
        while next < batch.datagrams() {
            let result = match self.aborted.load(Relaxed) {
                false => self.send_from(batch, next),
                true => Err(Failure::Closed),
            };
            let (done, failure) = match result {
                Ok(datagrams) => (datagrams.max(1), None),
                Err(failure) => (1, Some(failure)),
            };
            for datagram in (next..next + done).filter_map(|i| batch.datagram(i)) {
                let lost = if let Some(failure) = failure {
                    cause = failure;
                    tally.missing(&datagram)
                } else {
                    let (whole, broken) = tally.sent(&datagram);
                    self.sent.packets += whole;
                    self.sent.bytes += datagram.bytes.len() as u64;
                    self.sent.datagrams += 1;
                    broken
                };
                *match cause {
                    Failure::Unreachable => &mut self.sent.unreachable,
                    Failure::NoRoom => &mut self.sent.no_buffers,
                    Failure::TooLarge => &mut self.sent.too_large,
                    Failure::Closed => &mut self.sent.closed,
                    Failure::NoSegmentation | Failure::Other => &mut self.sent.refused,
                } += lost;
            }
            next += done;
        }
        self.counters.publish_sent(&self.sent);
        batch.clear();
        if !self.fragments && self.looked.elapsed() > LOOK {
            self.looked = Instant::now();
            self.set_limit(self.path_limit());
        }
    }

    fn datagram_limit(&self) -> usize {
        self.way.datagram_limit
    }
}

#[cfg(test)]
mod tests;
