//! The local socket: made where nobody listens, removed at the end.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::files::runtime_path;

/// Where root's daemon has its socket.
const SYSTEM: &str = "/run/rpcapd/rpcapd.sock";

/// How often, and after which pause, it is tried to be the only one who looks for a dead socket.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Where the socket is if nobody says anything.
pub(super) fn default_path() -> Option<PathBuf> {
    runtime_path(SYSTEM, "rpcapd.sock")
}

/// A socket's file. It goes away with this value, if it is still the same. To be dropped before the
/// listener: as long as that lives, no other daemon takes the place.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    id: (u64, u64),
    /// Whether its directory is the daemon's too.
    own_directory: bool,
}

impl Bound {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the owner of the socket, and of its directory if that is the daemon's: otherwise the
    /// new owner could not remove the socket.
    pub(super) fn give_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        let directory = self.path.parent().filter(|_| self.own_directory);
        for path in directory.into_iter().chain([self.path.as_path()]) {
            std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

/// Listens at `path`, in the place of a daemon that is dead. One that lives keeps its socket.
///
/// `own_directory`: the directory is the daemon's, to be made if it is not there.
pub(super) fn bind(path: &Path, own_directory: bool) -> io::Result<(UnixListener, Bound)> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if own_directory
        && let Err(e) = DirBuilder::new().mode(0o755).create(directory)
        && e.kind() != ErrorKind::AlreadyExists
    {
        return Err(e);
    }
    // Two that find the same dead socket must not take each other's new one for it.
    let alone = File::open(directory)?;
    lock(&alone)?;
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::other("there is a file of another kind"));
        }
        Ok(_) if is_alive(path) => return Err(io::Error::other("a daemon that runs has it")),
        Ok(_) => fs::remove_file(path)?,
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file gets these rights as it is made. Later they would have to be given by its path, which
    // whoever the directory belongs to can lead elsewhere. Other systems than Linux take no mode
    // from a socket, but heed the mask.
    let _ = fchmod(&socket, Mode::from_raw_mode(0o660));
    let address = SockAddr::unix(path)?;
    let before = umask(Mode::from_raw_mode(0o007));
    let made = socket.bind(&address);
    umask(before);
    made?;
    let id = identity(path)?;
    // The daemon may leave its directory.
    let bound = Bound { path: std::path::absolute(path)?, id, own_directory };
    socket.set_nonblocking(true)?;
    socket.listen(16)?;
    Ok((socket.into(), bound))
}

/// Waits a while for the lock: who has it needs a moment only, or is no daemon.
fn lock(directory: &File) -> io::Result<()> {
    for _ in 0..TRIES {
        match flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(PAUSE),
            result => return result.map_err(io::Error::from),
        }
    }
    Err(io::Error::other("its directory stays locked"))
}

/// Whether somebody listens there. Where it cannot be told, somebody does.
fn is_alive(path: &Path) -> bool {
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // One that is too busy lives, and is not waited for.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    !matches!(connect(), Err(e) if e.kind() == ErrorKind::ConnectionRefused)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()))
}

impl Drop for Bound {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|id| id == self.id)
            && let Err(e) = fs::remove_file(&self.path)
        {
            // The next daemon replaces it.
            tracing::debug!("{}: {e}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_live_socket_is_left_alone_and_a_dead_one_replaced() {
        let directory = std::env::temp_dir().join(format!("rpcapd-{}", std::process::id()));
        let path = directory.join("rpcapd.sock");
        let (live, bound) = bind(&path, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(bind(&path, false).unwrap_err().to_string().contains("runs"));
        // Dead: nobody listens, but the file is there.
        drop(live);
        std::mem::forget(bound);
        let (_live, second) = bind(&path, false).unwrap();
        drop(second);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(bind(&path, false).unwrap_err().to_string().contains("another kind"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_dir_all(&directory).unwrap();
    }
}
