//! Many datagrams in one system call (sendmmsg(2)), and many in one message (`UDP_SEGMENT`, udp(7)).

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, setsockopt, sockopt,
};
use rpcap_proto::batch::{Batch, Run};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu, ipv6_mtu, set_ip_mtu_discover,
    set_ipv6_mtu_discover,
};

use super::{Attempt, Failure, Options};

/// Most messages in one system call.
const MESSAGES: usize = 256;

/// Bytes of the headers in front of a datagram's payload: UDP's and IP's.
const HEADERS_IPV4: usize = 8 + 20;
const HEADERS_IPV6: usize = 8 + 40;

/// How long a send may hold the thread where it was told to wait: an interface without a carrier
/// would hold it for good.
const BLOCK_MAX: Duration = Duration::from_secs(1);

/// A socket that was prepared for datagrams.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    ipv4: bool,
    /// Whether the kernel knows `UDP_SEGMENT`.
    segmentation: bool,
}

/// The memory of system calls, which stays on one thread.
pub(super) struct Calls {
    plain: MultiHeaders<SockaddrStorage>,
    segmented: MultiHeaders<SockaddrStorage>,
    /// One per message: the socket is connected, so none.
    addresses: Vec<Option<SockaddrStorage>>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            plain: MultiHeaders::preallocate(MESSAGES, None),
            segmented: MultiHeaders::preallocate(MESSAGES, Some(nix::cmsg_space!(u16))),
            addresses: vec![None; MESSAGES],
        }
    }
}

impl Socket {
    pub(super) fn new(socket: UdpSocket, options: &Options) -> io::Result<Self> {
        let ipv4 = match socket.peer_addr()? {
            SocketAddr::V4(_) => true,
            SocketAddr::V6(peer) => peer.ip().to_ipv4_mapped().is_some(),
        };
        if !options.fragments {
            // Never a fragment: neither from here, nor from a router (DF).
            if ipv4 {
                set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?;
            } else {
                set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DO)?;
            }
        } else if ipv4 {
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
        }
        // With CAP_NET_ADMIN the limit for everybody need not be kept.
        if setsockopt(&socket, sockopt::SndBufForce, &options.send_buffer).is_err() {
            // As much of it as the system allows.
            let _ = setsockopt(&socket, sockopt::SndBuf, &options.send_buffer);
        }
        if options.blocking {
            socket.set_write_timeout(Some(BLOCK_MAX))?;
        }
        socket.set_nonblocking(!options.blocking)?;
        // 0 is "none by default": it changes nothing where it is known.
        let segmentation = setsockopt(&socket, sockopt::UdpGsoSegment, &0).is_ok();
        Ok(Self { socket, ipv4, segmentation })
    }

    pub(super) fn has_segmentation(&self) -> bool {
        self.segmentation
    }

    /// Bytes that the path takes in a datagram, as far as the kernel knows.
    pub(super) fn path_payload(&self) -> Option<usize> {
        let (mtu, headers) = if self.ipv4 {
            (ip_mtu(&self.socket), HEADERS_IPV4)
        } else {
            (ipv6_mtu(&self.socket), HEADERS_IPV6)
        };
        (mtu.ok()? as usize).checked_sub(headers)
    }

    /// Why a send failed.
    pub(super) fn failure(&self, e: &io::Error, attempted: Attempt) -> Failure {
        let segmented = attempted.datagrams > 1;
        match e.raw_os_error().map(Errno::from_raw) {
            Some(
                Errno::ECONNREFUSED
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENETDOWN
                | Errno::ENOPROTOOPT
                | Errno::EPROTO,
            ) => Failure::Unreachable,
            Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Failure::NoRoom,
            Some(Errno::EMSGSIZE) => Failure::TooLarge,
            // Kernels before 6.15 say so of segments that are too large, too.
            Some(Errno::EINVAL)
                if segmented && self.path_payload().is_some_and(|path| attempted.size > path) =>
            {
                Failure::TooLarge
            }
            // The device computes no checksums, or the route does something to each packet.
            Some(Errno::EIO | Errno::EINVAL | Errno::EOPNOTSUPP) if segmented => {
                Failure::NoSegmentation
            }
            _ => Failure::Other,
        }
    }

    /// Waits until the socket takes more, or a moment where it is not the socket that is full.
    pub(super) fn wait_for_room(&self, pause: Duration) {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(pause * 10).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, timeout) {
            // Room in the socket: the interface's queue has none.
            Ok(n) if n > 0 => std::thread::sleep(pause),
            _ => {}
        }
    }

    /// Sends datagrams from number `first` on: what was tried first, and how many went.
    pub(super) fn send(
        &self,
        calls: &mut Calls,
        batch: &Batch,
        first: usize,
        segmentation: bool,
    ) -> (Attempt, io::Result<usize>) {
        // The borrows of a batch cannot outlive it, so this is allocated: once a call.
        let mut slices: Vec<[IoSlice<'_>; 1]> = Vec::with_capacity(MESSAGES);
        let mut datagrams = [0u8; MESSAGES];
        let mut size = 0;
        let mut add = |bytes, count: usize| {
            datagrams[slices.len()] = count as u8;
            slices.push([IoSlice::new(bytes)]);
            slices.len() < MESSAGES
        };
        if segmentation {
            for run in batch.runs_from(first) {
                // One size of segments for all messages of a call. A datagram alone is sent as it
                // is, if it is not larger.
                let Run { segment_size, bytes, datagrams, .. } = run;
                size = if size == 0 { segment_size } else { size };
                if segment_size > size
                    || segment_size < size && datagrams > 1
                    || !add(bytes, datagrams)
                {
                    break;
                }
            }
        } else {
            for datagram in (first..).map_while(|i| batch.datagram(i)) {
                size = if size == 0 { datagram.bytes.len() } else { size };
                if !add(datagram.bytes, 1) {
                    break;
                }
            }
        }
        let attempt = Attempt { size, datagrams: datagrams[0].into() };
        let addresses = &calls.addresses[..slices.len()];
        let (fd, none) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let segment_size = size as u16;
        let sent = if datagrams[..slices.len()].iter().any(|n| *n > 1) {
            let segments = [ControlMessage::UdpGsoSegments(&segment_size)];
            sendmmsg(fd, &mut calls.segmented, &slices, addresses, segments, none)
        } else {
            sendmmsg(fd, &mut calls.plain, &slices, addresses, [], none)
        };
        let went = |messages| datagrams[..messages].iter().map(|n| usize::from(*n)).sum();
        (attempt, sent.map(|results| went(results.count())).map_err(io::Error::from))
    }
}
