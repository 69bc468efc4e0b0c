//! Sleeping until the ring, or another thread, has something.

use std::{
    io,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use socket2::Socket;

/// How other threads interrupt the capturing one.
#[derive(Debug)]
pub(super) struct Waker {
    event: EventFd,
    /// Whether to report the interruption.
    asked: AtomicBool,
}

/// Why [`Waker::sleep`] returned.
pub(super) enum Wakeup {
    /// Time is up, or another thread called.
    Nothing,
    /// The ring says that there is a block.
    Readable,
    /// The socket has an error.
    Failed,
    /// The wait itself failed.
    Poll(io::Error),
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event, asked: AtomicBool::new(false) })
    }

    /// Ends the capturing thread's wait, and has it reported.
    pub(super) fn wake(&self) {
        // Release: pairs with the Acquire in `taken`; what the caller did before is seen by who is woken.
        self.asked.store(true, Ordering::Release);
        self.nudge();
    }

    /// Ends the capturing thread's wait; it looks around and goes on.
    pub(super) fn nudge(&self) {
        // It fails only if the counter is full: then the sleeper is awake already.
        let _ = self.event.write(1);
    }

    /// Whether [`Waker::wake`] was called since the last time this said so.
    pub(super) fn taken(&self) -> bool {
        // Relaxed: a guess that spares the common case a locked instruction.
        if !self.asked.load(Ordering::Relaxed) {
            return false;
        }
        // Acquire: pairs with the Release in `wake`.
        let asked = self.asked.swap(false, Ordering::Acquire);
        let _ = self.event.read();
        asked
    }

    /// Waits for `socket` (if given), another thread, or the end of `timeout`.
    pub(super) fn sleep(&self, socket: Option<&Socket>, timeout: Option<Duration>) -> Wakeup {
        let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut both;
        let mut one;
        let fds: &mut [PollFd<'_>] = if let Some(socket) = socket {
            both = [on(self.event.as_fd()), on(socket.as_fd())];
            &mut both
        } else {
            one = [on(self.event.as_fd())];
            &mut one
        };
        match poll(fds, milliseconds(timeout)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Wakeup::Nothing,
            Err(error) => return Wakeup::Poll(error.into()),
        }
        let said = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        if said(&fds[0]).contains(PollFlags::POLLIN) {
            let _ = self.event.read();
        }
        match fds.get(1).map(said) {
            None => Wakeup::Nothing,
            Some(flags) if flags.is_empty() => Wakeup::Nothing,
            Some(PollFlags::POLLIN) => Wakeup::Readable,
            Some(_) => Wakeup::Failed,
        }
    }
}

/// Rounded up: rounding down would turn the last millisecond into a busy loop.
fn milliseconds(timeout: Option<Duration>) -> PollTimeout {
    let Some(timeout) = timeout else {
        return PollTimeout::NONE;
    };
    let ms = timeout.as_nanos().div_ceil(1_000_000);
    i32::try_from(ms).ok().and_then(|ms| PollTimeout::try_from(ms).ok()).unwrap_or(PollTimeout::MAX)
}
