//! What the controlling threads do to a capture of libpcap's, and what they share with the capturing one.
//!
//! A `pcap_t` is for one thread at a time, so whoever calls it holds its lock. The capturing thread never waits with it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
#[cfg(target_os = "linux")]
use std::{os::fd::OwnedFd, sync::Arc};

use super::{
    handle::Handle,
    library::RawStats,
    place::{Placed, place},
};
use crate::{Error, Instruction, LinkType, Stats, batch::Batch, capture, wait::Waker};

/// A capture that is open.
pub(super) struct Open {
    pub(super) handle: Handle,
    /// Its socket.
    #[cfg(target_os = "linux")]
    pub(super) descriptor: Option<Arc<OwnedFd>>,
}

/// What both sides have.
pub(super) struct Shared {
    linktype: LinkType,
    snaplen: u32,
    open: Mutex<Option<Open>>,
    pub(super) waker: Waker,
    /// Somebody wants it to end.
    pub(super) stopping: AtomicBool,
    /// Nothing more comes in: see [`Shared::end_flow`].
    pub(super) flow_ended: AtomicBool,
    /// Packets that came out of libpcap and passed the filter.
    taken: AtomicU64,
    /// Packets that this process' part of the filter refused.
    refused: AtomicU64,
    pub(super) unread: AtomicU64,
    filters: Mutex<Filters>,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Filters {
    guard: Vec<Instruction>,
    program: Vec<Instruction>,
    /// What libpcap has of both.
    library: Vec<Instruction>,
    /// A program runs in this process: there all later ones run too.
    in_user_space: bool,
    stopped: bool,
}

/// libpcap's counters have 32 bits and begin anew; these do not.
#[derive(Default)]
struct Totals {
    before: RawStats,
    received: u64,
    dropped: u64,
    if_dropped: u64,
}

impl Shared {
    pub(super) fn new(open: Open, waker: Waker, linktype: LinkType, snaplen: u32) -> Self {
        Self {
            linktype,
            snaplen,
            open: Mutex::new(Some(open)),
            waker,
            stopping: AtomicBool::new(false),
            flow_ended: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            filters: Mutex::default(),
            totals: Mutex::default(),
        }
    }

    /// Puts guard and program in force. With an error, what was in force stays.
    pub(super) fn install(
        &self,
        guard: Option<&[Instruction]>,
        program: Option<&[Instruction]>,
    ) -> Result<(), Error> {
        let mut filters = lock(&self.filters);
        let guard = guard.unwrap_or(&filters.guard).to_vec();
        let program = program.unwrap_or(&filters.program).to_vec();
        let before = filters.in_user_space;
        let Placed { library, user, keep } =
            place(self.linktype, &guard, &program, self.snaplen, before)?;
        let in_user_space = user.is_some();
        // libpcap would also have it refuse what was captured before the end.
        if !filters.stopped
            && let Some(open) = &mut *lock(&self.open)
        {
            // A change costs libpcap packets.
            if library != filters.library {
                open.handle.set_filter(&library)?;
            }
            open.handle.set_program(user, keep);
        }
        let stopped = filters.stopped;
        *filters = Filters { guard, program, library, in_user_space, stopped };
        Ok(())
    }

    /// Replaces what `batch` has by what there is.
    pub(super) fn read(&self, batch: &mut Batch) -> Result<(), Error> {
        batch.clear();
        let Some(open) = &mut *lock(&self.open) else {
            return Ok(());
        };
        let result = open.handle.read(batch);
        // Relaxed, both: sums, ordered by whatever tells the reader that the capture has ended.
        self.taken.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.refused.fetch_add(open.handle.take_refused(), Ordering::Relaxed);
        result
    }

    /// Whether everything that the kernel counted has come out, as far as that is known.
    pub(super) fn is_empty(&self) -> bool {
        self.count().is_ok_and(|totals| {
            // Relaxed, both: this is the thread that writes them.
            let out = self.taken.load(Ordering::Relaxed) + self.refused.load(Ordering::Relaxed);
            totals.received.saturating_sub(totals.dropped) == out
        })
    }

    /// Takes libpcap's numbers before their 32 bits overflow. Never waits: who holds the lock is taking them.
    pub(super) fn fold(&self) {
        if let Ok(mut totals) = self.totals.try_lock() {
            // The next one sees to it, or `stats` tells.
            let _ = self.fold_into(&mut totals);
        }
    }

    fn count(&self) -> Result<MutexGuard<'_, Totals>, Error> {
        let mut totals = lock(&self.totals);
        self.fold_into(&mut totals)?;
        Ok(totals)
    }

    fn fold_into(&self, totals: &mut Totals) -> Result<(), Error> {
        let Some(open) = &mut *lock(&self.open) else {
            return Ok(());
        };
        let now = open.handle.stats()?;
        let more = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        totals.received += more(now.received, totals.before.received);
        totals.dropped += more(now.dropped, totals.before.dropped);
        totals.if_dropped += more(now.if_dropped, totals.before.if_dropped);
        totals.before = now;
        Ok(())
    }

    /// Lets nothing more in, where that can be done without libpcap, which would also refuse what waits.
    #[cfg(target_os = "linux")]
    fn end_flow(open: &Open) -> bool {
        use crate::{af_packet::attach, filter::kernel::REFUSE_ALL};
        let socket = open.descriptor.as_deref().map(socket2::SockRef::from);
        // A file, as of a USB bus, has no filter.
        socket.is_some_and(|socket| attach(&socket, REFUSE_ALL).is_ok())
    }

    #[cfg(not(target_os = "linux"))]
    fn end_flow(_open: &Open) -> bool {
        false
    }

    /// Closes the capture, whoever still has a control. Its numbers stay.
    pub(super) fn close(&self) {
        drop(self.count());
        drop(lock(&self.open).take());
    }
}

impl capture::Handle for Shared {
    fn set_filter(&self, program: &[Instruction]) -> Result<(), Error> {
        self.install(None, Some(program))
    }

    fn set_guard(&self, guard: &[Instruction]) -> Result<(), Error> {
        self.install(Some(guard), None)
    }

    fn stats(&self) -> Result<Stats, Error> {
        let totals = self.count()?;
        // `ps_recv` counts before the filter on some systems, and copies that nobody sees on others. What came out
        // and what was lost is the same everywhere, and is what passed the filter.
        // Relaxed, both: see `Shared::read`.
        let taken = self.taken.load(Ordering::Relaxed);
        Ok(Stats {
            received: taken + totals.dropped,
            dropped: totals.dropped,
            if_dropped: totals.if_dropped,
            unread: self.unread.load(Ordering::Relaxed),
            filter_in_user_space: lock(&self.filters).in_user_space,
        })
    }

    fn stop(&self) {
        let mut filters = lock(&self.filters);
        if !std::mem::replace(&mut filters.stopped, true) {
            if let Some(open) = &*lock(&self.open) {
                // Relaxed: ordered by the next one.
                self.flow_ended.store(Self::end_flow(open), Ordering::Relaxed);
            }
            // Release: pairs with the Acquire in `Source::wait`.
            self.stopping.store(true, Ordering::Release);
        }
        self.waker.nudge();
    }

    fn wake(&self) {
        self.waker.wake();
    }
}

/// A panic elsewhere leaves nothing half-done in these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
