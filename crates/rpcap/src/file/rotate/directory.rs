//! The files of one writer, and the room they may take.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Event;
use super::name::Names;
use super::output::Output;
use crate::file::BUFFER;

/// Names that are tried for a file before it is given up.
const TRIES: u32 = 10_000;

/// The names in a directory, as they were when it was looked at: thousands of writers may begin at once, in a directory
/// with a million files.
#[derive(Debug)]
pub struct Listing {
    path: PathBuf,
    /// In order.
    names: Vec<OsString>,
}

impl Listing {
    /// Of this directory. One that cannot be read is reported when a file is to be written to it.
    pub fn new(path: &Path) -> Self {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort_unstable();
        Self { path: path.to_owned(), names }
    }

    /// The names that begin so.
    fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = &OsString> {
        let first = self.names.partition_point(|n| n.as_encoded_bytes() < prefix.as_bytes());
        let names = self.names[first..].iter();
        names.take_while(move |n| n.as_encoded_bytes().starts_with(prefix.as_bytes()))
    }
}

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    names: Names,
    /// The number of the last file.
    number: u32,
    /// The finished files and their sizes, the oldest first.
    finished: VecDeque<(PathBuf, u64)>,
    /// Names that others may still give to their files: an output that a reload has changed ends after the one in its
    /// place has begun.
    awaited: Vec<PathBuf>,
}

impl Directory {
    /// Looks at what earlier runs left.
    pub(super) fn open(
        listing: &Listing,
        prefix: &str,
        compress: bool,
        events: &mut Vec<Event>,
    ) -> Self {
        let names = Names::new(prefix, compress);
        let (mut finished, mut awaited) = (Vec::new(), Vec::new());
        for name in listing.beginning_with(names.prefix()) {
            let path = listing.path.join(name);
            if names.is_part(name) {
                awaited.push(path.with_extension(""));
                events.push(Event::Leftover(path));
            } else if names.is_finished(name)
                && let Ok(metadata) = path.symlink_metadata()
                && metadata.is_file()
            {
                finished.push((path, metadata.len()));
            }
        }
        // Their names say when they were begun.
        finished.sort();
        Self { path: listing.path.clone(), names, number: 0, finished: finished.into(), awaited }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a file under a name that nobody has.
    pub(super) fn create(&mut self, now: SystemTime, compress: bool) -> io::Result<Output> {
        let mut last = io::ErrorKind::AlreadyExists.into();
        for _ in 0..TRIES {
            self.number = self.number.wrapping_add(1);
            match Output::create(self.path.join(self.names.name(now, self.number)), compress) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => last = e,
                other => return other,
            }
        }
        Err(last)
    }

    /// Whether the disk takes a buffer's worth again: an empty file has room where nothing else has.
    pub(super) fn probe(&mut self, now: SystemTime) -> io::Result<()> {
        let mut output = self.create(now, false)?;
        output.buffer.resize(BUFFER, 0);
        let result = output.flush();
        output.discard()?;
        result
    }

    /// Notes a file that has its name now.
    pub(super) fn finished(&mut self, path: &Path, bytes: u64) {
        self.finished.push_back((path.to_owned(), bytes));
    }

    /// Notes files that others have finished since.
    fn adopt(&mut self) {
        let finished = &mut self.finished;
        self.awaited.retain(|path| {
            let Ok(metadata) = path.symlink_metadata() else {
                return true;
            };
            if let Err(at) = finished.binary_search_by(|(known, _)| known.cmp(path)) {
                finished.insert(at, (path.clone(), metadata.len()));
            }
            false
        });
    }

    /// Removes the oldest finished files until all of them, and `used` bytes more, fit into `room`.
    pub(super) fn keep_within(&mut self, room: Option<u64>, used: u64, events: &mut Vec<Event>) {
        let Some(room) = room else {
            return;
        };
        self.adopt();
        let mut total = self.finished.iter().map(|(_, bytes)| bytes).sum::<u64>() + used;
        while total > room {
            let Some((path, bytes)) = self.finished.pop_front() else {
                return;
            };
            total -= bytes;
            // Somebody else may have moved it away.
            if fs::remove_file(&path).is_ok() {
                events.push(Event::Removed(path));
            }
        }
    }
}
