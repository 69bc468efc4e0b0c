//! A savefile as it grows, for readers that come and go: over TCP, through a named pipe, on the
//! standard input of a command.
//!
//! ```text
//!   output's thread: Live ─▶ chunk of whole blocks ─┬▶ queue ─▶ reader's thread ─▶ socket
//!                            header for those that  ├▶ queue ─▶ reader's thread ─▶ pipe
//!                            come later             └▶ …
//! ```
//!
//! Packets are encoded once. What finds a reader's queue full is left out for this reader, whole
//! blocks at a time, so that its savefile stays one; it is counted and told when the reader goes.

mod connect;
#[cfg(unix)]
mod exec;
#[cfg(unix)]
mod pipe;
mod place;
mod readers;
mod server;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use self::place::Place;
use self::readers::Readers;
use super::{Account, Begin, Destination, Drain, OutputPlan, is_full};
use crate::file::{Encoder, Format, Meta, Record, Summary};
use crate::journal::Journal;
use crate::text::harmless;

/// A chunk is given on when it has so many bytes.
const FULL: usize = 256 * 1024;
/// How long readers may take for what they still have to get, at the end.
const LAST: Duration = Duration::from_secs(2);
/// How long what finds readers may take after that: a name server, say, may not answer.
const AFTER_LAST: Duration = Duration::from_millis(500);

/// What finds readers, ready to begin.
type Work = Box<dyn FnOnce() + Send>;

/// What readers are told, when they come and go.
pub(super) type Said = Arc<Journal>;

/// A savefile that grows.
#[derive(Debug)]
pub struct Live {
    readers: Arc<Readers>,
    /// Finds readers until it is told to stop.
    finder: Option<JoinHandle<()>>,
    /// How long that may take to end.
    patience: Duration,
    encoder: Encoder,
    /// Blocks that are not given on yet.
    chunk: Vec<u8>,
    /// Those that run.
    streams: HashMap<u32, Known>,
    /// What the section has a description of, or has no place for. Agents come back.
    interfaces: HashMap<Meta, Option<u32>>,
    /// Streams that have packets in the chunk.
    pending: Vec<u32>,
}

#[derive(Debug)]
struct Known {
    meta: Meta,
    /// Its number in the section; `None` if that has no place for its link type.
    interface: Option<u32>,
    account: Arc<Account>,
    /// Packets in the chunk.
    pending: u64,
    summary: Summary,
}

impl Live {
    /// Waits for readers as the plan says.
    pub fn open(plan: &OutputPlan, journal: &Said) -> io::Result<Self> {
        let encoder = Encoder::new(plan.format.unwrap_or(Format::Pcapng));
        let readers = Arc::new(Readers::new(plan.name.clone(), Arc::clone(journal)));
        readers.add_to_header(&encoder.start());
        let finder = self::find(plan, &readers)?;
        Ok(Self {
            readers,
            finder: Some(finder),
            patience: match plan.destination {
                #[cfg(unix)]
                Destination::Exec(_) => LAST + exec::ENDING + AFTER_LAST,
                _ => LAST + AFTER_LAST,
            },
            encoder,
            chunk: Vec::with_capacity(FULL),
            streams: HashMap::new(),
            interfaces: HashMap::new(),
            pending: Vec::new(),
        })
    }

    /// Finds what would fail, without beginning anything.
    pub fn check(plan: &OutputPlan) -> io::Result<()> {
        plan.tls.as_ref().map(server::identity).transpose()?;
        match &plan.destination {
            #[cfg(unix)]
            Destination::Pipe(path) => match pipe::is_pipe(path) {
                // It will be made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
            #[cfg(not(unix))]
            Destination::Pipe(_) | Destination::Exec(_) => Err(not_here()),
            _ => Ok(()),
        }
    }

    /// The number of an interface in the section, if that has a place for it.
    fn interface(&mut self, meta: &Meta) -> Option<u32> {
        if let Some(known) = self.interfaces.get(meta) {
            return *known;
        }
        if is_full(self.interfaces.len(), self.streams.len()) {
            self.begin_section();
        }
        let number = match self.encoder.add(meta) {
            Ok((number, block)) => {
                self.readers.add_to_header(&block);
                Some(number)
            }
            Err(error) => {
                let interface = harmless(meta.interface.as_bytes());
                self.readers
                    .warn(&format!("{interface}: {error}; its packets are counted as not written"));
                None
            }
        };
        self.interfaces.insert(meta.clone(), number);
        number
    }

    /// Another section, which describes what is captured from now: all that there ever was would be
    /// too much for those who come later.
    fn begin_section(&mut self) {
        self.interfaces.clear();
        let mut header = self.encoder.restart();
        for known in self.streams.values_mut() {
            known.interface = match self.interfaces.get(&known.meta) {
                Some(number) => *number,
                None => {
                    let added = self.encoder.add(&known.meta).ok();
                    let number = added.map(|(number, block)| {
                        header.extend(block);
                        number
                    });
                    self.interfaces.insert(known.meta.clone(), number);
                    number
                }
            };
        }
        // pcap goes on as it was.
        if !header.is_empty() {
            self.readers.set_header(&header);
        }
    }

    /// Gives on what was gathered.
    fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let mut packets = 0;
        for stream in &self.pending {
            packets += self.streams.get(stream).map_or(0, |known| known.pending);
        }
        let taken = self.readers.give(&self.chunk, packets);
        self.chunk.clear();
        for stream in self.pending.drain(..) {
            if let Some(known) = self.streams.get_mut(&stream) {
                let pending = std::mem::take(&mut known.pending);
                let account = &known.account;
                let count = if taken { &account.written } else { &account.unwritten };
                count.fetch_add(pending, Relaxed);
            }
        }
    }
}

