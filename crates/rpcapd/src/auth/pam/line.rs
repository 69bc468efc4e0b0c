//! What the daemon and its helper say to each other, and the helper and those whom it sends to PAM: a
//! packet each way on a pair of sockets. Whoever reads one takes nothing on trust.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};
use zeroize::Zeroizing;

use crate::auth::{NAME_MAX, PASSWORD_MAX};

/// Most bytes of the address that somebody comes from.
const FROM_MAX: usize = 64;

/// A number, and the lengths of the name and the address.
const HEADER: usize = 12;

/// Most bytes of a request.
pub(super) const REQUEST_MAX: usize = HEADER + NAME_MAX + FROM_MAX + PASSWORD_MAX;

/// A number, and the verdict.
const ANSWER: usize = 9;

/// Whether somebody with this name and this password may come in.
pub(super) struct Request<'a> {
    /// The answer has the same.
    pub(super) number: u64,
    /// The name; empty to ask whether PAM is there at all.
    pub(super) user: &'a str,
    pub(super) from: &'a str,
    pub(super) password: &'a [u8],
}

impl<'a> Request<'a> {
    pub(super) fn write(&self) -> Zeroizing<Vec<u8>> {
        // As long as it can get: growing would leave a copy of the password behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(REQUEST_MAX));
        bytes.extend(self.number.to_be_bytes());
        for text in [self.user, self.from] {
            bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
        bytes.extend(self.user.as_bytes());
        bytes.extend(self.from.as_bytes());
        bytes.extend(self.password);
        bytes
    }

    /// What a packet asks; `None` if it is none of ours.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let (number, lengths) = header.split_first_chunk::<8>()?;
        let length = |n: usize| usize::from(u16::from_be_bytes([lengths[n], lengths[n + 1]]));
        let (user, rest) = rest.split_at_checked(length(0))?;
        let (from, password) = rest.split_at_checked(length(2))?;
        let request = Self {
            number: u64::from_be_bytes(*number),
            user: str::from_utf8(user).ok()?,
            from: str::from_utf8(from).ok()?,
            password,
        };
        request.fits().then_some(request)
    }

    /// Whether nothing in it is longer than it may be, or can be taken for something else.
    pub(super) fn fits(&self) -> bool {
        let is_text = |text: &str| !text.contains(char::is_control);
        self.user.len() <= NAME_MAX
            && self.from.len() <= FROM_MAX
            && self.password.len() <= PASSWORD_MAX
            && is_text(self.user)
            && is_text(self.from)
            && !self.password.contains(&0)
    }
}

/// The byte that says yes.
const YES: u8 = b'y';

/// Why not: for the log, not for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum No {
    Authentication = b'a',
    Account = b'c',
    Gone = b'g',
    Library = b'l',
    Malformed = b'm',
    NotAllowed = b'n',
    OtherUser = b'o',
    System = b's',
    Late = b't',
    Crashed = b'x',
}

impl No {
    const ALL: [Self; 10] = [
        Self::Authentication,
        Self::Account,
        Self::Gone,
        Self::Library,
        Self::Malformed,
        Self::NotAllowed,
        Self::OtherUser,
        Self::System,
        Self::Late,
        Self::Crashed,
    ];

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Authentication => "PAM does not take the name and the password",
            Self::Account => "the account is locked or has expired, or its password has",
            Self::Gone => "the helper that asks PAM is gone: restart the daemon",
            Self::Library => "libpam.so.0 cannot be loaded (Debian: libpam0g)",
            Self::Malformed => "no name and password that could be somebody's",
            Self::NotAllowed => "neither --pam-users nor --pam-groups has this account",
            Self::OtherUser => "PAM took the name for another one",
            Self::System => "PAM does not work: see what its modules say in the system's log",
            Self::Late => "PAM did not answer in time",
            Self::Crashed => "a module of PAM ended the process that asked it",
        }
    }
}

/// Whether somebody may come in.
pub(super) type Verdict = Result<(), No>;

/// One end of a pair of sockets whose other end has another process.
#[derive(Debug)]
pub(super) struct Line(Socket);

