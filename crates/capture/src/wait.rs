//! Sleeping until a source, or another thread, has something.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// How other threads interrupt the capturing one.
#[derive(Debug)]
pub(crate) struct Waker {
    bell: Bell,
    /// Whether to report the interruption.
    asked: AtomicBool,
}

/// Why [`Waker::sleep`] returned.
pub(crate) enum Wakeup {
    /// Time is up, or another thread called.
    Nothing,
    /// The source has something to read.
    Readable,
    /// The source has an error.
    Failed,
    /// The wait itself failed.
    Poll(io::Error),
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { bell: Bell::new()?, asked: AtomicBool::new(false) })
    }

    /// Ends the capturing thread's wait, and has it reported.
    pub(crate) fn wake(&self) {
        // Release: pairs with the Acquire in `taken`; what the caller did before is seen by who is woken.
        self.asked.store(true, Ordering::Release);
        self.nudge();
    }

    /// Ends the capturing thread's wait; it looks around and goes on.
    pub(crate) fn nudge(&self) {
        self.bell.ring();
    }

    /// Whether [`Waker::wake`] was called since the last time this said so.
    pub(crate) fn taken(&self) -> bool {
        // Relaxed: a guess that spares the common case a locked instruction.
        if !self.asked.load(Ordering::Relaxed) {
            return false;
        }
        // Acquire: pairs with the Release in `wake`.
        let asked = self.asked.swap(false, Ordering::Acquire);
        self.bell.silence();
        asked
    }

    /// Waits for `source` (if given), another thread, or the end of `timeout`.
    pub(crate) fn sleep(
        &self,
        source: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> Wakeup {
        let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut both;
        let mut one;
        let fds: &mut [PollFd<'_>] = if let Some(source) = source {
            both = [on(self.bell.as_fd()), on(source)];
            &mut both
        } else {
            one = [on(self.bell.as_fd())];
            &mut one
        };
        match poll(fds, milliseconds(timeout)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Wakeup::Nothing,
            Err(error) => return Wakeup::Poll(error.into()),
        }
        let said = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        if said(&fds[0]).contains(PollFlags::POLLIN) {
            self.bell.silence();
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

/// What wakes who sleeps in poll(2).
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Bell(nix::sys::eventfd::EventFd);

#[cfg(target_os = "linux")]
impl Bell {
    fn new() -> io::Result<Self> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    fn ring(&self) {
        // It fails only if the counter is full: then the sleeper is awake already.
        let _ = self.0.write(1);
    }

    fn silence(&self) {
        let _ = self.0.read();
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The same where there is no eventfd(2).
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Bell {
    ear: std::os::unix::net::UnixStream,
    hand: std::os::unix::net::UnixStream,
}

#[cfg(not(target_os = "linux"))]
impl Bell {
    fn new() -> io::Result<Self> {
        let (ear, hand) = std::os::unix::net::UnixStream::pair()?;
        ear.set_nonblocking(true)?;
        hand.set_nonblocking(true)?;
        Ok(Self { ear, hand })
    }

    fn ring(&self) {
        // It fails only if the stream is full: then the sleeper is awake already.
        let _ = io::Write::write(&mut &self.hand, &[1]);
    }

    fn silence(&self) {
        let mut rings = [0; 64];
        while io::Read::read(&mut &self.ear, &mut rings).is_ok_and(|read| read == rings.len()) {}
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ear.as_fd()
    }
}
