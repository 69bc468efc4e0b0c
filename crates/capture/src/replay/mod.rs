//! A savefile as an interface: for demonstrations and tests where capturing is not allowed, and for replaying what
//! happened.

mod control;
mod savefile;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use self::{
    control::Shared,
    savefile::{Record, Savefile},
};
use crate::{
    Capture, Error, LinkType, Options, Timestamp,
    batch::{BATCH, Batch, BatchBlock},
    capture::{Control, Ready},
    filter::{Aux, check, run},
    slot::Seen,
};

/// Bytes of packets in a block, unless one packet is larger.
pub const BLOCK: usize = BATCH;

/// Opens the savefile at `path` as if it were an interface: `.pcap`, of either byte order, with microseconds or
/// nanoseconds.
///
/// `paced` delivers each packet as long after the first one as it was captured after it; otherwise they come as fast as
/// they are taken. Packets keep the file's time stamps. At the end of the file the capture goes quiet, as an interface
/// does; it ends when it is stopped.
///
/// Of the options, `snaplen` and `filter` count. A savefile does not know directions.
///
/// # Errors
///
/// [`Error::Savefile`] if the file cannot be read or is none; [`Error::BadFilter`].
pub fn open(path: impl AsRef<Path>, options: &Options, paced: bool) -> Result<Capture, Error> {
    check(&options.filter)?;
    let file = Savefile::open(path.as_ref())?;
    let shared = Arc::new(Shared::default());
    shared.slot.publish(options.filter.as_slice().into());
    let mut seen = Seen::default();
    shared.slot.refresh(&mut seen);
    Ok(Capture::replay(Source {
        file,
        shared,
        snaplen: options.effective_snaplen() as usize,
        paced,
        seen,
        clock: None,
        held: None,
        at_end: false,
        error: None,
        batch: Batch::new(),
    }))
}

/// The capturing thread's side of a replay.
#[derive(Debug)]
pub(crate) struct Source {
    file: Savefile,
    shared: Arc<Shared>,
    snaplen: usize,
    paced: bool,
    seen: Seen,
    /// When the first packet was delivered, and its time stamp.
    clock: Option<(Instant, Timestamp)>,
    /// Read, and not due yet. Its bytes are the file's buffer.
    held: Option<Record>,
    at_end: bool,
    error: Option<Error>,
    /// The block's packets.
    batch: Batch,
}

impl Source {
    pub(crate) fn linktype(&self) -> LinkType {
        self.file.linktype()
    }

    pub(crate) fn ring_bytes(&self) -> usize {
        BLOCK
    }

    pub(crate) fn control(&self) -> Control {
        Control(self.shared.clone())
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Result<Ready, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let (woken, stopped) = self.shared.taken();
            if woken {
                return Ok(Ready::Woken);
            }
            if stopped {
                return Ok(Ready::Ended);
            }
            let due = self.fill();
            if !self.batch.is_empty() {
                return Ok(Ready::Block);
            }
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(Ready::Timeout);
            }
            let until = match (deadline, due) {
                (Some(deadline), Some(due)) => Some(deadline.min(due)),
                (one, other) => one.or(other),
            };
            self.shared.sleep(until.map(|until| until.saturating_duration_since(now)));
        }
    }

    /// The block that [`Source::wait`] collected.
    pub(crate) fn block(&mut self) -> BatchBlock<'_> {
        self.batch.lend(&self.shared.unread)
    }

    /// Collects what is due, a block at most. If that is nothing, says when something will be.
    fn fill(&mut self) -> Option<Instant> {
        self.batch.clear();
        self.shared.slot.refresh(&mut self.seen);
        while !self.batch.is_full() {
            let record = match self.held.take() {
                Some(record) => record,
                None if self.at_end => return None,
                None => match self.file.next() {
                    Ok(Some(record)) => record,
                    // After an error there is nothing, as after the end. It is told once, and not before the packets
                    // in front of it.
                    ended => {
                        self.at_end = true;
                        self.error = ended.err();
                        return None;
                    }
                },
            };
            if let Some(due) = self.due(record.ts) {
                self.held = Some(record);
                return Some(due);
            }
            self.take(&record);
            // A filter that refuses everything must not keep a caller waiting for the whole file.
            if self.shared.is_asked() {
                break;
            }
        }
        None
    }

    /// When a packet of time `ts` is due, if that is not now or before. Time stamps may run backwards.
    fn due(&mut self, ts: Timestamp) -> Option<Instant> {
        if !self.paced {
            return None;
        }
        let now = Instant::now();
        let (start, first) = *self.clock.get_or_insert((now, ts));
        let age = since_epoch(ts).checked_sub(since_epoch(first))?;
        start.checked_add(age).filter(|due| *due > now)
    }

    fn take(&mut self, record: &Record) {
        let data = self.file.data();
        let program = self.seen.program().unwrap_or_default();
        let keep = run(program, data, record.len, &Aux::default()) as usize;
        if keep == 0 {
            return;
        }
        let data = &data[..data.len().min(keep).min(self.snaplen)];
        self.batch.push(record.ts, record.len, data);
        // Relaxed: a sum, ordered by whatever tells the reader that the capture has ended.
        self.shared.received.fetch_add(1, Ordering::Relaxed);
    }
}

fn since_epoch(ts: Timestamp) -> Duration {
    Duration::new(ts.secs.into(), ts.nanos)
}

#[cfg(test)]
mod tests;
