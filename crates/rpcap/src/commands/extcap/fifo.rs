//! The pipe that Wireshark reads packets from.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens it for writing, once somebody reads; `None` if nobody does before it is to be given up.
#[cfg(unix)]
pub(super) fn open(path: &Path, give_up: impl Fn() -> bool) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt;

    use nix::fcntl::OFlag;
    use nix::libc::ENXIO;

    let mut options = OpenOptions::new();
    options.write(true);
    loop {
        // Without this flag opening waits for a reader, and would do so for ever.
        let tried = options.clone().custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
        match tried {
            // There is a reader now, so that this does not wait.
            Ok(_first) => return options.open(path).map(Some),
            Err(e) if e.raw_os_error() != Some(ENXIO) => return Err(e),
            Err(_) if give_up() => return Ok(None),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
}

/// Opens it for writing.
#[cfg(not(unix))]
pub(super) fn open(path: &Path, _: impl Fn() -> bool) -> io::Result<Option<File>> {
    OpenOptions::new().write(true).open(path).map(Some)
}

/// Whether nobody reads any more, which writing would tell as well, but there may be nothing to
/// write.
#[cfg(unix)]
pub(super) fn is_closed(pipe: &File) -> bool {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let mut ends = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    let found = poll(&mut ends, PollTimeout::ZERO);
    found.is_ok() && ends[0].revents().is_some_and(|r| r.contains(PollFlags::POLLERR))
}

#[cfg(not(unix))]
pub(super) fn is_closed(_: &File) -> bool {
    false
}
