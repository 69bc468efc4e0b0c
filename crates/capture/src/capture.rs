//! A capture, whatever its source.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(target_os = "linux")]
use crate::af_packet;
use crate::{
    Backend, Error, Instruction, LinkType, Options, Packet,
    batch::{BatchBlock, BatchPackets},
    libpcap, replay,
};

/// Starts a capture on `device`, a name of [`devices::list`](crate::devices::list): an interface, or `any`.
///
/// When this returns, the filter is in force and packets are being collected; nothing is given out that was collected
/// before it was.
///
/// # Errors
///
/// [`Error::NoSuchDevice`], [`Error::PermissionDenied`], [`Error::InterfaceDown`] and [`Error::BadFilter`] are what an
/// operator, or a client, can get wrong. [`Error::LibraryMissing`] where libpcap is needed.
pub fn open(device: &str, options: &Options) -> Result<Capture, Error> {
    match options.backend {
        #[cfg(target_os = "linux")]
        Backend::AfPacket => af_packet::Source::open(device, options).map(Source::Ring),
        Backend::Libpcap => libpcap::Source::open(device, options).map(Source::Libpcap),
    }
    .map(Capture)
}

/// The link type that a capture on `device` would have. Needs no privilege on Linux, unless libpcap is asked, which has
/// to open the device.
///
/// # Errors
///
/// [`Error::NoSuchDevice`]; of libpcap, what [`open`] says.
pub fn linktype(device: &str, backend: Backend) -> Result<LinkType, Error> {
    match backend {
        #[cfg(target_os = "linux")]
        Backend::AfPacket => af_packet::linktype(device),
        Backend::Libpcap => libpcap::linktype(device),
    }
}

/// Bytes of packet memory that a capture from an interface with these options has, if there is memory for it: of
/// Linux's own ring [`Options::ring_bytes`], rounded up to whole blocks.
pub fn ring_bytes(options: &Options) -> usize {
    match options.backend {
        #[cfg(target_os = "linux")]
        Backend::AfPacket => af_packet::ring_bytes(options),
        Backend::Libpcap => options.ring_bytes,
    }
}

/// A running capture. Belongs to the thread that takes its packets; the others have a [`Control`]. Dropping it ends it
/// and gives everything back: memory, socket, promiscuous mode.
#[derive(Debug)]
pub struct Capture(Source);

#[derive(Debug)]
enum Source {
    #[cfg(target_os = "linux")]
    Ring(af_packet::Source),
    Libpcap(libpcap::Source),
    Replay(replay::Source),
}

/// What a source's `wait` found.
pub(crate) enum Ready {
    /// Its `block` has one.
    Block,
    Timeout,
    Woken,
    Ended,
}

/// What [`Capture::next`] has to tell.
#[derive(Debug)]
pub enum Event<'a> {
    /// Packets.
    Block(Block<'a>),
    /// Nothing within the time given.
    Timeout,
    /// [`Control::wake`] was called.
    Woken,
    /// [`Control::stop`] was called, and everything captured before it has been handed out.
    Ended,
}

impl Capture {
    pub(crate) fn replay(source: replay::Source) -> Self {
        Self(Source::Replay(source))
    }

    /// What the first byte of a packet means.
    pub fn linktype(&self) -> LinkType {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Source::Ring(source) => source.linktype(),
            Source::Libpcap(source) => source.linktype(),
            Source::Replay(source) => source.linktype(),
        }
    }

    /// Bytes of packet memory that this capture has.
    pub fn ring_bytes(&self) -> usize {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Source::Ring(source) => source.ring_bytes(),
            Source::Libpcap(source) => source.ring_bytes(),
            Source::Replay(source) => source.ring_bytes(),
        }
    }

    /// The bytes asked for, if memory was short and the ring was halved until it fitted.
    pub fn ring_shrunk(&self) -> Option<usize> {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Source::Ring(source) => source.ring_shrunk(),
            Source::Libpcap(source) => source.ring_shrunk(),
            Source::Replay(_) => None,
        }
    }

    /// Waits for the next event, at most for `timeout` (`None`: without limit; zero: not at all).
    ///
    /// A block that is ready costs no system call. Blocks are returned in the order in which they were filled; the last
    /// one must be dropped first, which the borrow sees to.
    ///
    /// # Errors
    ///
    /// [`Error::InterfaceDown`] and [`Error::InterfaceGone`], once everything that the kernel had passed on has been
    /// returned. The capture may be stopped and drained after that, and if the interface comes up again, packets come
    /// again.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Event<'_>, Error> {
        match &mut self.0 {
            #[cfg(target_os = "linux")]
            Source::Ring(source) => Ok(match source.wait(timeout)? {
                Ready::Block => match source.block() {
                    Some(block) => Event::Block(Block(Inner::Ring(block))),
                    None => Event::Timeout,
                },
                Ready::Timeout => Event::Timeout,
                Ready::Woken => Event::Woken,
                Ready::Ended => Event::Ended,
            }),
            Source::Libpcap(source) => Ok(match source.wait(timeout)? {
                Ready::Block => Event::Block(Block(Inner::Copied(source.block()))),
                Ready::Timeout => Event::Timeout,
                Ready::Woken => Event::Woken,
                Ready::Ended => Event::Ended,
            }),
            Source::Replay(source) => Ok(match source.wait(timeout)? {
                Ready::Block => Event::Block(Block(Inner::Copied(source.block()))),
                Ready::Timeout => Event::Timeout,
                Ready::Woken => Event::Woken,
                Ready::Ended => Event::Ended,
            }),
        }
    }

    /// A handle for other threads.
    pub fn control(&self) -> Control {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Source::Ring(source) => source.control(),
            Source::Libpcap(source) => source.control(),
            Source::Replay(source) => source.control(),
        }
    }
}

