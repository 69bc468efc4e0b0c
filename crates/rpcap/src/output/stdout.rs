//! Standard output: one stream for another program.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Account, Begin, Drain};
use crate::file::{Error, Meta, Record, Stream, Summary};
use crate::journal::Journal;

/// Standard output, as pcapng with an interface for every stream.
#[derive(Debug)]
pub struct Stdout {
    /// `None` once nobody reads any more.
    to: Option<Stream<File>>,
    streams: HashMap<u32, Known>,
    error: Option<io::Error>,
}

#[derive(Debug)]
struct Known {
    meta: Meta,
    interface: u32,
    account: Arc<Account>,
    /// Packets in the buffer.
    pending: u64,
    summary: Summary,
}

impl Stdout {
    /// Standard output.
    pub fn open() -> io::Result<Self> {
        let to = Stream::new(crate::file::stdout()?)?;
        Ok(Self { to: Some(to), streams: HashMap::new(), error: None })
    }

    /// Does something with the stream, which is over if that fails.
    fn with(&mut self, work: impl FnOnce(&mut Stream<File>) -> io::Result<()>) {
        if let Some(to) = &mut self.to
            && let Err(error) = work(to)
        {
            self.to = None;
            self.error = Some(error);
        }
    }
}

impl Drain for Stdout {
    fn begin(&mut self, begin: Begin) {
        let Begin { stream, meta, account, .. } = begin;
        if self.streams.get(&stream).is_some_and(|known| known.meta == meta) {
            return;
        }
        let mut interface = 0;
        self.with(|to| match to.add(&meta) {
            Ok(number) => {
                interface = number;
                Ok(())
            }
            Err(Error::Write(error)) => Err(error),
            Err(other) => Err(io::Error::other(other)),
        });
        let known = Known { meta, interface, account, pending: 0, summary: Summary::default() };
        if let Some(before) = self.streams.insert(stream, known)
            && let Some(known) = self.streams.get_mut(&stream)
        {
            known.pending = before.pending;
        }
    }

    fn packet(&mut self, stream: u32, record: &Record<'_>) {
        let Some(known) = self.streams.get_mut(&stream) else { return };
        known.pending += 1;
        let interface = known.interface;
        self.with(|to| to.write(interface, record));
    }

    fn summary(&mut self, stream: u32, summary: Summary) {
        if let Some(known) = self.streams.get_mut(&stream) {
            known.summary = summary;
        }
    }

    fn end(&mut self, stream: u32) {
        if let Some(known) = self.streams.get(&stream) {
            let (interface, summary) = (known.interface, known.summary.clone());
            self.with(|to| to.write_summary(interface, &summary));
        }
    }

    fn tick(&mut self, _: &Journal) {}

    fn pause(&mut self, journal: &Journal) {
        self.with(Stream::flush);
        for known in self.streams.values_mut() {
            let account = &known.account;
            let count = if self.to.is_some() { &account.written } else { &account.unwritten };
            count.fetch_add(std::mem::take(&mut known.pending), Relaxed);
        }
        if let Some(error) = self.error.take() {
            journal.warn(&format!("standard output: {error}; receiving goes on"));
        }
    }

    fn finish(&mut self, journal: &Journal) {
        self.pause(journal);
    }
}
