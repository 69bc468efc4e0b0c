//! One datagram in each system call.

use std::io;
use std::net::UdpSocket;

/// A connected socket that does not wait.
#[derive(Debug)]
pub(super) struct Datagrams(UdpSocket);

impl Datagrams {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// Bytes that the path takes in a datagram of one piece: nobody tells.
    pub(super) fn path_payload(&self) -> Option<usize> {
        None
    }

    /// Sends the first of the datagrams that stand one behind the other from `start` on.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        start: usize,
        mut ends: impl Iterator<Item = usize>,
    ) -> io::Result<usize> {
        let end = ends.next().unwrap_or(start);
        self.0.send(bytes.get(start..end).unwrap_or_default()).map(|_| 1)
    }
}

/// Whether there is no room now.
pub(super) fn is_full(_: &io::Error) -> bool {
    false
}