impl Line {
    /// An end to ask from, which never waits in a call, and one for the process that answers.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
        ours.set_nonblocking(true)?;
        Ok((Self(ours), theirs.into()))
    }

    /// The end that this process has as its standard input.
    pub(super) fn of_stdin() -> io::Result<Self> {
        let socket = Socket::from(io::stdin().as_fd().try_clone_to_owned()?);
        match socket.r#type()? {
            Type::SEQPACKET => Ok(Self(socket)),
            _ => Err(io::Error::other("standard input is not the daemon")),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Asks, and waits for the answer until `deadline`. Answers to what was asked before are left
    /// out. `None` if the process behind `watched` ends meanwhile.
    pub(super) fn ask(
        &mut self,
        number: u64,
        request: &[u8],
        deadline: Instant,
        watched: Option<BorrowedFd<'_>>,
    ) -> Option<Verdict> {
        match self.0.write(request) {
            Ok(_) => {}
            // It is still busy with what nobody waits for any more.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Some(Err(No::Late)),
            Err(_) => return Some(Err(No::Gone)),
        }
        loop {
            let mut wait = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            // That it ends is told unasked.
            wait.extend(watched.map(|fd| PollFd::new(fd, PollFlags::empty())));
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut wait, left) {
                Ok(0) => return Some(Err(No::Late)),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return Some(Err(No::System)),
                Ok(_) if wait.get(1).is_some_and(|w| w.any() == Some(true)) => return None,
                Ok(_) => {}
            }
            let mut answer = [0; ANSWER + 1];
            match (&self.0).read(&mut answer) {
                Ok(0) => return Some(Err(No::Gone)),
                Ok(n) => {
                    if let Some(verdict) = read_answer(&answer[..n], number) {
                        return Some(verdict);
                    }
                }
                Err(e) if is_temporary(&e) => {}
                Err(_) => return Some(Err(No::Gone)),
            }
        }
    }

    /// Waits for a request; `None` once the other process is gone.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8; REQUEST_MAX + 1]) -> Option<&'a [u8]> {
        loop {
            match (&self.0).read(buffer) {
                Ok(0) => return None,
                Ok(n) => return Some(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    pub(super) fn answer(&mut self, number: u64, verdict: Verdict) -> io::Result<()> {
        let mut bytes = [0; ANSWER];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[8] = verdict.map_or_else(|no| no as u8, |()| YES);
        self.0.write(&bytes).map(drop)
    }
}

fn is_temporary(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// The verdict on the request of this number. What says nothing else is no.
fn read_answer(bytes: &[u8], number: u64) -> Option<Verdict> {
    let (answered, verdict) = bytes.split_first_chunk::<8>()?;
    if u64::from_be_bytes(*answered) != number {
        return None;
    }
    Some(match verdict {
        [YES] => Ok(()),
        [byte] => Err(No::ALL.into_iter().find(|no| *no as u8 == *byte).unwrap_or(No::System)),
        _ => Err(No::System),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_is_what_it_was() {
        let request = Request { number: 7, user: "älice", from: "::1", password: b"secret" };
        let bytes = request.write();
        let read = Request::read(&bytes).unwrap();
        assert_eq!((read.number, read.user, read.from), (7, "älice", "::1"));
        assert_eq!(read.password, b"secret");
        // Cut off anywhere, all that is missing is the end of the password.
        for length in 0..bytes.len() {
            let read = Request::read(&bytes[..length]);
            assert_eq!(read.is_some(), length >= bytes.len() - 6, "{length}");
        }
    }

    #[test]
    fn requests_that_nobody_can_mean() {
        let long = "x".repeat(NAME_MAX + 1);
        let good = || Request { number: 1, user: "alice", from: "::1", password: b"secret" };
        for wrong in [
            Request { user: &long, ..good() },
            Request { user: "alice\n", ..good() },
            Request { user: "root\0x", ..good() },
            Request { from: &long, ..good() },
            Request { password: &[b'x'; PASSWORD_MAX + 1], ..good() },
            Request { password: b"secret\0", ..good() },
        ] {
            assert!(Request::read(&wrong.write()).is_none());
        }
        let mut bytes = good().write();
        bytes[8] = 0xff;
        assert!(Request::read(&bytes).is_none(), "a name longer than the packet");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_request_within_bounds_or_none(
            mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..REQUEST_MAX + 2),
            user in 0u16..300,
            from in 0u16..70,
        ) {
            // Lengths that are likelier to fit.
            for (at, length) in [(8, user), (10, from)] {
                if let Some(place) = bytes.get_mut(at..at + 2) {
                    place.copy_from_slice(&length.to_be_bytes());
                }
            }
            if let Some(request) = Request::read(&bytes) {
                assert!(request.fits());
                assert_eq!(*request.write(), bytes);
            }
        }
    }

    #[test]
    fn only_yes_is_yes() {
        let answer = |rest: &[u8]| read_answer(&[&7u64.to_be_bytes()[..], rest].concat(), 7);
        assert_eq!(answer(b"y"), Some(Ok(())));
        for rest in [&b""[..], b"yy", b"\0", b"\x01", b"Y", b"z"] {
            assert_eq!(answer(rest), Some(Err(No::System)));
        }
        for no in No::ALL {
            assert_eq!(answer(&[no as u8]), Some(Err(no)));
        }
        assert_eq!(read_answer(b"\0\0\0\0\0\0\0\x08y", 7), None, "of another request");
        assert_eq!(read_answer(b"y", 7), None);
    }

    #[test]
    fn answers_that_come_late_are_left_out() {
        let (mut ours, theirs) = Line::pair().unwrap();
        let mut theirs = Line(theirs.into());
        let soon = || Instant::now() + Duration::from_millis(20);
        assert_eq!(ours.ask(1, b"x", soon(), None), Some(Err(No::Late)));
        theirs.answer(1, Ok(())).unwrap();
        assert_eq!(ours.ask(2, b"x", soon(), None), Some(Err(No::Late)));
        theirs.answer(3, Ok(())).unwrap();
        assert_eq!(ours.ask(3, b"x", soon(), None), Some(Ok(())));
        drop(theirs);
        assert_eq!(ours.ask(4, b"x", soon(), None), Some(Err(No::Gone)));
    }
}
