//! PACKET messages by UDP, one in each datagram.

use std::io;
use std::net::UdpSocket;

use rpcap_proto::wire::{MESSAGE_OVERHEAD, PacketHeader};

use super::Transport;
use crate::ledger::Counts;

/// Most datagrams in one system call.
const DATAGRAMS: usize = 128;

/// Bytes gathered before they are sent.
const BATCH: usize = 256 * 1024;

/// Most payload of a UDP datagram over IPv4, and enough for IPv6.
const PAYLOAD_MAX: usize = 65_507;

/// Tries for a datagram that the host has no room for.
const TRIES: u32 = 100;

/// A UDP data connection.
#[derive(Debug)]
pub struct Datagrams {
    sender: imp::Sender,
    bytes: Vec<u8>,
    /// Where each datagram ends in `bytes`.
    ends: Vec<usize>,
}

/// Why a datagram was not sent.
enum Failure {
    /// The client's host said that nobody listens. It is an answer to an earlier datagram.
    Unreachable,
    /// No room; it may be there in a moment.
    NoBuffers,
    /// Larger than the path takes.
    TooLarge,
    Other,
}

impl From<&io::Error> for Failure {
    fn from(e: &io::Error) -> Self {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, WouldBlock};
        match e.kind() {
            ConnectionRefused | HostUnreachable | NetworkUnreachable => Self::Unreachable,
            WouldBlock => Self::NoBuffers,
            _ => imp::failure(e),
        }
    }
}

impl Datagrams {
    /// Sends on a connected socket.
    pub fn new(socket: UdpSocket) -> Self {
        Self {
            sender: imp::Sender::new(socket, DATAGRAMS),
            bytes: Vec::with_capacity(BATCH),
            ends: Vec::with_capacity(DATAGRAMS),
        }
    }

    fn datagram(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }
}

impl Transport for Datagrams {
    #[inline]
    fn push(&mut self, header: PacketHeader, data: &[u8], counts: &mut Counts) {
        let size = MESSAGE_OVERHEAD + data.len();
        if size > PAYLOAD_MAX {
            counts.too_large += 1;
            return;
        }
        if self.ends.len() == DATAGRAMS || self.bytes.len() + size > BATCH {
            self.flush(counts);
        }
        self.bytes.extend_from_slice(&header.to_message_bytes());
        self.bytes.extend_from_slice(data);
        self.ends.push(self.bytes.len());
    }

    fn flush(&mut self, counts: &mut Counts) {
        let mut next = 0;
        let mut tries = 0;
        while next < self.ends.len() {
            let result = self.sender.send(&self.bytes, &self.ends, next);
            match result.as_ref().map_err(Failure::from) {
                Ok(sent) => {
                    let sent = (*sent).clamp(1, self.ends.len() - next);
                    for i in next..next + sent {
                        counts.sent += 1;
                        counts.sent_bytes += self.datagram(i).len() as u64;
                    }
                    next += sent;
                    tries = 0;
                    continue;
                }
                // A report about an earlier datagram took the place of this one's turn, which is
                // tried again.
                Err(Failure::Unreachable) if tries == 0 && counts.sent > 0 => {
                    counts.sent -= 1;
                    counts.unreachable += 1;
                    tries += 1;
                    continue;
                }
                Err(Failure::NoBuffers) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    continue;
                }
                Err(Failure::Unreachable) => counts.unreachable += 1,
                Err(Failure::TooLarge) => counts.too_large += 1,
                Err(Failure::NoBuffers | Failure::Other) => counts.no_buffers += 1,
            }
            next += 1;
            tries = 0;
        }
        self.bytes.clear();
        self.ends.clear();
    }

    fn failure(&self) -> Option<&io::Error> {
        // Datagrams may be lost one by one; the way stays open.
        None
    }
}

/// Many datagrams in one system call.
#[cfg(target_os = "linux")]
mod imp {
    use std::fmt;
    use std::io::{self, IoSlice};
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use nix::errno::Errno;
    use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

    use super::Failure;

