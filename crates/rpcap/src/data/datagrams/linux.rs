//! Many datagrams in one system call (recvmmsg(2)), and many in one message (`UDP_GRO`, udp(7)).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use mio::net::UdpSocket;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, setsockopt,
    sockopt,
};

use super::{Message, Received};

/// Most messages in one system call.
const MESSAGES: usize = 32;

/// What an address of another family becomes.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What is particular to this way.
#[derive(Debug, Default)]
pub(super) struct Many {
    /// The kernel's count of what it dropped, as last told.
    dropped: u32,
}

impl Many {
    pub(super) fn new(socket: &impl AsFd, longest: usize) -> (Self, Received) {
        // Kernels before 5.0 do not hold datagrams together.
        let _ = setsockopt(socket, sockopt::UdpGroSegment, &true);
        let _ = setsockopt(socket, sockopt::RxqOvfl, &1);
        (Self::default(), Received::new(MESSAGES, MESSAGES * longest))
    }

    pub(super) fn look(&mut self, socket: &UdpSocket, received: &mut Received) -> io::Result<()> {
        let Received { buffer, messages, emptied, counts } = received;
        let room = buffer.len() / MESSAGES;
        // The kernel writes what it used over the lengths in these, and `nix` does not put them
        // back: there is no room for a control message the second time. So they are made anew.
        let space = Some(nix::cmsg_space!(i32, u32));
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(MESSAGES, space);
        let mut rooms = buffer.chunks_exact_mut(room);
        let mut slices: [_; MESSAGES] =
            std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let results = match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, flags, None) {
            Ok(results) => results,
            Err(Errno::EAGAIN) => {
                *emptied = true;
                return Ok(());
            }
            Err(Errno::EINTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        counts.calls += 1;
        let mut n = 0;
        for (i, result) in results.enumerate() {
            n = i + 1;
            let mut len = result.bytes;
            let mut segment = None;
            for control in result.cmsgs()? {
                match control {
                    ControlMessageOwned::UdpGroSegments(size) => {
                        segment = usize::try_from(size).ok().filter(|size| *size > 0);
                    }
                    ControlMessageOwned::RxqOvfl(dropped) => {
                        let more = dropped.wrapping_sub(self.dropped);
                        // Noted by several cores, the counts need not be in order.
                        if more.cast_signed() > 0 {
                            counts.dropped += u64::from(more);
                            self.dropped = dropped;
                        }
                    }
                    _ => {}
                }
            }
            if result.flags.contains(MsgFlags::MSG_TRUNC) {
                counts.truncated += 1;
                // Of several datagrams, those before the cut are whole.
                len -= segment.map_or(len, |size| len % size);
                if len == 0 {
                    continue;
                }
            }
            let segment = segment.unwrap_or(len.max(1));
            counts.datagrams += len.div_ceil(segment).max(1) as u64;
            messages.push(Message { from: sender(&result), start: i * room, len, segment });
        }
        *emptied = n < MESSAGES;
        Ok(())
    }
}

fn sender(message: &RecvMsg<'_, '_, SockaddrStorage>) -> SocketAddr {
    let address = message.address.as_ref();
    let ipv4 = address.and_then(SockaddrStorage::as_sockaddr_in);
    let ipv6 = address.and_then(SockaddrStorage::as_sockaddr_in6);
    match (ipv4, ipv6) {
        (Some(address), _) => SocketAddr::V4((*address).into()),
        (None, Some(address)) => SocketAddr::V6((*address).into()),
        (None, None) => NOBODY,
    }
}
