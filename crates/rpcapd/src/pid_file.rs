//! A file with the daemon's process number, which keeps a second daemon from starting.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::files::runtime_path;

/// How often a file is tried that goes away before it is locked.
const TRIES: u32 = 10;

/// Where root's daemon has it.
const SYSTEM: &str = "/run/rpcapd.pid";

/// Where the file of a daemon in the background is, if nobody says anything; `None`: nowhere.
pub(crate) fn default_path() -> Option<PathBuf> {
    runtime_path(SYSTEM, "rpcapd.pid")
}

/// The file, locked. It goes away with this value.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file. One that nobody has locked is a dead daemon's, and replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .custom_flags(OFlags::NOFOLLOW.bits() as i32)
                .open(path)?;
            if let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                return Err(match e {
                    rustix::io::Errno::WOULDBLOCK => io::Error::other(owner(&mut file)),
                    e => e.into(),
                });
            }
            // A daemon that just ended may have removed it meanwhile.
            let there = fs::symlink_metadata(path);
            let same = |m: fs::Metadata| file.metadata().is_ok_and(|f| f.ino() == m.ino());
            if there.is_ok_and(same) {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                return Ok(Self { path: path.to_owned(), file });
            }
        }
        Err(io::Error::other("somebody else keeps replacing it"))
    }
}

fn owner(file: &mut File) -> String {
    let mut text = String::new();
    // What cannot be read is not said.
    let _ = file.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) => format!("a daemon runs already, as process {pid}"),
        Err(_) => "a daemon runs already".to_owned(),
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // The user that the daemon runs as may have no right to remove it; empty it names nobody.
        if fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_for_each_file_and_none_for_a_dead_one() {
        let path = std::env::temp_dir().join(format!("rpcapd-{}.pid", std::process::id()));
        fs::write(&path, "4194304999\nleft by a daemon that was killed").unwrap();
        let first = PidFile::create(&path).unwrap();
        let pid = std::process::id();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{pid}\n"));
        let refused = PidFile::create(&path).unwrap_err().to_string();
        assert_eq!(refused, format!("a daemon runs already, as process {pid}"));
        drop(first);
        assert!(!path.exists());
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(PidFile::create(&path).is_err());
        fs::remove_file(&path).unwrap();
    }
}
