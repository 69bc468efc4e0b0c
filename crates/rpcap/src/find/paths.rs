//! Which files are meant.

use std::io;
use std::path::{Path, PathBuf};

use crate::file::read::{ReadError, Reader, Settings, finished};

/// Behind the name of a file that is being written.
const PART: &str = ".part";
/// How the names of savefiles end.
const ENDS: [&str; 4] = [".pcapng", ".pcap", ".pcapng.zst", ".pcap.zst"];

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// It is not there, or may not be looked at.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The directory
        path: PathBuf,
        /// What the system says
        source: io::Error,
    },
    /// A directory has no file with a name like that of a savefile.
    #[error("{}: there is no savefile in this directory (.pcapng, .pcap, also with .zst)", .0.display())]
    Empty(PathBuf),
}

/// The files that are meant by these paths: themselves, and of directories what is called like a savefile, by name,
/// which is by time for the files of one writer.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PathError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |source| PathError::Io { path: path.clone(), source };
        let mut here = Vec::new();
        for entry in path.read_dir().map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if is_savefile(&file) && !file.is_dir() {
                here.push(file);
            }
        }
        if here.is_empty() {
            return Err(PathError::Empty(path.clone()));
        }
        here.sort();
        files.extend(here);
    }
    Ok(files)
}

fn is_savefile(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(PART).unwrap_or(&name);
    ENDS.iter().any(|end| name.ends_with(end))
}

/// Opens a file; one that was being written may have got its name since it was found.
pub(super) fn open(path: &Path, settings: Settings) -> Result<Reader, ReadError> {
    let opened = Reader::open(path, settings);
    match (&opened, finished(path)) {
        (Err(ReadError::Io { source, .. }), Some(name))
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Reader::open(&name, settings)
        }
        _ => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savefiles_are_known_by_their_names() {
        for name in
            ["a.pcap", "A.PCAPNG", "a-20261126T000000Z-000001.pcapng.zst.part", "x.pcap.zst"]
        {
            assert!(is_savefile(Path::new(name)), "{name}");
        }
        for name in ["a.txt", "pcap", "a.pcap.gz", "a.zst", "a.part"] {
            assert!(!is_savefile(Path::new(name)), "{name}");
        }
    }
}
