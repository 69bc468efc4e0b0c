//! Many datagrams in one system call (sendmmsg(2)).

use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, setsockopt, sockopt};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu, ipv6_mtu, set_ip_mtu_discover,
    set_ipv6_mtu_discover,
};

use super::TOGETHER;

/// Bytes in front of a datagram's payload: UDP's header and IP's.
const HEADERS_IPV4: usize = 8 + 20;
const HEADERS_IPV6: usize = 8 + 40;
/// What may wait in a socket.
const BUFFER: usize = 4 << 20;

/// A connected socket that does not wait.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    ipv4: bool,
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let ipv4 = socket.peer_addr()?.is_ipv4();
        // Fragments are made here and as the path takes them, not on the way. And what the interface's
        // queue has no room for is told, not dropped in silence.
        if ipv4 {
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::WANT)?;
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        } else {
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::WANT)?;
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        // As much of it as the system allows.
        let _ = setsockopt(&socket, sockopt::SndBuf, &BUFFER);
        Ok(Self { socket, ipv4 })
    }

    /// Bytes that the path takes in a datagram of one piece, as far as the kernel knows.
    pub(super) fn path_payload(&self) -> Option<usize> {
        let (mtu, headers) = if self.ipv4 {
            (ip_mtu(&self.socket), HEADERS_IPV4)
        } else {
            (ipv6_mtu(&self.socket), HEADERS_IPV6)
        };
        (mtu.ok()? as usize).checked_sub(headers)
    }

    /// Sends datagrams that stand one behind the other from `start` on, and tells how many went.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        mut start: usize,
        ends: impl Iterator<Item = usize>,
    ) -> io::Result<usize> {
        // Allocated once a call: the borrows cannot outlive the bytes, nor headers change threads.
        let mut slices: Vec<[IoSlice<'_>; 1]> = Vec::with_capacity(TOGETHER);
        for end in ends.take(TOGETHER) {
            slices.push([IoSlice::new(bytes.get(start..end).unwrap_or_default())]);
            start = end;
        }
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(slices.len(), None);
        // The socket is connected.
        let addresses = vec![None; slices.len()];
        let fd = self.socket.as_raw_fd();
        let sent = sendmmsg(fd, &mut headers, &slices, &addresses, [], MsgFlags::empty());
        Ok(sent.map_err(io::Error::from)?.count())
    }
}

/// Whether there is no room now.
pub(super) fn is_full(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw);
    matches!(error, Some(Errno::ENOBUFS | Errno::ENOMEM))
}
