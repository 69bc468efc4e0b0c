//! The data connection: packets as they come over the network, into a [`Sink`].

pub mod datagrams;
mod decoder;
mod numbering;
mod tcp;
mod udp;

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rpcap_proto::sealed;
use rpcap_proto::udpstr;
use rpcap_proto::wire::{Malformed, PacketHeader};

pub use self::decoder::DatagramDecoder;
pub use self::numbering::{Numbering, Place};
pub use self::tcp::{TcpReceiver, TcpStopper};
pub use self::udp::{UdpReceiver, UdpStopper};
use crate::sink::Sink;

/// What was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Packets, each counted once.
    pub packets: u64,
    /// Their bytes, as captured.
    pub bytes: u64,
    /// Of the packets, those that came after the sink wanted no more.
    pub surplus: u64,
    /// The number of the newest packet: how many the daemon had sent by then.
    pub last_number: u64,
    /// Packets that came a second time, or so late that this cannot be told; not delivered.
    pub duplicates: u64,
    /// Datagrams that are no PACKET message and no udpstr.
    pub malformed: u64,
    /// Datagrams from somebody who is not the daemon, or from another of its ports than the
    /// packets.
    pub foreign: u64,
    /// Datagrams that were longer than any can be.
    pub truncated: u64,
    /// Datagrams that this host dropped because the socket's buffer was full, at least.
    pub overflowed: u64,
    /// What became of datagrams that had to be sealed. What was opened is counted again by what it
    /// held.
    pub sealed: sealed::Counts,
    /// What became of udpstr datagrams, which are in no other count.
    pub udpstr: udpstr::Counts,
}

impl Received {
    /// Packets that were sent before the newest one and did not come.
    pub fn gaps(&self) -> u64 {
        self.last_number.saturating_sub(self.packets)
    }
}

/// Why no more packets come.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The connection broke.
    #[error("the data connection broke: {0}")]
    Io(#[from] io::Error),
    /// The stream is not a stream of packets, and there is no way to find back into it.
    #[error("the data connection carries something else than packets: {0}")]
    Malformed(#[from] Malformed),
    /// The stream ended within a packet.
    #[error("the data connection ended within a packet")]
    Cut,
    /// An encrypted stream ended without saying so.
    #[error("the encrypted data connection was cut off: there may have been more packets")]
    CutOff,
}

/// What another thread can see of a receiver at work.
#[derive(Debug, Default)]
pub struct Gauge {
    packets: AtomicU64,
    bytes: AtomicU64,
    gaps: AtomicU64,
    age: AtomicI64,
    satisfied: AtomicBool,
}

impl Gauge {
    /// Packets so far.
    pub fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    /// Bytes of packets so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Packets lost on the way so far.
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Relaxed)
    }

    /// How long before it came the newest packet had been captured, in microseconds, by the clocks
    /// of both hosts; `None` before the first.
    pub fn age(&self) -> Option<i64> {
        (self.packets() > 0).then(|| self.age.load(Relaxed))
    }

    /// Whether the sink wants no more.
    pub fn satisfied(&self) -> bool {
        self.satisfied.load(Relaxed)
    }

    /// Once per read, not per packet.
    fn show(&self, received: &Received, newest: &PacketHeader) {
        if self.packets() != received.packets {
            self.age.store(age(newest), Relaxed);
        }
        self.packets.store(received.packets, Relaxed);
        self.bytes.store(received.bytes, Relaxed);
        self.gaps.store(received.gaps(), Relaxed);
    }
}

/// The microseconds from a packet's time until now.
fn age(newest: &PacketHeader) -> i64 {
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    micros(now).saturating_sub(micros(newest.time()))
}

/// Either kind of data connection.
#[derive(Debug)]
pub enum Receiver {
    /// A stream.
    Tcp(TcpReceiver),
    /// Datagrams.
    Udp(Box<UdpReceiver>),
}

/// Ends a [`Receiver`] that another thread runs.
#[derive(Debug)]
pub enum Stopper {
    /// See [`TcpStopper`].
    Tcp(TcpStopper),
    /// See [`UdpStopper`].
    Udp(UdpStopper),
}

