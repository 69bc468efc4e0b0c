//! Savefiles that follow each other: pcapng of many interfaces, in files of bounded size and age.
//!
//! A file is called `….part` while it is written, and gets its name when it is finished; who finds
//! a file under its name finds all of it. Each has a description of every interface that packets in
//! it came from, and ends with the statistics of each and with an index.
//!
//! A disk that takes no more stops the writing and nothing else: what cannot be written is counted,
//! the file so far is finished at its last whole block, and a new one is tried every ten seconds.
//!
//! Nothing here looks at the clock: [`Rotating::tick`] is told the time.

mod directory;
mod name;
mod output;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::directory::Directory;
pub use self::directory::Listing;
use self::output::Output;
use super::index::Builder;
use super::{Error, MAX_SNAPLEN, Meta, Record, Summary, pcapng};

/// How long a disk that refused is left alone.
const RETRY: Duration = Duration::from_secs(10);

/// When a file is finished and the next one begun, and how much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of a file on the disk; a file may be longer by one packet, its statistics and its index,
    /// and one that is compressed by a frame.
    pub max_bytes: Option<u64>,
    /// How long after its first packet a file is finished.
    pub max_age: Option<Duration>,
    /// Bytes of all files of this writer, those of its earlier runs among them, and those that a writer in its place
    /// finishes later; the oldest go first.
    pub total_bytes: Option<u64>,
    /// Whether to compress with zstd.
    pub compress: bool,
}

/// An interface that packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(usize);

/// What happened to the files.
#[derive(Debug)]
pub enum Event {
    /// A file is complete.
    Finished(Finished),
    /// Writing stopped. It is tried again by and by; this is said once until it succeeds.
    Stopped {
        /// The file as it is called now, or the directory if no file could be begun
        path: PathBuf,
        /// What the system says
        error: io::Error,
    },
    /// Writing goes on.
    Resumed {
        /// Packets that could not be written in between
        unwritten: u64,
    },
    /// A file was removed, for want of room within the total.
    Removed(PathBuf),
    /// A file of an earlier run was never finished, or one of another writer is not yet. It stays as it is.
    Leftover(PathBuf),
}

/// A file that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Packets in it.
    pub packets: u64,
    /// Timestamps of its earliest and of its latest packet, nanoseconds since 1970.
    pub span: Option<(u64, u64)>,
    /// Its interfaces, and the packets of each.
    pub sources: Vec<(String, u64)>,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets in files.
    pub packets: u64,
    /// Bytes of these packets, without any header.
    pub bytes: u64,
    /// Packets that the disk did not take.
    pub unwritten_packets: u64,
    /// Bytes of those.
    pub unwritten_bytes: u64,
}

/// What became of the packets of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Packets in files.
    pub written: u64,
    /// Packets that the disk did not take.
    pub unwritten: u64,
}

impl Fate {
    /// Packets that were thought to be written are not.
    fn spoil(&mut self, packets: u64) {
        self.written -= packets;
        self.unwritten += packets;
    }
}

/// Writes packets of any number of interfaces.
#[derive(Debug)]
pub struct Rotating {
    directory: Directory,
    rotation: Rotation,
    now: SystemTime,
    sources: Vec<Option<Interface>>,
    current: Option<Current>,
    /// Since when the disk refuses, and how many packets that cost.
    stopped: Option<(SystemTime, u64)>,
    counts: Counts,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Interface {
    meta: Meta,
    /// What is known of it, for the end of each file.
    summary: Summary,
    here: Option<Here>,
    fate: Fate,
}

/// An interface in the file that is being written.
#[derive(Clone, Copy, Debug)]
struct Here {
    number: u32,
    /// Packets in it for sure, and those that are only in its buffer.
    safe: u64,
    pending: u64,
}

/// The file that is being written.
struct Current {
    output: Output,
    begun: SystemTime,
    interfaces: u32,
    /// What is in it for sure, and what is only in its buffer.
    safe: u64,
    pending: Tally,
    span: Option<(u64, u64)>,
    index: Builder,
    /// Interfaces that were removed.
    gone: Vec<(String, Here)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    /// The earliest timestamp and the latest.
    span: Option<(u64, u64)>,
}

/// Lets a span hold these timestamps too.
fn widen(span: &mut Option<(u64, u64)>, first: u64, last: u64) {
    let (from, to) = span.get_or_insert((first, last));
    *from = first.min(*from);
    *to = last.max(*to);
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("path", &self.output.part()).finish_non_exhaustive()
    }
}

impl Rotating {
    /// Files in `directory` whose names begin with what is harmless of `prefix`. The first packet
    /// makes the first one.
    pub fn new(directory: &Path, prefix: &str, rotation: Rotation, now: SystemTime) -> Self {
        Self::among(&Listing::new(directory), prefix, rotation, now)
    }

