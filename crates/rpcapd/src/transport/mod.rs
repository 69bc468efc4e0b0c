//! Packets on their way to the client.
//!
//! A [`Framer`] puts the pump's packets into a batch, a [`Sink`] sends a batch in as few system
//! calls as can be. The sink says how much went and why the rest did not.

mod framer;
mod options;
pub mod place;
mod queue;
mod sealing;
mod stream;
mod udp;

use std::io;
use std::time::Instant;

use rpcap_proto::batch::Batch;
use rpcap_proto::wire::PacketHeader;

pub use self::framer::{Messages, Stream, UdpStream};
pub use self::options::{Core, Framing, Options, Threads};
pub use self::queue::Queue;
pub use self::sealing::Sealing;
pub use self::stream::TcpSink;
pub use self::udp::{Ready, UdpSink};
use crate::ledger::{Counters, Sent, Taken};
use crate::limits::cpu::Meter;
use crate::limits::rate::Cost;

/// Bytes gathered before they are sent. Larger batches gain nothing and leave the cache.
const BATCH: usize = 256 * 1024;

/// Lets a socket's packets leave by this interface only (`SO_BINDTODEVICE`, socket(7)).
pub fn bind_device(socket: &socket2::Socket, device: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        socket.bind_device(Some(device.as_bytes()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (socket, device);
        Err(io::Error::other("binding a connection to an interface is not possible here"))
    }
}

/// Packets into a batch.
pub trait Framer {
    /// Appends a packet. Does not allocate, unless it is longer than a whole batch.
    fn push(&mut self, header: PacketHeader, data: &[u8], taken: &mut Taken);

    /// Whether the batch is to be sent before a packet of this length.
    fn is_full(&self, data: usize) -> bool;

    /// What a packet of this length would add to the wire.
    fn cost(&self, data: usize) -> Cost;

    /// The batch, complete. Who takes it leaves an empty one in its place.
    fn batch(&mut self) -> &mut Batch;

    /// From now on a datagram, or a segment of a stream, has at most so many bytes.
    fn limit(&mut self, bytes: usize);
}

/// Where batches go.
pub trait Sink {
    /// Sends a batch, counts what became of it, and leaves it, or another one of its size, empty.
    fn send(&mut self, batch: &mut Batch);

    /// Why nothing can be sent any more, if that is so.
    fn failure(&self) -> Option<io::Error> {
        None
    }

    /// Most bytes of a datagram, or of a segment of a stream, as of now.
    fn datagram_limit(&self) -> usize {
        usize::MAX
    }

    /// Sends what is still there and tells the client that no more will come.
    fn finish(&mut self) {}
}

/// Notes the CPU time of a thread that only sends.
pub struct Metered {
    sink: Box<dyn Sink>,
    meter: Meter,
}

impl Metered {
    /// On the thread that is to send.
    pub fn new(sink: Box<dyn Sink>, meter: Meter) -> Self {
        Self { sink, meter }
    }
}

impl Sink for Metered {
    fn send(&mut self, batch: &mut Batch) {
        self.sink.send(batch);
        self.meter.charge(Instant::now());
    }

    fn failure(&self) -> Option<io::Error> {
        self.sink.failure()
    }

    fn datagram_limit(&self) -> usize {
        self.sink.datagram_limit()
    }

    fn finish(&mut self) {
        self.sink.finish();
    }
}

/// Sends nothing.
#[derive(Debug)]
pub struct DryRun {
    counters: std::sync::Arc<Counters>,
    sent: Sent,
}

impl DryRun {
    /// Counts in `counters`.
    pub fn new(counters: std::sync::Arc<Counters>) -> Self {
        Self { counters, sent: Sent::default() }
    }
}

impl Sink for DryRun {
    fn send(&mut self, batch: &mut Batch) {
        self.sent.dry_run += batch.packets();
        self.counters.publish_sent(&self.sent);
        batch.clear();
    }
}
