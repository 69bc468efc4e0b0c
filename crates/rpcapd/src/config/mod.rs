//! Configuration files: read, checked, joined with the command line, printed and saved.
//!
//! A file becomes arguments of the command line, so that there is one definition of every setting
//! and one check of its values. An option that the command line has as well is taken from there,
//! lists included. A file with an error counts for nothing as a whole.

mod contents;
mod ini;
mod options;
mod save;
mod toml;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::cli::{Arguments, Cli};
use crate::files::{self, Unread, shown};
use crate::peers::Peer;
use contents::{Contents, Fault};
use options::{Kind, Options};

/// No configuration is longer, in bytes.
const SIZE_MAX: u64 = 1 << 20;

/// The settings that a command line and its file make, and where each is from.
#[derive(Clone, Debug)]
pub struct Config {
    /// All of them.
    pub cli: Cli,
    /// The file.
    pub file: Option<PathBuf>,
    /// What is no error in it, but may surprise.
    pub notes: Vec<String>,
    /// The options that are given, in the order of the manual.
    given: Vec<Given>,
    /// Where the file's collectors are.
    peers: Vec<(String, Peer)>,
    /// The command line, to be joined with the file again.
    args: Vec<OsString>,
}

/// An option that is given.
#[derive(Clone, Debug)]
struct Given {
    option: String,
    kind: Kind,
    values: Vec<OsString>,
    /// The file's place, or the command line.
    source: String,
}

/// What is wrong with a configuration, each with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<String>);

/// On one line.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.first().map_or("", String::as_str))?;
        match self.0.len() {
            0 | 1 => Ok(()),
            n => write!(f, " (and {} more: rpcapd check-config shows all)", n - 1),
        }
    }
}

impl std::error::Error for Errors {}

/// Reads a command line, its program's name in front, and the file that it names.
pub fn load(args: &[OsString]) -> Result<Config, Errors> {
    load_from(args, None, read_file)
}

/// The same with the contents of the file, whatever the command line names. Only its path's ending
/// counts: it tells the grammar.
pub fn load_bytes(args: &[OsString], path: &Path, bytes: Vec<u8>) -> Result<Config, Errors> {
    load_from(args, Some(path.to_owned()), |_| Ok(bytes))
}

impl Config {
    /// The same command line with the file as it is now.
    pub fn again(&self) -> Result<Self, Errors> {
        load_from(&self.args, self.file.clone(), read_file)
    }

    /// Whether some of it is from a file of its own.
    #[cfg(windows)]
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether there is something that can be read again.
    pub fn has_files(&self) -> bool {
        self.file.is_some() || self.cli.users.is_some()
    }

    /// An error of these settings as a whole, with the file in front if there is one.
    pub fn blame(&self, reason: &str) -> String {
        match &self.file {
            Some(file) => format!("{}: {reason}", shown(file)),
            None => reason.to_owned(),
        }
    }

    /// The options whose values another configuration has not, and "peer" if its collectors differ.
    pub fn changed<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let differ = |option: &str| {
            let values = |config: &Self| {
                config.given.iter().find(|g| g.option == option).map(|g| g.values.clone())
            };
            values(self) != values(other)
        };
        let options = self.given.iter().chain(&other.given).map(|g| g.option.as_str());
        let mut changed: Vec<_> = options.filter(|o| differ(o)).collect();
        changed.sort_unstable();
        changed.dedup();
        if self.cli.peers != other.cli.peers {
            changed.push("peer");
        }
        changed
    }
}

