//! What the controlling threads do to a ring, and what they share with the capturing one.

use std::{
    fs, io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use socket2::{SockFilter, Socket};

use super::{
    block::Counts,
    sys::{self, NO_PROTOCOL},
};
use crate::{
    Error, Instruction, Stats,
    capture::Handle,
    filter::kernel::{Placed, REFUSE_ALL, Target, place},
    slot::Slot,
    wait::Waker,
};

/// What both sides have.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) device: String,
    /// Not an owner, so that dropping the capture closes the socket whoever still has a control.
    socket: Weak<Socket>,
    /// 0: every interface.
    ifindex: i32,
    target: Target,
    pub(super) wakeup: Waker,
    /// Nothing more comes into the ring.
    pub(super) stopping: AtomicBool,
    pub(super) slot: Slot,
    pub(super) counts: Counts,
    filters: Mutex<Filters>,
    totals: Mutex<Totals>,
}

#[derive(Debug, Default)]
struct Filters {
    guard: Vec<Instruction>,
    program: Vec<Instruction>,
    /// A program runs in user space: there all later ones run too.
    in_user_space: bool,
    stopped: bool,
}

/// The kernel's counters begin anew each time they are read; these do not.
#[derive(Debug, Default)]
struct Totals {
    packets: u64,
    drops: u64,
    /// The interface's own losses, when last asked, and since the capture began. Only counted in promiscuous mode, as
    /// libpcap does.
    interface_before: Option<u64>,
    interface: u64,
}

impl Shared {
    pub(super) fn new(
        device: &str,
        socket: &Arc<Socket>,
        ifindex: i32,
        target: Target,
        promisc: bool,
    ) -> Result<Self, Error> {
        let wakeup = Waker::new().map_err(|error| Error::call("eventfd", device, error))?;
        let totals = Totals {
            interface_before: promisc.then(|| interface_losses(device)),
            ..Totals::default()
        };
        Ok(Self {
            device: device.to_owned(),
            socket: Arc::downgrade(socket),
            ifindex,
            target,
            wakeup,
            stopping: AtomicBool::new(false),
            slot: Slot::default(),
            counts: Counts::default(),
            filters: Mutex::default(),
            totals: Mutex::new(totals),
        })
    }

    /// Puts guard and program in force, from the next packet on. With an error, what was in force stays.
    pub(super) fn install(
        &self,
        guard: Option<&[Instruction]>,
        program: Option<&[Instruction]>,
    ) -> Result<(), Error> {
        let mut filters = lock(&self.filters);
        let guard = guard.unwrap_or(&filters.guard).to_vec();
        let program = program.unwrap_or(&filters.program).to_vec();
        let mut placed = place(&self.target, &guard, &program, filters.in_user_space)?;
        let socket = if filters.stopped { None } else { self.socket.upgrade() };
        if let Some(socket) = socket {
            match self.put_in_force(&socket, &placed, &filters) {
                Ok(()) => {}
                // The kernel has rules of its own, and a limit of memory for filters
                // (net.core.optmem_max). What it does not take runs in user space.
                Err(error) if placed.user.is_none() && is_refusal(&error) => {
                    placed = place(&self.target, &guard, &program, true)?;
                    self.put_in_force(&socket, &placed, &filters)
                        .map_err(|error| self.attach_error(error))?;
                }
                Err(error) => return Err(self.attach_error(error)),
            }
        }
        *filters = Filters {
            guard,
            program,
            in_user_space: placed.user.is_some(),
            stopped: filters.stopped,
        };
        Ok(())
    }

    /// First the user-space program, then the kernel's, which replaces its predecessor between two packets: so a block
    /// that holds anything the new kernel program let pass comes after the program that is to look at it.
    fn put_in_force(&self, socket: &Socket, placed: &Placed, before: &Filters) -> io::Result<()> {
        let Some(program) = &placed.user else {
            return self.replace(socket, &placed.kernel, before);
        };
        self.slot.publish(program.clone());
        self.replace(socket, &placed.kernel, before).inspect_err(|_| {
            // The empty program accepts what the kernel's lets pass.
            let program = if before.in_user_space { &before.program[..] } else { &[] };
            self.slot.publish(program.into());
        })
    }

