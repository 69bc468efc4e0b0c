//! The capturing thread's side.

#[cfg(unix)]
use std::os::fd::{AsFd, OwnedFd};
use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    control::{Open, Shared},
    handle::{Handle, Settings},
    link::Link,
};
use crate::{
    Error, LinkType, Options,
    batch::{Batch, BatchBlock},
    capture::{Control, Ready},
    wait::Waker,
};

/// Batches between two looks at libpcap's counters, which have 32 bits.
const FOLD_EVERY: u32 = 256;
/// How often to look whether an interface that shows nothing is still up: libpcap takes that for silence.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The smallest buffer to try.
const LEAST: usize = 256 << 10;

/// A capture of libpcap's.
pub(crate) struct Source {
    shared: Arc<Shared>,
    /// What to wait for: its own, so that it stays valid without the lock.
    #[cfg(unix)]
    descriptor: Option<Arc<OwnedFd>>,
    linktype: LinkType,
    ring_bytes: usize,
    requested: usize,
    block_timeout: Duration,
    batch: Batch,
    batches: u32,
    link: Link,
    /// When something last came.
    busy: Instant,
    /// When to look at the interface again.
    look: Instant,
    /// What it failed with, until what was captured before has been given out.
    failed: Option<Error>,
    /// It was told.
    told: bool,
    /// When it began to give out the rest.
    ending: Option<Instant>,
    /// Wake-ups in a row that brought nothing.
    idle: u32,
}

/// The link type of `device`, for which it has to be opened.
pub(crate) fn linktype(device: &str) -> Result<LinkType, Error> {
    let settings = Settings { snaplen: 64, promisc: false, timeout: 1, buffer: 64 << 10 };
    let linktype = Handle::open(device, &settings).and_then(|handle| handle.linktype());
    // What is down cannot be opened; what it is, the system tells all the same.
    #[cfg(target_os = "linux")]
    if let Err(Error::InterfaceDown { .. }) = linktype {
        return crate::af_packet::linktype(device);
    }
    linktype
}

impl Source {
    pub(crate) fn open(device: &str, options: &Options) -> Result<Self, Error> {
        let snaplen = options.effective_snaplen();
        let block_timeout = options.block_timeout.max(Duration::from_millis(1));
        let mut settings = Settings {
            snaplen,
            promisc: options.promisc,
            timeout: u32::try_from(block_timeout.as_millis()).unwrap_or(u32::MAX),
            buffer: options.ring_bytes,
        };
        let mut handle = loop {
            match Handle::open(device, &settings) {
                // libpcap asks for less only if the kernel has not enough, and not if this process has.
                Err(error) if is_short(&error) && settings.buffer > LEAST => settings.buffer /= 2,
                result => break result?,
            }
        };
        handle.set_direction(options.direction)?;
        let linktype = handle.linktype()?;
        let waker = Waker::new().map_err(|error| Error::call("a wake-up call", device, error))?;
        #[cfg(unix)]
        let descriptor = handle.descriptor().map(Arc::new);
        let open = Open {
            handle,
            #[cfg(target_os = "linux")]
            descriptor: descriptor.clone(),
        };
        let shared = Arc::new(Shared::new(open, waker, linktype, snaplen));
        // Nothing was read before this, and libpcap has it applied to what was captured.
        shared.install(Some(&options.guard), Some(&options.filter))?;
        let now = Instant::now();
        Ok(Self {
            shared,
            #[cfg(unix)]
            descriptor,
            linktype,
            ring_bytes: settings.buffer,
            requested: options.ring_bytes,
            block_timeout,
            batch: Batch::new(),
            batches: 0,
            link: Link::of(device),
            busy: now,
            look: now + LOOK_EVERY,
            failed: None,
            told: false,
            ending: None,
            idle: 0,
        })
    }

    pub(crate) fn linktype(&self) -> LinkType {
        self.linktype
    }

    /// What libpcap was asked for: it does not tell what it got.
    pub(crate) fn ring_bytes(&self) -> usize {
        self.ring_bytes
    }

    pub(crate) fn ring_shrunk(&self) -> Option<usize> {
        (self.ring_bytes < self.requested).then_some(self.requested)
    }

    pub(crate) fn control(&self) -> Control {
        Control(self.shared.clone())
    }

