//! Packets of many files in the order of their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::PathBuf;
use std::time::Duration;

use super::window::{Behind, Window};
use super::{FindError, Found, Note, Selection, Source, corrected};
use crate::file::copy::{Copied, Target};
use crate::file::read::Settings;

/// Files that may be open at a time; with more, each is opened for each read. Common limits are 256 and 1,024.
const OPEN: usize = 128;
/// Bytes of the buffer of each file, where there are few and where there are many.
const FEW: usize = 256 << 10;
const MANY: usize = 32 << 10;

/// How to merge.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether timestamps are corrected by what is known of the senders' clocks.
    pub correct: bool,
    /// How late a packet may stand in its file.
    pub window: Duration,
    /// Whether indexes are used.
    pub index: bool,
}

/// A file that has not begun yet.
#[derive(Debug)]
struct Pending {
    /// No packet of it is earlier.
    begins: u64,
    path: PathBuf,
    /// The file, if there is no telling when it begins.
    source: Option<Source>,
}

/// Reads files together, and gives a target what is wanted of them by time.
///
/// Files with an index are opened when their time comes.
pub fn merge(
    files: &[PathBuf],
    options: Options,
    selection: &mut Selection,
    target: &mut dyn Target,
    note: &mut dyn FnMut(Note<'_>),
) -> Result<Found, FindError> {
    let many = files.len() > OPEN;
    let settings =
        Settings { buffer: if many { MANY } else { FEW }, reopen: many, index: options.index };
    let mut found = Found::default();
    let mut pending = Vec::new();
    for path in files {
        let opened = Source::open(path, settings, options.correct, &mut found, note);
        let Some(mut source) = opened else { continue };
        source.limit(selection);
        let (begins, path) = (source.begins(), path.clone());
        if source.reader.is_skipped() {
            source.close(&mut found);
        } else if source.reader.is_indexed() {
            pending.push(Pending { begins, path, source: None });
        } else {
            pending.push(Pending { begins, path, source: Some(source) });
        }
    }
    // The last one is the next.
    pending.sort_by_key(|p| Reverse(p.begins));

    let length = u64::try_from(options.window.as_nanos()).unwrap_or(u64::MAX);
    let mut window = Window::new(length, selection.count);
    let mut behind = Behind { window: &mut window, target };
    let mut running = Running::default();
    while !behind.window.is_over() {
        let now = running.now();
        if let Some(begun) = pending.pop_if(|p| p.begins <= now) {
            let opened = begun.source.or_else(|| {
                let path = &begun.path;
                let mut source = Source::open(path, settings, options.correct, &mut found, note)?;
                source.limit(selection);
                Some(source)
            });
            let Some(mut source) = opened else { continue };
            match source.next(selection, &mut behind, &mut found, note)? {
                Some((interface, time)) => running.add(source, interface, time),
                None => source.close(&mut found),
            }
            continue;
        }
        let Some(mut first) = running.next.peek_mut() else { break };
        let Reverse((time, at)) = *first;
        let Some(Some((source, interface))) = running.sources.get_mut(at) else { break };
        if let Some(packet) = source.reader.packet() {
            behind.packet(*interface, &Copied::at(time, &packet))?;
        }
        match source.next(selection, &mut behind, &mut found, note)? {
            Some((number, time)) => {
                *interface = number;
                *first = Reverse((time, at));
            }
            None => {
                PeekMut::pop(first);
                if let Some((source, _)) = running.sources.get_mut(at).and_then(Option::take) {
                    source.close(&mut found);
                }
            }
        }
    }
    behind.finish()?;
    running.sources.into_iter().flatten().for_each(|(source, _)| source.close(&mut found));
    (found.matched, found.late) = (window.passed(), window.late());
    Ok(found)
}

/// The files that have begun, each at a packet that is wanted.
#[derive(Debug, Default)]
struct Running {
    /// A file, and what the target calls the interface of its packet.
    sources: Vec<Option<(Source, u32)>>,
    /// The times of these packets, and whose they are.
    next: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Running {
    /// The time of the earliest packet.
    fn now(&self) -> u64 {
        self.next.peek().map_or(u64::MAX, |Reverse((time, _))| *time)
    }

    fn add(&mut self, source: Source, interface: u32, time: u64) {
        let free = self.sources.iter().position(Option::is_none);
        let at = free.unwrap_or(self.sources.len());
        if free.is_none() {
            self.sources.push(None);
        }
        self.sources[at] = Some((source, interface));
        self.next.push(Reverse((time, at)));
    }
}

impl Source {
    /// Reads only what may have packets that are wanted, whichever clock they are from.
    fn limit(&mut self, selection: &Selection) {
        let (low, high) = self.offsets();
        // Corrected is what was captured, less the offset.
        let since = corrected(selection.since, low.saturating_neg());
        let until = match selection.until {
            u64::MAX => u64::MAX,
            until => corrected(until, high.saturating_neg()),
        };
        self.reader.only(since, until, |interface| selection.names(interface));
    }

    /// The earliest corrected time that a packet may have.
    fn begins(&self) -> u64 {
        match self.reader.span() {
            Some(Some((first, _))) => corrected(first, self.offsets().1),
            _ => 0,
        }
    }

    fn offsets(&self) -> (i64, i64) {
        self.correct.then(|| self.reader.clock_offsets()).flatten().unwrap_or((0, 0))
    }
}
