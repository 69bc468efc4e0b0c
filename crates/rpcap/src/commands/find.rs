//! `rpcap read` and `rpcap merge`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::bail;
use rpcap::file::Format;
use rpcap::file::copy::{Columns, Copier, CopyError, Lines, Target};
use rpcap::file::read::Settings;
use rpcap::find::{self, FindError, Found, Note, Selection, merge};
use rpcap::text::{harmless, plural};
use wildmatch::WildMatch;

use super::capture::shown;
use super::progress::metric;
use crate::cli::{Find, Merge};
use crate::exit::Failure;
use crate::say::note;

pub(crate) fn read(args: &Find) -> anyhow::Result<()> {
    run(args, |files, selection, target| {
        let settings = Settings { index: !args.no_index, ..Settings::default() };
        find::read(files, settings, selection, target, &mut say)
    })
}

pub(crate) fn merge(args: &Merge) -> anyhow::Result<()> {
    let options =
        merge::Options { correct: !args.no_clock, window: args.window, index: !args.find.no_index };
    run(&args.find, |files, selection, target| {
        merge::merge(files, options, selection, target, &mut say)
    })
}

fn run(
    args: &Find,
    work: impl FnOnce(&[PathBuf], &mut Selection, &mut dyn Target) -> Result<Found, FindError>,
) -> anyhow::Result<()> {
    let files = find::files(&args.files)?;
    let mut selection = Selection::default();
    selection.filter.clone_from(&args.filter);
    selection.agents = args.agent.iter().map(|pattern| WildMatch::new(pattern)).collect();
    selection.since = args.since.unwrap_or(0);
    selection.until = args.until.unwrap_or(u64::MAX);
    selection.count = args.count.unwrap_or(u64::MAX);
    let columns = Columns { date: args.date, name: args.names };
    let mut target = open(args.write.as_deref(), &files, columns)?;
    let result = work(&files, &mut selection, target.as_mut());
    let result = result.and_then(|found| Ok(target.finish().map(|()| found)?));
    let found = match result {
        Ok(found) => found,
        // Whoever read it has seen enough: `| head` is no failure.
        Err(FindError::Copy(CopyError::Io(e))) if e.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(());
        }
        Err(FindError::Copy(CopyError::Io(e))) => {
            let to = args.write.as_deref().map_or("to standard output".to_owned(), shown);
            return Err(Failure::Output(to, e).into());
        }
        Err(FindError::Copy(e)) => return Err(e.into()),
        Err(FindError::Filter(e)) => return Err(e.into()),
    };
    if !args.quiet {
        report(&found, args.write.as_deref());
    }
    match found.failed {
        0 => Ok(()),
        failed => bail!("{} could not be read to the end", plural(failed, "file", "files")),
    }
}

fn open(
    write: Option<&Path>,
    files: &[PathBuf],
    columns: Columns,
) -> anyhow::Result<Box<dyn Target>> {
    let Some(path) = write else {
        let to = BufWriter::with_capacity(64 << 10, io::stdout());
        return Ok(Box::new(Lines::new(to, columns)));
    };
    let failed = |e| Failure::Output(shown(path), e);
    if path.as_os_str() == "-" {
        return Ok(Box::new(Copier::new(io::stdout(), Format::Pcapng).map_err(failed)?));
    }
    let place = path.canonicalize().ok();
    if place.is_some() && files.iter().any(|file| file.canonicalize().ok() == place) {
        bail!("{} is one of the files that are to be read", path.display());
    }
    let file = File::create(path).map_err(failed)?;
    Ok(Box::new(Copier::new(file, Format::of(path)).map_err(failed)?))
}

/// What is worth a word.
fn say(what: Note<'_>) {
    let text = match what {
        Note::Failed(error) => error.to_string(),
        Note::Truncated(path, at) => {
            format!(
                "warning: {} breaks off at byte {at}; what is before that was read",
                path.display()
            )
        }
        Note::Unfit(path, reason) => {
            format!("warning: {}: the index is not used: {reason}", path.display())
        }
    };
    note!("rpcap: {}", harmless(text.as_bytes()));
}

fn report(found: &Found, write: Option<&Path>) {
    let mut text = plural(found.matched, "packet", "packets");
    match write {
        Some(path) => {
            text.push_str(&format!(" written to {}", shown(path).trim_start_matches("to ")))
        }
        None => text.push_str(" printed"),
    }
    let size = |bytes: u64| format!("{}B", metric(bytes as f64));
    let _ = write!(
        text,
        ", of {} read in {} ({})",
        plural(found.packets, "packet", "packets"),
        plural(found.files, "file", "files"),
        size(found.bytes)
    );
    if found.skipped_bytes > 0 {
        let files = plural(found.skipped_files, "whole file", "whole files");
        let _ =
            write!(text, "\nnot read, thanks to indexes: {}, {files}", size(found.skipped_bytes));
    }
    if found.late > 0 {
        let _ = write!(
            text,
            "\n{} not in order: later in the file than --window allows",
            plural(found.late, "packet is", "packets are")
        );
    }
    note!("{text}");
}
