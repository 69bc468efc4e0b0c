//! Capture from a Linux packet socket with a `TPACKET_V3` ring: packet(7), and *packet_mmap* in the kernel's networking
//! documentation.

mod block;
mod control;
mod frame;
mod linktype;
mod ring;
mod setup;
mod sys;

use std::{
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use socket2::Socket;

pub(crate) use self::{
    block::{RingBlock, RingPackets},
    control::attach,
    setup::{linktype, ring_bytes},
};
use self::{control::Shared, frame::Format, ring::Ring};
use crate::{
    Error, LinkType, Options,
    capture::{Control, Ready},
    ioctl::why_down,
    slot::Seen,
    wait::Wakeup,
};

/// Blocks between two looks at the kernel's counters, which have 32 bits: one system call in some
/// hundred thousand packets, and long before they can overflow.
const FOLD_EVERY: u32 = 256;

/// The capturing thread's side of a ring.
#[derive(Debug)]
pub(crate) struct Source {
    ring: Ring,
    /// The only lasting owner: dropping it closes the socket, and with it go ring, filter and promiscuous mode.
    socket: Arc<Socket>,
    shared: Arc<Shared>,
    format: Format,
    /// The block that the kernel passes on next.
    index: usize,
    /// Blocks taken so far.
    taken: u32,
    seen: Seen,
    requested: usize,
    block_timeout: Duration,
    /// What the socket failed with. It is told once the ring has given out what it holds.
    failed: Option<Error>,
    /// When to stop waiting for what a ring that gets no more still holds.
    give_up: Option<Instant>,
    /// Wake-ups in a row that brought nothing.
    idle: u32,
}

impl Source {
    pub(crate) fn open(device: &str, options: &Options) -> Result<Self, Error> {
        setup::open(device, options)
    }

    pub(crate) fn linktype(&self) -> LinkType {
        self.format.kind.linktype
    }

    pub(crate) fn ring_bytes(&self) -> usize {
        self.ring.bytes()
    }

    pub(crate) fn ring_shrunk(&self) -> Option<usize> {
        (self.ring.bytes() < self.requested).then_some(self.requested)
    }

    pub(crate) fn control(&self) -> Control {
        Control(self.shared.clone())
    }

    /// Waits until there is something to tell: a full block costs no system call.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Result<Ready, Error> {
        if self.shared.wakeup.taken() {
            return Ok(Ready::Woken);
        }
        if self.ring.is_ready(self.index) {
            return Ok(Ready::Block);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // Acquire: pairs with the Release in `Shared::stop`. What is in the ring after it is all there will be.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            let draining = stopping || self.failed.is_some();
            if draining && self.is_drained() {
                self.give_up = None;
                return match self.failed.take() {
                    Some(error) if !stopping => Err(error),
                    _ => Ok(Ready::Ended),
                };
            }
            if self.shared.wakeup.taken() {
                return Ok(Ready::Woken);
            }
            if self.ring.is_ready(self.index) {
                self.idle = 0;
                return Ok(Ready::Block);
            }
            let mut left =
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Ready::Timeout);
            }
            if draining {
                // The ring passes its last block on by itself.
                left = Some(left.map_or(self.block_timeout, |left| left.min(self.block_timeout)));
            }
            self.sleep(left, draining)?;
        }
    }

    /// The block that [`Source::wait`] announced.
    pub(crate) fn block(&mut self) -> Option<RingBlock<'_>> {
        let index = self.index;
        if !self.ring.is_ready(index) {
            return None;
        }
        // After the block's status was read: a block that the kernel filled under "accept everything" was passed on
        // after that took effect, which was after the program for user space was published.
        self.shared.slot.refresh(&mut self.seen);
        self.index = (index + 1) % self.ring.blocks();
        self.taken = self.taken.wrapping_add(1);
        if self.taken.is_multiple_of(FOLD_EVERY) {
            self.shared.fold();
        }
        let owned = self.ring.take(index)?;
        Some(RingBlock::new(owned, &self.format, self.seen.program(), &self.shared.counts))
    }

    /// Whether a ring that gets no more holds nothing any more, or has not moved for so long that it never will.
    fn is_drained(&mut self) -> bool {
        // The count first: as nothing arrives any more, a zero says that the block stays empty; a block that the kernel
        // passes on in between keeps its count.
        if self.ring.pending(self.index) == 0 && !self.ring.is_ready(self.index) {
            return true;
        }
        let patience = self.block_timeout * 4 + Duration::from_millis(250);
        let give_up = *self.give_up.get_or_insert_with(|| Instant::now() + patience);
        !self.ring.is_ready(self.index) && Instant::now() >= give_up
    }

    fn sleep(&mut self, timeout: Option<Duration>, draining: bool) -> Result<(), Error> {
        // A wake-up without a block is not known to happen more than once; if a kernel does it, it must not cost a core.
        let socket = (self.idle < 8).then(|| self.socket.as_fd());
        let nap = Duration::from_millis(1);
        let timeout = if socket.is_some() {
            timeout
        } else {
            Some(timeout.map_or(nap, |timeout| timeout.min(nap)))
        };
        match self.shared.wakeup.sleep(socket, timeout) {
            Wakeup::Nothing => self.idle = 0,
            Wakeup::Readable => self.idle += 1,
            // What the socket has to say concerns nobody who has stopped, or who knows that it failed.
            Wakeup::Failed if draining => drop(self.socket.take_error()),
            Wakeup::Failed => self.failed = self.failure(),
            Wakeup::Poll(error) => return Err(Error::call("poll", &self.shared.device, error)),
        }
        Ok(())
    }

    /// Asks the socket what is wrong.
    fn failure(&mut self) -> Option<Error> {
        let device = &self.shared.device;
        match self.socket.take_error() {
            Err(error) => Some(Error::call("SO_ERROR", device, error)),
            Ok(Some(error)) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                let unbound =
                    || sys::bound_to(self.socket.as_fd()).is_ok_and(|ifindex| ifindex == -1);
                Some(why_down(device, unbound))
            }
            Ok(Some(error)) => Some(Error::call("packet socket", device, error)),
            // Somebody else asked first. Counted, so that it cannot spin.
            Ok(None) => {
                self.idle += 1;
                None
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // A control that outlives the capture still answers with the final numbers.
        self.shared.close();
    }
}