/// Packets on loan. Dropping it returns their memory, of Linux's own ring to the kernel, so the sooner the better: while it is held, the ring
/// is that much smaller.
#[derive(Debug)]
pub struct Block<'a>(Inner<'a>);

#[derive(Debug)]
enum Inner<'a> {
    #[cfg(target_os = "linux")]
    Ring(af_packet::RingBlock<'a>),
    Copied(BatchBlock<'a>),
}

impl Block<'_> {
    /// How many packets were not walked yet: what [`Stats::unread`] grows by if the block is dropped now. A filter that
    /// runs in user space has not seen them.
    pub fn left(&self) -> u32 {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Inner::Ring(block) => block.left(),
            Inner::Copied(block) => block.left(),
        }
    }

    /// The block's packets, each once: a second walk goes on where the first one ended. The packets live as long as the
    /// block is borrowed, so several can be held at a time.
    ///
    /// What is not walked before the block is dropped counts as [`Stats::unread`].
    pub fn packets(&mut self) -> Packets<'_> {
        Packets(match &mut self.0 {
            #[cfg(target_os = "linux")]
            Inner::Ring(block) => PacketsInner::Ring(block.packets()),
            Inner::Copied(block) => PacketsInner::Copied(block.packets()),
        })
    }
}

/// The packets of a [`Block`].
#[derive(Debug)]
pub struct Packets<'b>(PacketsInner<'b>);

#[derive(Debug)]
enum PacketsInner<'b> {
    #[cfg(target_os = "linux")]
    Ring(af_packet::RingPackets<'b>),
    Copied(BatchPackets<'b>),
}

impl<'b> Iterator for Packets<'b> {
    type Item = Packet<'b>;

    #[inline(always)]
    fn next(&mut self) -> Option<Packet<'b>> {
        match &mut self.0 {
            #[cfg(target_os = "linux")]
            PacketsInner::Ring(packets) => packets.next(),
            PacketsInner::Copied(packets) => packets.next(),
        }
    }
}

/// What other threads can do to a capture. None of it waits for the capturing thread. Once the capture is dropped, all
/// of it succeeds without effect, and the statistics stay as they were.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<dyn Handle>);

/// What a source can be told.
pub(crate) trait Handle: Send + Sync {
    fn set_filter(&self, program: &[Instruction]) -> Result<(), Error>;
    fn set_guard(&self, guard: &[Instruction]) -> Result<(), Error>;
    fn stats(&self) -> Result<Stats, Error>;
    fn stop(&self);
    fn wake(&self);
}

impl Control {
    /// Replaces the filter, between two packets: none gets out that neither the old filter nor the new one accepts, and
    /// from the moment this returns, no packet is captured that the new one refuses. Packets that were captured before
    /// may still be on their way.
    ///
    /// # Errors
    ///
    /// [`Error::BadFilter`], or a failed call; the old filter stays in force then.
    pub fn set_filter(&self, program: &[Instruction]) -> Result<(), Error> {
        self.0.set_filter(program)
    }

    /// Replaces the guard ([`Options::guard`]), in the same way.
    ///
    /// # Errors
    ///
    /// As [`Control::set_filter`].
    pub fn set_guard(&self, guard: &[Instruction]) -> Result<(), Error> {
        self.0.set_guard(guard)
    }

    /// The numbers since the capture began.
    ///
    /// # Errors
    ///
    /// A failed call.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.0.stats()
    }

    /// Ends the capture: nothing more is captured once this returns, and [`Capture::next`] hands out what was, then says
    /// [`Event::Ended`], within a few block timeouts. From then on the statistics are final and
    /// `received == dropped + unread + packets handed out`.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Makes [`Capture::next`] return [`Event::Woken`], the one that waits or else the one that is called next. Several
    /// calls in between count as one.
    pub fn wake(&self) {
        self.0.wake();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// A capture's numbers, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Passed the filter, whatever became of it afterwards. While a filter runs in user space and packets wait in the
    /// ring, it includes those that this filter has yet to see.
    pub received: u64,
    /// Of these, lost because the ring was full.
    pub dropped: u64,
    /// Lost by the interface before the kernel saw them; counted in promiscuous mode only, like libpcap's `ps_ifdrop`.
    pub if_dropped: u64,
    /// Of the received, in blocks that were dropped before their packets were walked.
    pub unread: u64,
    /// Whether the filter runs in user space, because the kernel does not take it. Of libpcap, which does not tell, only
    /// whether it is longer than Linux takes.
    pub filter_in_user_space: bool,
}
