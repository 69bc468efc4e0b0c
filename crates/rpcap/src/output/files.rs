//! Files in a directory: one after another for each stream, or for all together.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use super::{Account, Begin, Drain};
use crate::file::rotate::{Event, Fate, Listing, Rotating, Rotation, Source};
use crate::file::{Meta, Record, Summary};
use crate::journal::Journal;
use crate::output::OutputPlan;
use crate::text::plural;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a file waits for an agent that has gone: it may come back.
const LINGER: Duration = Duration::from_secs(60);

/// How long a look at the directory is good enough: agents come by the thousand when a collector starts.
const LISTING: Duration = Duration::from_secs(10);

/// Files in a directory.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    rotation: Rotation,
    /// What the files of all streams are called, if they are the same.
    merged: Option<String>,
    writers: HashMap<Which, Rotating>,
    streams: HashMap<u32, Stream>,
    /// What was in the directory, and when.
    listing: Option<(Instant, Listing)>,
    ticked: Instant,
    /// Writers whose disk refuses.
    stopped: HashSet<Which>,
}

/// Whose files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    All,
    Of(u32),
}

#[derive(Debug)]
struct Stream {
    meta: Meta,
    account: Arc<Account>,
    source: Source,
    /// What of its source's fate is in the account already.
    settled: Fate,
    /// Since when nothing is captured.
    ended: Option<Instant>,
}

impl Stream {
    /// Adds what is new to the account, which outlives this stream and which another output of the
    /// same name may add to. What was thought to be written may turn out not to be: both wrap.
    fn settle(&mut self, fate: Fate) {
        let before = std::mem::replace(&mut self.settled, fate);
        self.account.written.fetch_add(fate.written.wrapping_sub(before.written), Relaxed);
        self.account.unwritten.fetch_add(fate.unwritten.wrapping_sub(before.unwritten), Relaxed);
    }
}

impl Files {
    /// Files as planned in a directory, which is made if need be.
    pub fn open(directory: &Path, plan: &OutputPlan) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            rotation: Rotation {
                max_bytes: plan.file_size,
                max_age: plan.file_time,
                total_bytes: plan.total_size,
                compress: plan.compress,
            },
            merged: plan.merged.then(|| plan.name.clone()),
            writers: HashMap::new(),
            streams: HashMap::new(),
            listing: None,
            ticked: Instant::now(),
            stopped: HashSet::new(),
        })
    }

    fn which(&self, stream: u32) -> Which {
        if self.merged.is_some() { Which::All } else { Which::Of(stream) }
    }

    /// Lets a stream's source go and settles its account.
    fn forget(&mut self, id: u32) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        if let Some(writer) = self.writers.get_mut(&self.which(id)) {
            stream.settle(writer.remove(stream.source));
        }
    }

    fn settle(&mut self) {
        let mut streams = std::mem::take(&mut self.streams);
        for (id, stream) in &mut streams {
            if let Some(writer) = self.writers.get(&self.which(*id)) {
                stream.settle(writer.fate(stream.source));
            }
        }
        self.streams = streams;
    }

    /// Finishes the files of agents that did not come back.
    fn drop_gone(&mut self, journal: &Journal) {
        let gone = |s: &Stream| s.ended.is_some_and(|ended| ended.elapsed() > LINGER);
        let gone: Vec<u32> =
            self.streams.iter().filter(|(_, s)| gone(s)).map(|(id, _)| *id).collect();
        for id in gone {
            self.forget(id);
            // Whoever comes back finds the files of before.
            self.listing = None;
            if self.merged.is_none()
                && let Some(mut writer) = self.writers.remove(&Which::Of(id))
            {
                writer.finish();
                self.tell(Which::Of(id), &mut writer, journal);
                // It tries no more, so it would never say that the disk takes something again.
                self.stopped.remove(&Which::Of(id));
            }
        }
    }

    /// Says what happened to files.
    fn tell(&mut self, which: Which, writer: &mut Rotating, journal: &Journal) {
        for event in writer.events() {
            match event {
                Event::Finished(file) => {
                    let packets = plural(file.packets, "packet", "packets");
                    journal.info(&format!("{}: complete, {packets}", file.path.display()));
                }
                // Every stream's writer meets the same full disk.
                Event::Stopped { path, error } => {
                    if self.stopped.is_empty() {
                        journal.warn(&format!(
                            "{}: cannot write: {error}; receiving goes on, what cannot be written \
                             is counted",
                            path.display()
                        ));
                    }
                    self.stopped.insert(which);
                }
                Event::Resumed { .. } => {
                    self.stopped.remove(&which);
                    if self.stopped.is_empty() {
                        let directory = self.directory.display();
                        journal.info(&format!("{directory}: can be written to again"));
                    }
                }
                Event::Removed(path) => {
                    journal.info(&format!("{}: removed, to keep the total size", path.display()));
                }
                Event::Leftover(path) => {
                    let path = path.display();
                    journal.info(&format!(
                        "{path}: not finished; left by an earlier run, or by an output that was \
                         changed and has not ended yet"
                    ));
                }
            }
        }
    }

    fn tell_all(&mut self, journal: &Journal) {
        let mut writers = std::mem::take(&mut self.writers);
        for (which, writer) in &mut writers {
            self.tell(*which, writer, journal);
        }
        self.writers = writers;
    }
}

