//! Finding packets again in files: which files, which of their packets, in which order.

pub mod merge;
mod moment;
mod paths;
mod window;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use capture::filter::{Aux, run};
use capture::libpcap::compile;
use capture::{Instruction, LinkType};
use wildmatch::WildMatch;

pub use self::moment::moment;
pub use self::paths::{PathError, files};

use crate::file::MAX_SNAPLEN;
use crate::file::copy::{Copied, CopyError, Target};
use crate::file::linktype::to_dlt;
use crate::file::read::{Event, Interface, Packet, ReadError, Reader, Settings, Statistics};
use crate::filter::FilterError;

/// Which packets are wanted.
#[derive(Debug)]
pub struct Selection {
    /// In tcpdump's language.
    pub filter: Option<String>,
    /// Patterns of names of interfaces, or of the agents that these begin with; none for all.
    pub agents: Vec<WildMatch>,
    /// From when on, in nanoseconds since 1970.
    pub since: u64,
    /// Before when.
    pub until: u64,
    /// Most packets.
    pub count: u64,
    programs: HashMap<u32, Arc<[Instruction]>>,
}

impl Default for Selection {
    fn default() -> Self {
        let (count, until) = (u64::MAX, u64::MAX);
        Self { filter: None, agents: Vec::new(), since: 0, until, count, programs: HashMap::new() }
    }
}

impl Selection {
    /// Whether an interface is one that is asked for by name.
    pub fn names(&self, interface: &Interface) -> bool {
        if self.agents.is_empty() {
            return true;
        }
        let name = interface.name().unwrap_or_default();
        let agent = name.split(' ').next().unwrap_or_default();
        self.agents.iter().any(|pattern| pattern.matches(&name) || pattern.matches(agent))
    }

    /// The filter for packets of a link type.
    fn program(&mut self, linktype: u32) -> Result<Arc<[Instruction]>, FilterError> {
        let Some(text) = self.filter.as_deref() else {
            return Ok(Arc::new([]));
        };
        if let Some(program) = self.programs.get(&linktype) {
            return Ok(Arc::clone(program));
        }
        let program: Arc<[_]> =
            compile(text, LinkType(to_dlt(linktype)), MAX_SNAPLEN, true)?.into();
        self.programs.insert(linktype, Arc::clone(&program));
        Ok(program)
    }
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The filter is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// What was found cannot be written.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

/// What is worth a word and no reason to end.
#[derive(Debug)]
pub enum Note<'a> {
    /// The rest of a file cannot be read.
    Failed(ReadError),
    /// A file breaks off.
    Truncated(&'a Path, u64),
    /// A file's index does not fit it.
    Unfit(&'a Path, &'static str),
}

/// What became of files and their packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Files that were read, all or in part.
    pub files: u64,
    /// Files of which nothing was read, as their index said that it is of no use.
    pub skipped_files: u64,
    /// Files that could not be read to their end.
    pub failed: u64,
    /// Bytes that were read of files.
    pub bytes: u64,
    /// Bytes that were not, thanks to indexes.
    pub skipped_bytes: u64,
    /// Packets that were read.
    pub packets: u64,
    /// Packets that were wanted.
    pub matched: u64,
    /// Packets that could not be put in order.
    pub late: u64,
}