    /// The packets that [`Source::wait`] announced.
    pub(crate) fn block(&mut self) -> BatchBlock<'_> {
        self.batch.lend(&self.shared.unread)
    }

    /// Waits until there is something to tell.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Result<Ready, Error> {
        if self.shared.waker.taken() {
            return Ok(Ready::Woken);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // Acquire: pairs with the Release in `Shared::stop`.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            let read = self.shared.read(&mut self.batch);
            let now = Instant::now();
            if let Err(error) = read {
                self.fail(error);
            }
            if !self.batch.is_empty() {
                self.arrived(now);
                return Ok(Ready::Block);
            }
            if (stopping || self.failed.is_some()) && self.is_drained(stopping, now) {
                self.ending = None;
                return match self.failed.take() {
                    Some(error) if !stopping => {
                        self.told = true;
                        Err(error)
                    }
                    _ => Ok(Ready::Ended),
                };
            }
            if self.shared.waker.taken() {
                return Ok(Ready::Woken);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Ready::Timeout);
            }
            if !stopping && now >= self.look {
                self.look_at_link(now);
            }
            self.sleep(left, stopping)?;
        }
    }

    fn arrived(&mut self, now: Instant) {
        self.busy = now;
        self.look = now + LOOK_EVERY;
        self.idle = 0;
        self.told = false;
        self.batches = self.batches.wrapping_add(1);
        if self.batches.is_multiple_of(FOLD_EVERY) {
            self.shared.fold();
        }
    }

    /// Remembers what went wrong; once, until something comes again.
    fn fail(&mut self, error: Error) {
        if self.failed.is_none() && !self.told {
            self.failed = Some(self.link.explain(error));
        }
    }

    fn look_at_link(&mut self, now: Instant) {
        self.look = now + LOOK_EVERY;
        match self.link.failure() {
            Some(error) => {
                if self.failed.is_none() && !self.told {
                    self.failed = Some(error);
                }
            }
            None => self.told = false,
        }
    }

    /// Whether all that was captured before the end, or the failure, has been given out.
    fn is_drained(&mut self, stopping: bool, now: Instant) -> bool {
        let began = *self.ending.get_or_insert(now);
        // Relaxed: ordered by the load that said `stopping`.
        let flow_ended = self.shared.flow_ended.load(Ordering::Relaxed);
        // Where the flow goes on, what comes after this moment is none of it.
        if stopping && (!flow_ended || self.shared.is_empty()) {
            return true;
        }
        // The kernel gives out a block that does not fill after one to two of its timeouts.
        let since = self.busy.max(began);
        now.saturating_duration_since(since) >= 2 * self.block_timeout + Duration::from_millis(20)
    }

    fn sleep(&mut self, left: Option<Duration>, stopping: bool) -> Result<(), Error> {
        let mut most = LOOK_EVERY;
        if stopping || self.failed.is_some() || !self.can_wait() {
            most = self.block_timeout.min(most);
        }
        // What is ready and brings nothing, over and over, must not cost a core.
        let nap = self.idle >= 8 || self.told;
        if nap && !self.told {
            most = Duration::from_millis(1);
        }
        let timeout = left.map_or(most, |left| left.min(most));
        self.sleep_for(timeout, nap)
    }

    #[cfg(unix)]
    fn can_wait(&self) -> bool {
        self.descriptor.is_some()
    }

    #[cfg(not(unix))]
    fn can_wait(&self) -> bool {
        false
    }

    #[cfg(unix)]
    fn sleep_for(&mut self, timeout: Duration, nap: bool) -> Result<(), Error> {
        use crate::wait::Wakeup;
        let descriptor = self.descriptor.as_deref().filter(|_| !nap).map(AsFd::as_fd);
        match self.shared.waker.sleep(descriptor, Some(timeout)) {
            Wakeup::Nothing => self.idle = 0,
            Wakeup::Readable => self.idle += 1,
            Wakeup::Failed => {
                self.idle += 1;
                self.look = Instant::now();
            }
            Wakeup::Poll(error) => return Err(Error::call("poll", self.link.device(), error)),
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn sleep_for(&mut self, timeout: Duration, _nap: bool) -> Result<(), Error> {
        self.shared.waker.sleep(timeout);
        Ok(())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // A control that outlives the capture still answers with the final numbers.
        self.shared.close();
    }
}

/// Whether there was too little memory, which libpcap says in the system's words.
fn is_short(error: &Error) -> bool {
    error.to_string().contains("Cannot allocate memory")
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("linktype", &self.linktype).finish_non_exhaustive()
    }
}
