//! What a capture is asked for.

use std::time::Duration;

use crate::filter::Instruction;

/// The most bytes of one packet that are ever kept, as in libpcap (`MAXIMUM_SNAPLEN`).
pub const MAX_SNAPLEN: u32 = 262_144;

/// By what means packets are had from an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// A ring of a packet socket: the fastest there is.
    #[cfg(target_os = "linux")]
    #[default]
    AfPacket,
    /// libpcap, or Npcap: what every system has, and on Linux what is no network interface.
    #[cfg_attr(not(target_os = "linux"), default)]
    Libpcap,
}

/// Which packets, seen from this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Received and sent.
    #[default]
    Both,
    /// Received only.
    In,
    /// Sent only. On the loopback interface that is nothing: there, only the received copy of a packet counts.
    Out,
}

/// What a capture is asked for. `Options::default()` takes whole packets, both ways, without filter and without
/// promiscuous mode.
#[derive(Clone, Debug)]
pub struct Options {
    /// By what means.
    pub backend: Backend,
    /// Bytes of each packet to keep, link header included. 0, and anything above [`MAX_SNAPLEN`], mean
    /// [`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// Whether to receive what is not addressed to this host. Undone when the capture is dropped. Without effect on
    /// `any`, as in libpcap.
    pub promisc: bool,
    /// Bytes of ring to ask for; of Linux's own rounded up to whole blocks, two at least. See [`Capture::ring_bytes`](crate::Capture::ring_bytes).
    pub ring_bytes: usize,
    /// How long a packet may wait in a block that does not fill. Linux looks once per this time and passes on a
    /// block that has been open for a whole turn, so a packet waits between one and two of it. Whole milliseconds, at
    /// least one.
    pub block_timeout: Duration,
    /// Which packets.
    pub direction: Direction,
    /// Which packets, as classic BPF for the capture's link type; empty takes every one. What it returns is the number
    /// of bytes to keep, limited to `snaplen`.
    pub filter: Vec<Instruction>,
    /// A program of this host's own that runs before `filter`, and stays when the filter changes. It refuses a packet by
    /// returning 0 and lets it pass by running (or jumping) off its end. It is written as `filter` is, for the capture's
    /// link type, without scratch memory and ancillary data. Of a cooked header it may look at what the kernel knows:
    /// packet type and protocol. Ignored where packets do not come from a kernel.
    pub guard: Vec<Instruction>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            snaplen: MAX_SNAPLEN,
            promisc: false,
            ring_bytes: 16 << 20,
            block_timeout: Duration::from_millis(10),
            direction: Direction::Both,
            filter: Vec::new(),
            guard: Vec::new(),
        }
    }
}

impl Options {
    /// The snaplen that 0 and the too large ones stand for.
    pub(crate) fn effective_snaplen(&self) -> u32 {
        match self.snaplen {
            0 => MAX_SNAPLEN,
            n => n.min(MAX_SNAPLEN),
        }
    }
}