/// Reads files one after another, and gives a target what is wanted of them.
pub fn read(
    files: &[std::path::PathBuf],
    settings: Settings,
    selection: &mut Selection,
    target: &mut dyn Target,
    note: &mut dyn FnMut(Note<'_>),
) -> Result<Found, FindError> {
    let mut found = Found::default();
    for path in files {
        if found.matched >= selection.count {
            break;
        }
        let Some(mut source) = Source::open(path, settings, false, &mut found, note) else {
            continue;
        };
        source.reader.only(selection.since, selection.until, |i| selection.names(i));
        while let Some((interface, time)) = source.next(selection, target, &mut found, note)? {
            let Some(packet) = source.reader.packet() else { break };
            target.packet(interface, &Copied::at(time, &packet))?;
            found.matched += 1;
            if found.matched >= selection.count {
                break;
            }
        }
        source.close(&mut found);
    }
    Ok(found)
}

/// A file that is read.
#[derive(Debug)]
struct Source {
    reader: Reader,
    /// Whether timestamps are corrected by the clock's offset.
    correct: bool,
    /// What is known of its interfaces, those that were asked about.
    interfaces: Vec<Option<Chosen>>,
}

/// An interface of a file.
#[derive(Debug)]
struct Chosen {
    /// `None` if nothing of it is wanted.
    program: Option<Arc<[Instruction]>>,
    offset: i64,
    /// As the target knows it.
    number: Option<u32>,
}

impl Source {
    /// Opens a file, or says why not.
    fn open(
        path: &Path,
        settings: Settings,
        correct: bool,
        found: &mut Found,
        note: &mut dyn FnMut(Note<'_>),
    ) -> Option<Self> {
        match paths::open(path, settings) {
            Ok(reader) => {
                if let Some(reason) = reader.unfit_index() {
                    note(Note::Unfit(path, reason));
                }
                Some(Self { reader, correct, interfaces: Vec::new() })
            }
            Err(error) => {
                found.failed += 1;
                note(Note::Failed(error));
                None
            }
        }
    }

    /// Reads on to a packet that is wanted: the number of its interface, and its time.
    fn next(
        &mut self,
        selection: &mut Selection,
        target: &mut dyn Target,
        found: &mut Found,
        note: &mut dyn FnMut(Note<'_>),
    ) -> Result<Option<(u32, u64)>, FindError> {
        loop {
            match self.reader.advance() {
                Ok(Some(Event::Packet)) => {
                    found.packets += 1;
                    if let Some(wanted) = self.wanted(selection, target)? {
                        return Ok(Some(wanted));
                    }
                }
                Ok(Some(Event::Statistics(statistics))) => self.pass_on(&statistics, target)?,
                Ok(None) => {
                    if let Some(at) = self.reader.truncated() {
                        note(Note::Truncated(self.reader.path(), at));
                    }
                    return Ok(None);
                }
                Err(error) => {
                    found.failed += 1;
                    note(Note::Failed(error));
                    return Ok(None);
                }
            }
        }
    }

    /// The interface's number and the time of the packet that was read last, if it is wanted.
    #[inline]
    fn wanted(
        &mut self,
        selection: &mut Selection,
        target: &mut dyn Target,
    ) -> Result<Option<(u32, u64)>, FindError> {
        let Some(packet) = self.reader.packet() else {
            return Ok(None);
        };
        let chosen = match self.interfaces.get_mut(packet.interface) {
            Some(Some(chosen)) => chosen,
            _ => {
                let (at, offset) = (packet.interface, self.offset(packet.interface));
                let chosen = Chosen {
                    program: match selection.names(packet.description) {
                        true => Some(selection.program(packet.description.linktype)?),
                        false => None,
                    },
                    offset: offset.unwrap_or(0),
                    number: None,
                };
                if self.interfaces.len() <= at {
                    self.interfaces.resize_with(at + 1, || None);
                }
                match self.interfaces.get_mut(at) {
                    Some(place) => place.insert(chosen),
                    None => return Ok(None),
                }
            }
        };
        let Some(program) = &chosen.program else {
            return Ok(None);
        };
        let time = corrected(packet.time, chosen.offset);
        if time < selection.since || time >= selection.until || !accepts(program, &packet) {
            return Ok(None);
        }
        let number = match chosen.number {
            Some(number) => number,
            None => {
                let number = match chosen.offset {
                    0 => target.interface(packet.description)?,
                    offset => target.interface(&packet.description.corrected(offset))?,
                };
                *chosen.number.insert(number)
            }
        };
        Ok(Some((number, time)))
    }

    fn offset(&self, interface: usize) -> Option<i64> {
        self.correct.then(|| self.reader.clock_offset(interface))?
    }

    /// Statistics are passed on for interfaces that the target knows.
    fn pass_on(&self, statistics: &Statistics, target: &mut dyn Target) -> Result<(), CopyError> {
        match self.interfaces.get(statistics.interface) {
            Some(Some(Chosen { number: Some(number), offset: 0, .. })) => {
                target.statistics(*number, statistics)
            }
            Some(Some(Chosen { number: Some(number), .. })) => {
                target.statistics(*number, &statistics.corrected())
            }
            _ => Ok(()),
        }
    }

    /// Counts what was read.
    fn close(self, found: &mut Found) {
        found.bytes += self.reader.bytes_read();
        found.skipped_bytes += self.reader.bytes_skipped();
        match self.reader.is_skipped() {
            true => found.skipped_files += 1,
            false => found.files += 1,
        }
    }
}

/// A sender's time as the receiver's clock has it.
#[inline]
fn corrected(time: u64, offset: i64) -> u64 {
    match offset {
        ..0 => time.saturating_add(offset.unsigned_abs()),
        _ => time.saturating_sub(offset.unsigned_abs()),
    }
}

#[inline]
fn accepts(program: &[Instruction], packet: &Packet<'_>) -> bool {
    program.is_empty() || run(program, packet.data, packet.len, &Aux::default()) != 0
}