    /// The same in a directory that was looked at already.
    pub fn among(listing: &Listing, prefix: &str, rotation: Rotation, now: SystemTime) -> Self {
        let mut events = Vec::new();
        let directory = Directory::open(listing, prefix, rotation.compress, &mut events);
        Self {
            directory,
            rotation,
            now,
            sources: Vec::new(),
            current: None,
            stopped: None,
            counts: Counts::default(),
            events,
        }
    }

    /// Adds an interface. Fails only for a link type that no savefile can hold.
    pub fn add(&mut self, meta: &Meta) -> Result<Source, Error> {
        pcapng::interface_description(meta)?;
        let interface = Interface {
            meta: meta.clone(),
            summary: Summary::default(),
            here: None,
            fate: Fate::default(),
        };
        let free = self.sources.iter().position(Option::is_none);
        let at = free.unwrap_or(self.sources.len());
        match free {
            Some(at) => self.sources[at] = Some(interface),
            None => self.sources.push(Some(interface)),
        }
        Ok(Source(at))
    }

    /// Appends a packet, or counts it as one that could not be written.
    pub fn write(&mut self, source: Source, record: &Record<'_>) {
        let bytes = record.data.len().min(MAX_SNAPLEN as usize) as u64;
        let Some(Some(Interface { fate, .. })) = self.sources.get_mut(source.0) else {
            return;
        };
        fate.written += 1;
        if self.stopped.is_some() || (self.current.is_none() && !self.begin()) {
            if let Some(Some(interface)) = self.sources.get_mut(source.0) {
                interface.fate.spoil(1);
            }
            self.unwritten(Tally { packets: 1, bytes, span: None });
            return;
        }
        let (Some(Some(interface)), Some(current)) =
            (self.sources.get_mut(source.0), &mut self.current)
        else {
            return;
        };
        current.packet(interface, record);
        current.pending.packets += 1;
        current.pending.bytes += bytes;
        widen(&mut current.pending.span, record.timestamp(), record.timestamp());
        if current.output.is_full() {
            self.flush();
        }
        let Rotation { max_bytes, total_bytes, .. } = self.rotation;
        let limit = [max_bytes, total_bytes].into_iter().flatten().min().unwrap_or(u64::MAX);
        if self.current.as_ref().is_some_and(|c| c.output.bytes() >= limit) {
            self.end();
        }
    }

    /// Sets what is known of an interface; the file that is being written then ends with it.
    pub fn summarise(&mut self, source: Source, summary: Summary) {
        if let Some(Some(interface)) = self.sources.get_mut(source.0) {
            // The files that follow say so at their beginning.
            interface.meta.clock = summary.clock;
            interface.summary = summary;
        }
    }

    /// What became of an interface's packets so far. Those in the buffer count as written.
    pub fn fate(&self, source: Source) -> Fate {
        self.sources.get(source.0).and_then(Option::as_ref).map(|i| i.fate).unwrap_or_default()
    }

    /// Removes an interface; what became of its packets.
    pub fn remove(&mut self, source: Source) -> Fate {
        // Nothing of it is left in the buffer, whose fate is not known.
        self.flush();
        let fate = self.fate(source);
        let interface = self.sources.get_mut(source.0).and_then(Option::take);
        if let (Some(interface), Some(current)) = (interface, &mut self.current) {
            current.statistics(&interface);
            if let Some(here) = interface.here {
                current.gone.push((interface.meta.interface, here));
            }
        }
        fate
    }

    /// To be called about once a second: writes what was gathered, ends a file that is old enough,
    /// tries again what the disk refused.
    pub fn tick(&mut self, now: SystemTime) {
        self.now = now;
        self.flush();
        // A clock that was set back tells no age: nothing waits until it has caught up.
        let old = |begun: SystemTime| now.duration_since(begun).unwrap_or(Duration::MAX);
        if let (Some(current), Some(age)) = (&self.current, self.rotation.max_age)
            && old(current.begun) >= age
        {
            self.end();
        }
        if let Some((since, unwritten)) = self.stopped
            && old(since) >= RETRY
        {
            if self.directory.probe(now).is_ok() {
                self.stopped = None;
                self.events.push(Event::Resumed { unwritten });
            } else {
                self.stopped = Some((now, unwritten));
            }
        }
    }

    /// What happened since this was asked before.
    pub fn events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// What became of all packets so far. Those in the buffer count as written.
    pub fn counts(&self) -> Counts {
        let pending = self.current.as_ref().map(|c| c.pending).unwrap_or_default();
        let Counts { packets, bytes, .. } = self.counts;
        Counts { packets: packets + pending.packets, bytes: bytes + pending.bytes, ..self.counts }
    }

    /// Ends the file that is being written.
    pub fn finish(&mut self) {
        self.end();
    }