impl Stopper {
    /// Ends it when what is on its way has come. A stream says so itself.
    pub fn drain(&self) {
        if let Self::Udp(s) = self {
            s.drain();
        }
    }

    /// Ends it at once.
    pub fn stop(&self) {
        match self {
            Self::Tcp(s) => s.stop(),
            Self::Udp(s) => s.stop(),
        }
    }
}

impl Receiver {
    /// What ends [`Receiver::run`] from another thread.
    pub fn stopper(&self) -> io::Result<Stopper> {
        Ok(match self {
            Self::Tcp(r) => Stopper::Tcp(r.stopper()?),
            Self::Udp(r) => Stopper::Udp(r.stopper()),
        })
    }

    /// Receives until the daemon ends the connection (TCP) or the stopper is used. A sink that
    /// wants no more does not end it: what still comes is counted.
    pub fn run<S: Sink>(&mut self, sink: &mut S, gauge: &Gauge) -> (Received, Option<DataError>) {
        let mut tally = Tally::default();
        let mut inlet = Inlet::new(&mut tally, sink, gauge);
        let result = match self {
            Self::Tcp(r) => r.run(&mut inlet),
            Self::Udp(r) => r.run(&mut inlet),
        };
        inlet.pause();
        (tally.received, result.err())
    }
}

/// What is remembered of a data connection between two packets.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    numbering: Numbering,
    /// The sink wants no more.
    satisfied: bool,
    received: Received,
    /// What was said of the newest packet.
    newest: PacketHeader,
}

impl Tally {
    /// Lets other threads see what came.
    pub(crate) fn show(&self, gauge: &Gauge) {
        gauge.show(&self.received, &self.newest);
    }

    /// What came so far.
    pub fn received(&self) -> &Received {
        &self.received
    }
}

/// Counts packets on their way into a sink.
#[derive(Debug)]
pub struct Inlet<'a, S> {
    sink: &'a mut S,
    gauge: &'a Gauge,
    numbering: &'a mut Numbering,
    satisfied: &'a mut bool,
    received: &'a mut Received,
    newest: &'a mut PacketHeader,
}

impl<'a, S: Sink> Inlet<'a, S> {
    /// The way into `sink`, counted by `tally`, shown by `gauge`.
    pub fn new(tally: &'a mut Tally, sink: &'a mut S, gauge: &'a Gauge) -> Self {
        let Tally { numbering, satisfied, received, newest } = tally;
        Self { sink, gauge, numbering, satisfied, received, newest }
    }

    /// What came so far.
    pub fn received(&self) -> &Received {
        self.received
    }

    /// A packet of a stream: there it cannot come twice, whatever its number says.
    #[inline]
    pub(crate) fn packet(&mut self, header: &PacketHeader, data: &[u8]) {
        self.numbering.take(header.npkt);
        self.deliver(header, data);
    }

    /// A packet of a datagram: the network may have doubled it.
    fn packet_once(&mut self, header: &PacketHeader, data: &[u8]) {
        match self.numbering.take(header.npkt) {
            Place::New => self.deliver(header, data),
            Place::Old => self.received.duplicates += 1,
        }
    }

    #[inline]
    fn deliver(&mut self, header: &PacketHeader, data: &[u8]) {
        self.received.packets += 1;
        *self.newest = *header;
        self.received.bytes += data.len() as u64;
        self.received.last_number = self.numbering.highest();
        if *self.satisfied {
            self.received.surplus += 1;
        } else if self.sink.packet(header, data).is_break() {
            self.satisfied();
        }
    }

    /// The socket is empty.
    fn pause(&mut self) {
        if !*self.satisfied && self.sink.pause().is_break() {
            self.satisfied();
        }
        self.show();
    }

    /// Lets the other threads see what came.
    pub(crate) fn show(&self) {
        self.gauge.show(self.received, self.newest);
    }

    fn satisfied(&mut self) {
        *self.satisfied = true;
        self.gauge.satisfied.store(true, Relaxed);
    }
}

/// A sink for tests and for counting.
impl Sink for () {
    fn packet(&mut self, _: &PacketHeader, _: &[u8]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