    /// The kernel needs room for the new program beside the old one. Where there is none
    /// (net.core.optmem_max), nothing passes until the new one is in the place of the old.
    fn replace(&self, socket: &Socket, new: &[Instruction], before: &Filters) -> io::Result<()> {
        match attach(socket, new) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                attach(socket, REFUSE_ALL)?;
                attach(socket, new).inspect_err(|_| {
                    let Filters { guard, program, in_user_space, .. } = before;
                    // It was in force before.
                    if let Ok(old) = place(&self.target, guard, program, *in_user_space) {
                        let _ = attach(socket, &old.kernel);
                    }
                })
            }
            result => result,
        }
    }

    fn attach_error(&self, source: io::Error) -> Error {
        let hint = match source.raw_os_error() {
            Some(libc::ENOMEM) => ": raise net.core.optmem_max",
            _ => "",
        };
        Error::Call { call: "SO_ATTACH_FILTER", target: self.device.clone(), source, hint }
    }

    /// Takes the last numbers, before the socket goes.
    pub(super) fn close(&self) {
        drop(self.count());
    }

    /// Takes the kernel's numbers before their 32 bits overflow. Never waits: who holds the lock is
    /// taking them.
    pub(super) fn fold(&self) {
        if let Ok(mut totals) = self.totals.try_lock() {
            // The next one sees to it, or `stats` tells.
            let _ = self.fold_into(&mut totals);
        }
    }

    fn fold_into(&self, totals: &mut Totals) -> Result<(), Error> {
        if let Some(socket) = self.socket.upgrade() {
            let new = sys::take_counters(socket.as_fd())
                .map_err(|error| Error::call("PACKET_STATISTICS", &self.device, error))?;
            totals.packets += u64::from(new.packets);
            totals.drops += u64::from(new.drops);
        }
        Ok(())
    }

    fn count(&self) -> Result<MutexGuard<'_, Totals>, Error> {
        let mut totals = lock(&self.totals);
        self.fold_into(&mut totals)?;
        if let (Some(before), true) = (totals.interface_before, self.socket.strong_count() > 0) {
            let now = interface_losses(&self.device);
            totals.interface += now.saturating_sub(before);
            totals.interface_before = Some(now);
        }
        Ok(totals)
    }
}

impl Handle for Shared {
    fn set_filter(&self, program: &[Instruction]) -> Result<(), Error> {
        self.install(None, Some(program))
    }

    fn set_guard(&self, guard: &[Instruction]) -> Result<(), Error> {
        self.install(Some(guard), None)
    }

    fn stats(&self) -> Result<Stats, Error> {
        let totals = self.count()?;
        // Relaxed, both: see `RingBlock::drop`.
        let refused = self.counts.refused.load(Ordering::Relaxed);
        let unread = self.counts.unread.load(Ordering::Relaxed);
        Ok(Stats {
            received: totals.packets.saturating_sub(refused),
            dropped: totals.drops,
            if_dropped: totals.interface,
            unread,
            filter_in_user_space: lock(&self.filters).in_user_space,
        })
    }

    fn stop(&self) {
        let mut filters = lock(&self.filters);
        if !std::mem::replace(&mut filters.stopped, true) {
            if let Some(socket) = self.socket.upgrade() {
                // The filter ends the flow; binding to a protocol that does not exist waits for packets that had passed
                // the old filter and were still on their way into the ring. Either alone would do but for that wait; a
                // failure (the interface may be gone) leaves the other.
                let _ = attach(&socket, REFUSE_ALL);
                let _ = sys::bind(socket.as_fd(), self.ifindex, NO_PROTOCOL);
            }
            // Release: pairs with the Acquire in `Source::wait`.
            self.stopping.store(true, Ordering::Release);
        }
        self.wakeup.nudge();
    }

    fn wake(&self) {
        self.wakeup.wake();
    }
}

/// Whether the kernel can be got round.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOMEM))
}

/// Replaces the socket's filter.
pub(crate) fn attach(socket: &Socket, program: &[Instruction]) -> io::Result<()> {
    let program: Vec<SockFilter> =
        program.iter().map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k)).collect();
    socket.attach_filter(&program)
}

/// Packets that the interface lost before the kernel saw them: what libpcap counts as `ps_ifdrop`. 0 where the interface
/// does not say.
fn interface_losses(device: &str) -> u64 {
    let read = |counter| {
        fs::read_to_string(format!("/sys/class/net/{device}/statistics/{counter}"))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    read("rx_missed_errors").saturating_add(read("rx_fifo_errors"))
}

/// A panic elsewhere leaves nothing half-done in these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