    /// Begins a file, if the disk lets it.
    fn begin(&mut self) -> bool {
        match self.directory.create(self.now, self.rotation.compress) {
            Ok(mut output) => {
                let section_header = pcapng::section_header();
                output.buffer.extend(&section_header);
                self.current = Some(Current {
                    output,
                    begun: self.now,
                    interfaces: 0,
                    safe: 0,
                    pending: Tally::default(),
                    span: None,
                    index: Builder::new(&section_header),
                    gone: Vec::new(),
                });
                true
            }
            Err(error) => {
                self.stop(self.directory.path().to_owned(), error);
                false
            }
        }
    }

    fn flush(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        let from = current.output.written();
        match current.output.flush() {
            Ok(()) => {
                let done = std::mem::take(&mut current.pending);
                if current.output.written() > from {
                    current.index.written(from, done.span);
                }
                current.safe += done.packets;
                if let Some((first, last)) = done.span {
                    widen(&mut current.span, first, last);
                }
                let here = self.sources.iter_mut().flatten().filter_map(|i| i.here.as_mut());
                for here in here.chain(current.gone.iter_mut().map(|(_, here)| here)) {
                    here.safe += std::mem::take(&mut here.pending);
                }
                self.counts.packets += done.packets;
                self.counts.bytes += done.bytes;
                let room = self.rotation.total_bytes;
                let used = current.output.bytes();
                self.directory.keep_within(room, used, &mut self.events);
            }
            Err(error) => self.broken(error),
        }
    }

    /// The disk does not take what was gathered.
    fn broken(&mut self, error: io::Error) {
        let Some(current) = self.current.take() else {
            return;
        };
        self.stop(current.output.part(), error);
        self.unwritten(current.pending);
        for interface in self.sources.iter_mut().flatten() {
            interface.fate.spoil(interface.here.map_or(0, |here| here.pending));
        }
        self.complete(current);
    }

    fn stop(&mut self, path: PathBuf, error: io::Error) {
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some((self.now, 0));
        self.events.push(Event::Stopped { path, error });
    }

    fn unwritten(&mut self, lost: Tally) {
        self.counts.unwritten_packets += lost.packets;
        self.counts.unwritten_bytes += lost.bytes;
        if let Some((_, unwritten)) = &mut self.stopped {
            *unwritten += lost.packets;
        }
    }

    /// Ends the file that is being written, with the statistics of its interfaces.
    fn end(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        for interface in self.sources.iter().flatten() {
            current.statistics(interface);
        }
        self.flush();
        if let Some(mut current) = self.current.take() {
            let Current { output, index, .. } = &mut current;
            // A disk that has no room for it has a file without.
            let _ = output.append(&index.finish(output.written(), output.is_compressed()));
            self.complete(current);
        }
    }

    /// Gives a file its name; nothing in its buffer gets there any more.
    fn complete(&mut self, current: Current) {
        let Current { output, safe, span, gone, .. } = current;
        let mut sources: Vec<_> = gone.into_iter().map(|(name, here)| (name, here.safe)).collect();
        for interface in self.sources.iter_mut().flatten() {
            if let Some(here) = interface.here.take() {
                sources.push((interface.meta.interface.clone(), here.safe));
            }
        }
        let path = output.part();
        match output.finish() {
            Ok(Some((path, bytes))) => {
                self.directory.finished(&path, bytes);
                let finished = Finished { path, bytes, packets: safe, span, sources };
                self.events.push(Event::Finished(finished));
            }
            Ok(None) => {}
            Err(error) => self.stop(path, error),
        }
    }
}

impl Current {
    /// Gathers a packet.
    fn packet(&mut self, interface: &mut Interface, record: &Record<'_>) {
        let here = interface.here.get_or_insert_with(|| {
            // It could be made when the interface was added.
            let description = pcapng::interface_description(&interface.meta).unwrap_or_default();
            self.output.buffer.extend(&description);
            self.index.describe(&description);
            self.interfaces += 1;
            Here { number: self.interfaces - 1, safe: 0, pending: 0 }
        });
        here.pending += 1;
        // Writing to memory does not fail.
        let snaplen = interface.meta.effective_snaplen();
        let _ = pcapng::packet(&mut self.output.buffer, here.number, snaplen, record);
    }

    /// Gathers what is known of an interface that is in this file.
    fn statistics(&mut self, interface: &Interface) {
        let Some(Here { number, safe, pending }) = interface.here else {
            return;
        };
        let mut summary = interface.summary.clone();
        let comment = std::mem::take(&mut summary.comment);
        let separator = if comment.is_empty() { "" } else { "; " };
        let packets = safe + pending;
        summary.comment = format!("{packets} packets in this file{separator}{comment}");
        let last = [self.span, self.pending.span].into_iter().flatten().map(|(_, last)| last).max();
        summary.end = summary.end.or(last);
        let block = pcapng::interface_statistics(number, &summary);
        self.index.statistics(&block);
        self.output.buffer.extend(block);
    }
}
