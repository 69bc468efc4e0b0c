//! What the controlling threads do to a replay, and what they share with the capturing one.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Error, Instruction, Stats, capture::Handle, filter::check, slot::Slot};

/// What both sides have.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) slot: Slot,
    pub(super) received: AtomicU64,
    pub(super) unread: AtomicU64,
    asked: Mutex<Asked>,
    called: Condvar,
    /// Whether there is anything in `asked`, for a look without the lock.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Asked {
    wake: bool,
    stop: bool,
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, what: impl FnOnce(&mut Asked)) {
        what(&mut self.asked());
        // Relaxed: a hint to look at what the lock protects.
        self.any.store(true, Ordering::Relaxed);
        self.called.notify_all();
    }

    /// Whether somebody wants something. May be late; [`Shared::taken`] is not.
    pub(super) fn is_asked(&self) -> bool {
        // Relaxed: see `ask`.
        self.any.load(Ordering::Relaxed)
    }

    /// Whether to wake, which is answered once, and whether to stop.
    pub(super) fn taken(&self) -> (bool, bool) {
        let mut asked = self.asked();
        // Relaxed: see `ask`; under the lock, so no call is overlooked.
        self.any.store(asked.stop, Ordering::Relaxed);
        (std::mem::take(&mut asked.wake), asked.stop)
    }

    /// Waits until somebody calls, or for `timeout`.
    pub(super) fn sleep(&self, timeout: Option<Duration>) {
        let asked = self.asked();
        if asked.wake || asked.stop {
            return;
        }
        // Spurious wake-ups do no harm: the caller looks around and comes back.
        match timeout {
            Some(timeout) => drop(self.called.wait_timeout(asked, timeout)),
            None => drop(self.called.wait(asked)),
        }
    }
}

impl Handle for Shared {
    fn set_filter(&self, program: &[Instruction]) -> Result<(), Error> {
        check(program)?;
        self.slot.publish(program.into());
        Ok(())
    }

    fn set_guard(&self, _guard: &[Instruction]) -> Result<(), Error> {
        Ok(())
    }

    fn stats(&self) -> Result<Stats, Error> {
        Ok(Stats {
            // Relaxed, both: see `Source::take`.
            received: self.received.load(Ordering::Relaxed),
            unread: self.unread.load(Ordering::Relaxed),
            filter_in_user_space: true,
            ..Stats::default()
        })
    }

    fn stop(&self) {
        self.ask(|asked| asked.stop = true);
    }

    fn wake(&self) {
        self.ask(|asked| asked.wake = true);
    }
}