/// `file` takes the place of the one that the command line names.
fn load_from(
    args: &[OsString],
    file: Option<PathBuf>,
    read: impl FnOnce(&Path) -> Result<Vec<u8>, Errors>,
) -> Result<Config, Errors> {
    let command = Arguments::command();
    let parse = |args: &[OsString]| command.clone().try_get_matches_from(args);
    // It was parsed before, or the program would have said how to use it.
    let alone = parse(args).map_err(|e| Errors(vec![options::reason(&e)]))?;
    let named = settings(&alone).get_one::<PathBuf>("config");
    // A daemon that runs in the background leaves the directory that it was started in.
    let file = file.or_else(|| named.map(|p| std::path::absolute(p).unwrap_or_else(|_| p.clone())));
    let options = Options::new();
    let (text, mut contents) = match &file {
        Some(path) => contents_of(path, read(path)?, &options)?,
        None => Default::default(),
    };
    let by_hand = |option: &str| {
        options.id(option).and_then(|id| settings(&alone).value_source(id))
            == Some(ValueSource::CommandLine)
    };
    contents.entries.retain(|e| !by_hand(&e.option));
    if by_hand("active") {
        contents.peers.clear();
    }
    let place = |at| file.as_ref().map_or_else(String::new, |path| place(path, &text, at));
    let mut joined = args.to_vec();
    // In front of the rest, which may end with --, and behind a subcommand.
    let front = if alone.subcommand().is_some() { 2 } else { 1 };
    let more = contents.entries.iter().flat_map(|e| e.arguments()).map(OsString::from);
    joined.splice(front.min(args.len())..front.min(args.len()), more);
    let failed = |e: clap::Error| {
        let file = file.as_deref().map_or_else(String::new, |f| format!("{}: ", shown(f)));
        Errors(vec![format!("{file}{}", options::reason(&e))])
    };
    let matches = parse(&joined).map_err(failed)?;
    let mut cli = Cli::from_arg_matches(settings(&matches)).map_err(failed)?;
    cli.peers = contents.peers.iter().map(|(_, peer)| peer.clone()).collect();
    let given = options.given(settings(&matches)).map(|(option, kind, values)| {
        let entry = contents.entries.iter().find(|e| e.option == option);
        let source = entry.map_or_else(|| "command line".to_owned(), |e| place(e.at));
        Given { option: option.to_owned(), kind, values, source }
    });
    Ok(Config {
        given: given.collect(),
        cli,
        notes: contents.notes.iter().map(|n| format!("{}: {}", place(n.at), n.reason)).collect(),
        peers: contents.peers.into_iter().map(|(at, peer)| (place(at), peer)).collect(),
        args: args.to_vec(),
        file,
    })
}

/// Those of the daemon, or of the subcommand that has the same.
fn settings(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, of_it)| of_it)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Errors> {
    let bytes = files::read(path, SIZE_MAX, |_| Ok(()));
    bytes.map_err(|e| Errors(vec![format!("{}: {}", shown(path), unread(e))]))
}

fn contents_of(
    path: &Path,
    bytes: Vec<u8>,
    options: &Options,
) -> Result<(String, Contents), Errors> {
    let text = String::from_utf8(bytes).map_err(|e| {
        let (at, bytes) = (e.utf8_error().valid_up_to(), e.as_bytes());
        let before = String::from_utf8_lossy(&bytes[..at]);
        Errors(vec![format!("{}: this is not UTF-8", place(path, &before, at))])
    })?;
    // Editors of other systems put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    match parse(path, &text, options) {
        Ok(contents) => Ok((text, contents)),
        Err(faults) => {
            let line = |f: &Fault| format!("{}: {}", place(path, &text, f.at), f.reason);
            Err(Errors(faults.iter().map(line).collect()))
        }
    }
}

/// The grammar is told by the name.
fn parse(path: &Path, text: &str, options: &Options) -> Result<Contents, Vec<Fault>> {
    if is_toml(path) { toml::parse(text, options) } else { ini::parse(text, options) }
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

fn unread(reason: Unread) -> String {
    match reason {
        Unread::System(e) => format!("reading it: {e}"),
        Unread::NoFile => "expected a file, not a directory, pipe or device".to_owned(),
        Unread::TooLong => format!("it is too long: {SIZE_MAX} bytes are the most"),
        Unread::Refused(reason) => reason,
    }
}

/// FILE:LINE:COLUMN of a byte, lines and characters counted from 1.
fn place(path: &Path, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{line}:{column}", shown(path))
}
