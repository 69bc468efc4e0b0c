//! Standard output: one stream for another program.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::live::Place;
use super::{Account, Begin, Destination, Drain, is_full};
use crate::file::{Error, Meta, Record, Stream, Summary};
use crate::journal::Journal;

/// Standard output, as pcapng with an interface for every stream.
#[derive(Debug)]
pub struct Stdout {
    /// `None` once nobody reads any more.
    to: Option<Stream<File>>,
    /// Those that run.
    streams: HashMap<u32, Known>,
    /// What the section has a description of. Agents come back.
    interfaces: HashMap<Meta, u32>,
    error: Option<io::Error>,
    /// Nobody else writes there.
    #[expect(dead_code, reason = "it is what is taken")]
    place: Option<Place>,
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
    /// Standard output. When a policy is read again, an output that has changed would begin before the
    /// old one has ended: two savefiles in one.
    pub fn open() -> io::Result<Self> {
        let place = Place::take(&Destination::StandardOutput).ok_or_else(|| {
            io::Error::other("another still writes there; restart rpcap to change it")
        })?;
        Ok(Self { place: Some(place), ..Self::new(crate::file::stdout()?)? })
    }

    fn new(to: File) -> io::Result<Self> {
        Ok(Self {
            to: Some(Stream::new(to)?),
            streams: HashMap::new(),
            interfaces: HashMap::new(),
            error: None,
            place: None,
        })
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

    /// The number of an interface in the section.
    fn interface(&mut self, meta: &Meta) -> u32 {
        if let Some(number) = self.interfaces.get(meta) {
            return *number;
        }
        if is_full(self.interfaces.len(), self.streams.len()) {
            self.begin_section();
        }
        self.add(meta)
    }

    fn add(&mut self, meta: &Meta) -> u32 {
        let mut number = 0;
        self.with(|to| match to.add(meta) {
            Ok(added) => {
                number = added;
                Ok(())
            }
            Err(Error::Write(error)) => Err(error),
            Err(other) => Err(io::Error::other(other)),
        });
        self.interfaces.insert(meta.clone(), number);
        number
    }

    /// Another section, which describes what is captured from now.
    fn begin_section(&mut self) {
        self.with(Stream::restart);
        self.interfaces.clear();
        let mut streams = std::mem::take(&mut self.streams);
        for known in streams.values_mut() {
            let number = self.interfaces.get(&known.meta).copied();
            known.interface = number.unwrap_or_else(|| self.add(&known.meta));
        }
        self.streams = streams;
    }

    /// Hands on what was gathered, and counts it.
    fn flush(&mut self) {
        self.with(Stream::flush);
        for known in self.streams.values_mut() {
            let account = &known.account;
            let count = if self.to.is_some() { &account.written } else { &account.unwritten };
            count.fetch_add(std::mem::take(&mut known.pending), Relaxed);
        }
    }
}

impl Drain for Stdout {
    fn begin(&mut self, begin: Begin) {
        let Begin { stream, meta, account, .. } = begin;
        if self.streams.get(&stream).is_some_and(|known| known.meta == meta) {
            return;
        }
        let interface = self.interface(&meta);
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
        // Its packets are counted before it is forgotten.
        self.flush();
        self.streams.remove(&stream);
    }

    fn tick(&mut self, _: &Journal) {}

    fn pause(&mut self, journal: &Journal) {
        self.flush();
        if let Some(error) = self.error.take() {
            journal.warn(&format!("standard output: {error}; receiving goes on"));
        }
    }

    fn finish(&mut self, journal: &Journal) {
        self.pause(journal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::read::{Reader, Settings};
    use crate::output::{INTERFACES, interfaces_of};

    #[test]
    fn ever_new_interfaces_are_described_in_section_after_section() {
        let path = std::env::temp_dir().join(format!("rpcap-stdout-{}", std::process::id()));
        let mut output = Stdout::new(File::create(&path).unwrap()).unwrap();
        let account = Arc::<Account>::default();
        let begin = |output: &mut Stdout, stream, name: &str| {
            let meta = Meta { linktype: 1, interface: name.to_owned(), ..Meta::default() };
            let account = Arc::clone(&account);
            output.begin(Begin { stream, label: String::new(), meta, account });
        };
        let mut expected = Vec::new();
        begin(&mut output, 1, "eth0");
        for n in 0..INTERFACES as u32 + 10 {
            let name = format!("tun{n}");
            // An agent that comes back is the same interface.
            for _ in 0..2 {
                begin(&mut output, n + 10, &name);
                begin(&mut output, 2, "eth1");
                for (stream, name) in [(1, "eth0"), (n + 10, &name), (2, "eth1")] {
                    output.packet(stream, &Record { data: name.as_bytes(), ..Record::default() });
                    expected.push(name.to_owned());
                }
                output.end(n + 10);
            }
        }
        assert_eq!((output.streams.len(), output.interfaces.len()), (2, 14));
        output.finish(&Journal::default());
        assert_eq!(account.written.load(Relaxed), expected.len() as u64);
        let reader = Reader::open(&path, Settings::default()).unwrap();
        assert!(interfaces_of(reader) == expected);
        std::fs::remove_file(path).unwrap();
    }
}
