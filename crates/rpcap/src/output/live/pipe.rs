//! `pipe:PATH`: a named pipe, for one reader after the other.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::readers::{GLANCE, Readers};
use super::spawn;
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

pub(super) fn start(path: &Path, readers: &Arc<Readers>) -> io::Result<JoinHandle<()>> {
    make(path)?;
    let (path, readers) = (path.to_owned(), Arc::clone(readers));
    spawn(move || find(&path, &readers))
}

/// Makes the pipe, if it is not there.
pub(in super::super) fn make(path: &Path) -> io::Result<()> {
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) => match std::fs::metadata(path)?.file_type().is_fifo() {
            true => Ok(()),
            false => Err(io::Error::other("there is something else than a named pipe")),
        },
        Err(error) => Err(error.into()),
    }
}

fn find(path: &PathBuf, readers: &Readers) {
    let mut told = false;
    while readers.wait(GLANCE) {
        // Without O_NONBLOCK it would wait for a reader.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
        let opened = File::options().write(true).custom_flags(flags).open(path);
        match opened.and_then(End::new) {
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
