//! Sleeping until another thread has something, or it is time to look: there is nothing to wait for that every
//! `wpcap.dll` has (Wine's has no event).

use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How other threads interrupt the capturing one.
#[derive(Debug, Default)]
pub(crate) struct Waker {
    calls: Mutex<Calls>,
    called: Condvar,
}

#[derive(Debug, Default)]
struct Calls {
    /// To look around.
    nudged: bool,
    /// And to report it.
    asked: bool,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// Ends the capturing thread's wait, and has it reported.
    pub(crate) fn wake(&self) {
        self.calls().asked = true;
        self.nudge();
    }

    /// Ends the capturing thread's wait; it looks around and goes on.
    pub(crate) fn nudge(&self) {
        self.calls().nudged = true;
        self.called.notify_all();
    }

    /// Whether [`Waker::wake`] was called since the last time this said so.
    pub(crate) fn taken(&self) -> bool {
        std::mem::take(&mut self.calls().asked)
    }

    /// Waits for another thread, or the end of `timeout`.
    pub(crate) fn sleep(&self, timeout: Duration) {
        let mut calls = self.calls();
        if !calls.nudged {
            // Waking up for no reason does no harm: the caller looks around and comes back.
            calls = match self.called.wait_timeout(calls, timeout) {
                Ok((calls, _)) => calls,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        calls.nudged = false;
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
