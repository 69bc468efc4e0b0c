//! `pipe:PATH`: a named pipe, for one reader after the other.

use std::fs::{File, FileType};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Work;
use super::readers::{GLANCE, Readers};
use super::transport::Transport;

/// The writing end of a pipe. It never waits for longer than it is told.
#[derive(Debug)]
pub(super) struct End(File);

impl End {
    /// The end of a pipe that does not block.
    pub(super) fn new(end: impl Into<OwnedFd>) -> io::Result<Self> {
        let end: OwnedFd = end.into();
        rustix::io::ioctl_fionbio(&end, true)?;
        Ok(Self(File::from(end)))
    }

    /// Writes some of it, nothing if there is no room for so long.
    pub(super) fn write(&mut self, bytes: &[u8], wait: Duration) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.poll(wait)?;
                Ok(0)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    /// Fails if nobody has the other end.
    pub(super) fn check(&self) -> io::Result<()> {
        self.poll(Duration::ZERO)
    }

    fn poll(&self, wait: Duration) -> io::Result<()> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        match poll(&mut polled, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        match polled[0].revents() {
            Some(events) if events.contains(PollFlags::POLLERR) => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn prepare(path: &Path, readers: &Arc<Readers>) -> io::Result<Work> {
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) => {}
        Err(Errno::EEXIST) => is_pipe(path)?,
        Err(error) => return Err(error.into()),
    }
    let (path, readers) = (path.to_owned(), Arc::clone(readers));
    Ok(Box::new(move || find(&path, &readers)))
}

/// Fails if it is something else.
pub(super) fn is_pipe(path: &Path) -> io::Result<()> {
    named_pipe(std::fs::metadata(path)?.file_type())
}

fn named_pipe(found: FileType) -> io::Result<()> {
    match found {
        pipe if pipe.is_fifo() => Ok(()),
        directory if directory.is_dir() => Err(io::Error::other("that is a directory")),
        _ => Err(io::Error::other("that is no named pipe, and would be overwritten")),
    }
}

/// Its end, if somebody has opened the other.
fn open(path: &Path) -> io::Result<End> {
    // Without O_NONBLOCK it would wait for a reader.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    let file = File::options().write(true).custom_flags(flags).open(path)?;
    // It may have been replaced.
    named_pipe(file.metadata()?.file_type())?;
    End::new(file)
}

fn find(path: &Path, readers: &Readers) {
    let mut told = false;
    while readers.wait(GLANCE) {
        match open(path) {
            Ok(end) => {
                told = false;
                readers.serve("somebody", &mut Transport::Pipe(end));
            }
            // Nobody reads.
            Err(e) if e.raw_os_error() == Some(Errno::ENXIO as i32) => {}
            Err(e) if !told => {
                told = true;
                readers.warn(&format!("cannot open it: {e}; it is tried again"));
            }
            Err(_) => {}
        }
    }
}