    pub(super) fn failure(e: &io::Error) -> Failure {
        match e.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOBUFS) => Failure::NoBuffers,
            Some(Errno::EMSGSIZE) => Failure::TooLarge,
            _ => Failure::Other,
        }
    }

    pub(super) struct Sender {
        socket: UdpSocket,
        headers: MultiHeaders<SockaddrStorage>,
        /// One per datagram of a batch: the socket is connected, so none.
        addresses: Vec<Option<SockaddrStorage>>,
    }

    impl fmt::Debug for Sender {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Sender").field("socket", &self.socket).finish_non_exhaustive()
        }
    }

    impl Sender {
        pub(super) fn new(socket: UdpSocket, max: usize) -> Self {
            let headers = MultiHeaders::preallocate(max, None);
            Self { socket, headers, addresses: vec![None; max] }
        }

        /// Sends the datagrams from number `first` on; the number that went.
        pub(super) fn send(
            &mut self,
            bytes: &[u8],
            ends: &[usize],
            first: usize,
        ) -> io::Result<usize> {
            let mut start = if first == 0 { 0 } else { ends[first - 1] };
            // One allocation a batch: a vector of borrows cannot outlive what it borrows from.
            let slices: Vec<[IoSlice<'_>; 1]> = ends[first..]
                .iter()
                .map(|end| [IoSlice::new(&bytes[std::mem::replace(&mut start, *end)..*end])])
                .collect();
            let addresses = &self.addresses[..slices.len()];
            let fd = self.socket.as_raw_fd();
            let sent = sendmmsg(fd, &mut self.headers, &slices, addresses, [], MsgFlags::empty())?;
            Ok(sent.count())
        }
    }
}

/// One datagram in each system call.
#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;
    use std::net::UdpSocket;

    use super::Failure;

    pub(super) fn failure(e: &io::Error) -> Failure {
        match e.raw_os_error() {
            // ENOBUFS of the BSDs and WSAENOBUFS.
            Some(55 | 10055) => Failure::NoBuffers,
            // EMSGSIZE of the BSDs and WSAEMSGSIZE.
            Some(40 | 10040) => Failure::TooLarge,
            _ => Failure::Other,
        }
    }

    #[derive(Debug)]
    pub(super) struct Sender(UdpSocket);

    impl Sender {
        pub(super) fn new(socket: UdpSocket, _max: usize) -> Self {
            Self(socket)
        }

        pub(super) fn send(
            &mut self,
            bytes: &[u8],
            ends: &[usize],
            first: usize,
        ) -> io::Result<usize> {
            let start = if first == 0 { 0 } else { ends[first - 1] };
            self.0.send(&bytes[start..ends[first]]).map(|_| 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpcap_proto::wire::PacketMessage;

    fn push(d: &mut Datagrams, counts: &mut Counts, npkt: u32, size: usize) {
        let caplen = size as u32;
        let header = PacketHeader { caplen, len: caplen, npkt, ..PacketHeader::default() };
        d.push(header, &vec![7; size], counts);
    }

    fn pair() -> (Datagrams, UdpSocket) {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
        (Datagrams::new(socket), peer)
    }

    #[test]
    fn one_message_in_each_datagram() {
        let (mut d, peer) = pair();
        let mut counts = Counts::default();
        let sizes = [0usize, 60, 1514, 9000, 65_479];
        for (i, size) in sizes.iter().enumerate() {
            push(&mut d, &mut counts, i as u32 + 1, *size);
        }
        d.flush(&mut counts);
        let mut buf = vec![0; 65_536];
        for (i, size) in sizes.iter().enumerate() {
            let n = peer.recv(&mut buf).unwrap();
            let message = PacketMessage::read(&buf[..n], 262_144).unwrap().unwrap();
            assert_eq!((message.size, message.data.len()), (n, *size));
            assert_eq!(message.header.npkt, i as u32 + 1);
        }
        assert_eq!(counts.sent, 5);
    }

    #[test]
    fn d7_101_a_packet_too_large_for_a_datagram_is_counted_and_harmless() {
        let (mut d, peer) = pair();
        let mut counts = Counts::default();
        push(&mut d, &mut counts, 1, 65_480);
        push(&mut d, &mut counts, 2, 60);
        d.flush(&mut counts);
        let mut buf = [0; 256];
        assert_eq!(peer.recv(&mut buf).unwrap(), 88);
        assert_eq!((counts.sent, counts.too_large), (1, 1));
    }

    #[test]
    fn d7_099_an_unreachable_port_is_counted_and_does_not_spin() {
        let (mut d, peer) = pair();
        drop(peer);
        let mut counts = Counts::default();
        for npkt in 1..=1000 {
            push(&mut d, &mut counts, npkt, 60);
            d.flush(&mut counts);
        }
        assert_eq!(counts.sent + counts.unreachable, 1000);
        assert!(counts.unreachable > 0);
    }
}
