//! How a capture's packets are sent, as the command line says.

use super::BATCH;

/// A processor to stay on, or none in particular.
pub type Core = Option<usize>;

/// Who captures and who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One thread does both.
    One(Core),
    /// One captures, another one sends.
    Two(Core, Core),
}

/// What is in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A PACKET message.
    Messages,
    /// udpstr, with at most so many bytes in each.
    UdpStream(usize),
    /// The same, sealed.
    Sealed(usize),
}

/// What a capture's threads and sockets are to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a datagram socket's send buffer.
    pub send_buffer: usize,
    /// Whether a send waits for as long as there is no room.
    pub blocking: bool,
    /// Whether nothing is sent.
    pub dry_run: bool,
    /// Whether datagrams may be larger than the path takes, and so be sent in fragments.
    pub fragments: bool,
    /// See [`Threads`].
    pub threads: Threads,
    /// The nice values of the thread that captures and of the one that sends.
    pub nice: (Option<i32>, Option<i32>),
    /// Most bytes between two threads.
    pub queue_bytes: usize,
    /// Most packets between two threads.
    pub queue_packets: usize,
}

impl Options {
    /// Bytes for packets that were taken from the ring and not sent yet.
    pub fn packet_memory(&self) -> usize {
        match self.threads {
            Threads::One(_) => BATCH,
            // One is filled while as many wait as there may be.
            Threads::Two(..) => BATCH + self.queue_bytes.max(2 * BATCH),
        }
    }
}