impl Drain for Live {
    fn begin(&mut self, begin: Begin) {
        let Begin { stream, meta, account, .. } = begin;
        let same = |known: &Known| known.meta == meta && Arc::ptr_eq(&known.account, &account);
        if self.streams.get(&stream).is_some_and(same) {
            return;
        }
        // Packets in the chunk are of the interface that it was, and of the section.
        self.flush();
        let interface = self.interface(&meta);
        let known = Known { meta, interface, account, pending: 0, summary: Summary::default() };
        self.streams.insert(stream, known);
    }

    fn packet(&mut self, stream: u32, record: &Record<'_>) {
        let Some(known) = self.streams.get_mut(&stream) else { return };
        let Some(interface) = known.interface else {
            known.account.unwritten.fetch_add(1, Relaxed);
            return;
        };
        self.encoder.packet(&mut self.chunk, interface, record);
        if known.pending == 0 {
            self.pending.push(stream);
        }
        known.pending += 1;
        if self.chunk.len() >= FULL {
            self.flush();
        }
    }

    fn summary(&mut self, stream: u32, summary: Summary) {
        if let Some(known) = self.streams.get_mut(&stream) {
            known.summary = summary;
        }
    }

    fn end(&mut self, stream: u32) {
        if let Some(known) = self.streams.get(&stream)
            && let Some(interface) = known.interface
        {
            self.encoder.summary(&mut self.chunk, interface, &known.summary);
        }
        // Its packets are counted before it is forgotten.
        self.flush();
        self.streams.remove(&stream);
    }

    fn tick(&mut self, _: &Journal) {}

    fn pause(&mut self, _: &Journal) {
        self.flush();
    }

    fn finish(&mut self, _: &Journal) {
        self.flush();
        let now = Instant::now();
        self.readers.finish(now + LAST);
        let Some(finder) = self.finder.take() else { return };
        while !finder.is_finished() {
            if now.elapsed() > self.patience {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // If it panicked, that was said.
        let _ = finder.join();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It may never have begun.
        self.readers.finish(Instant::now());
    }
}

/// Starts what finds readers, at once or when the place is free.
fn find(plan: &OutputPlan, readers: &Arc<Readers>) -> io::Result<JoinHandle<()>> {
    if let Some(place) = Place::take(&plan.destination) {
        let work = prepare(plan, readers)?;
        return spawn(move || {
            work();
            drop(place);
        });
    }
    Live::check(plan)?;
    let (plan, readers) = (plan.clone(), Arc::clone(readers));
    spawn(move || {
        let Some(place) = Place::wait(&plan.destination, &readers) else { return };
        match prepare(&plan, &readers) {
            Ok(work) => work(),
            Err(error) => readers.warn(&format!("cannot begin: {error}")),
        }
        drop(place);
    })
}

fn prepare(plan: &OutputPlan, readers: &Arc<Readers>) -> io::Result<Work> {
    match &plan.destination {
        Destination::PcapOverIp(address) => server::prepare(*address, plan.tls.as_ref(), readers),
        Destination::PcapOverIpConnect(place) => Ok(connect::prepare(place, readers)),
        #[cfg(unix)]
        Destination::Pipe(path) => pipe::prepare(path, readers),
        #[cfg(unix)]
        Destination::Exec(command) => exec::prepare(command, readers),
        _ => Err(not_here()),
    }
}

fn not_here() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "pipe and exec are for Unix")
}

/// A thread for those who find readers, and for readers.
fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("live".to_owned()).spawn(work)
}

/// Pauses between tries, longer and longer.
#[derive(Debug, Default)]
struct Pauses(u32);

impl Pauses {
    /// What was tried then has worked; if it did so for a while, the next pause is a short one.
    fn after(&mut self, start: Instant) {
        if start.elapsed() > Duration::from_secs(10) {
            self.0 = 0;
        }
    }

    /// The next: a fifth of a second, then more, up to half a minute.
    fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(200) * 2u32.pow(self.0.min(8));
        self.0 = self.0.saturating_add(1);
        pause.min(Duration::from_secs(30))
    }
}