impl Drain for Files {
    fn begin(&mut self, begin: Begin) {
        let id = begin.stream;
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.meta == begin.meta
        {
            stream.ended = None;
            return;
        }
        // Another filter or link type is another interface of the file.
        self.forget(id);
        let which = self.which(id);
        let prefix = self.merged.as_ref().unwrap_or(&begin.label);
        let writer = self.writers.entry(which).or_insert_with(|| {
            let looked = || (Instant::now(), Listing::new(&self.directory));
            let (_, listing) = self.listing.get_or_insert_with(looked);
            Rotating::among(listing, prefix, self.rotation, SystemTime::now())
        });
        let Begin { meta, account, .. } = begin;
        // It fails for link types that nothing is captured with.
        if let Ok(source) = writer.add(&meta) {
            let settled = Fate::default();
            let stream = Stream { meta, account, source, settled, ended: None };
            self.streams.insert(id, stream);
        }
    }

    fn packet(&mut self, stream: u32, record: &Record<'_>) {
        let which = self.which(stream);
        if let (Some(stream), Some(writer)) =
            (self.streams.get(&stream), self.writers.get_mut(&which))
        {
            writer.write(stream.source, record);
        }
    }

    fn summary(&mut self, stream: u32, summary: Summary) {
        let which = self.which(stream);
        if let (Some(stream), Some(writer)) =
            (self.streams.get(&stream), self.writers.get_mut(&which))
        {
            writer.summarise(stream.source, summary);
        }
    }

    fn end(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.ended = Some(Instant::now());
        }
    }

    fn tick(&mut self, journal: &Journal) {
        if self.ticked.elapsed() < TICK {
            return;
        }
        self.ticked = Instant::now();
        self.listing.take_if(|(looked, _)| looked.elapsed() > LISTING);
        let now = SystemTime::now();
        self.writers.values_mut().for_each(|writer| writer.tick(now));
        self.drop_gone(journal);
        self.settle();
        self.tell_all(journal);
    }

    fn pause(&mut self, journal: &Journal) {
        self.tick(journal);
    }

    fn finish(&mut self, journal: &Journal) {
        self.writers.values_mut().for_each(Rotating::finish);
        self.settle();
        self.tell_all(journal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Destination;

    /// A directory that goes away.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("files-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }

        fn open(&self) -> Files {
            let destination = Destination::Directory(self.0.clone());
            let plan = OutputPlan::live("files".to_owned(), destination);
            Files::open(&self.0, &OutputPlan { merged: false, ..plan }).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn agents_that_come_together_have_the_directory_looked_at_once() {
        let place = Place::new("listing");
        let mut files = place.open();
        let mut leftovers = |stream, label: &str| {
            let meta = Meta { linktype: 1, ..Meta::default() };
            files.begin(Begin { stream, label: label.to_owned(), meta, account: Arc::default() });
            let left = files.writers.get_mut(&Which::Of(stream)).unwrap().events().count();
            files.listing.take_if(|_| stream == 3);
            left
        };
        let part = |label| {
            std::fs::write(place.0.join(format!("{label}-20261126T120000Z-000001.pcapng.part")), "")
        };
        part("web2").unwrap();
        assert_eq!(leftovers(1, "web1"), 0);
        assert_eq!(leftovers(2, "web2"), 1);
        part("web3").unwrap();
        assert_eq!(leftovers(3, "web3"), 0);
        assert_eq!(leftovers(4, "web3"), 1);
    }

    #[test]
    fn an_account_is_added_to_by_whoever_writes() {
        let place = Place::new("account");
        let (account, journal) = (Arc::<Account>::default(), Journal::default());
        journal.hold();
        let written = || account.written.load(Relaxed);
        let give = |files: &mut Files, packets| {
            let meta = Meta { linktype: 1, ..Meta::default() };
            let (label, account) = ("web1_eth0".to_owned(), Arc::clone(&account));
            files.begin(Begin { stream: 1, label, meta, account });
            for _ in 0..packets {
                files.packet(1, &Record { len: 60, data: &[7; 60], ..Record::default() });
            }
            files.settle();
        };
        let mut files = place.open();
        give(&mut files, 3);
        // An agent that was gone for so long that nothing is remembered of it comes back.
        files.forget(1);
        give(&mut files, 2);
        assert_eq!(written(), 5);
        // A policy that is read again has another output of this name, and the first one still ends.
        let mut other = place.open();
        give(&mut other, 4);
        files.finish(&journal);
        other.finish(&journal);
        assert_eq!((written(), account.settled()), (9, 9));
    }

    #[test]
    fn a_disk_that_refuses_is_told_of_again_when_the_agent_that_met_it_has_gone() {
        let place = Place::new("stopped");
        let mut files = place.open();
        // Nothing can be written where there is no directory.
        std::fs::remove_dir(&place.0).unwrap();
        let journal = Journal::default();
        journal.hold();
        let long_ago = Instant::now().checked_sub(2 * LINGER).unwrap();
        for stream in 1..=3 {
            let begin = Begin {
                stream,
                label: stream.to_string(),
                meta: Meta::default(),
                account: Arc::default(),
            };
            files.begin(begin);
            files.packet(stream, &Record::default());
            files.end(stream);
            files.tell_all(&journal);
            files.streams.get_mut(&stream).unwrap().ended = Some(long_ago);
            files.drop_gone(&journal);
            assert_eq!((files.writers.len(), files.stopped.len()), (0, 0));
        }
        let lines = journal.newest(10);
        assert!(lines.len() == 3 && lines.iter().all(|l| l.contains("cannot write")), "{lines:?}");
    }
}
