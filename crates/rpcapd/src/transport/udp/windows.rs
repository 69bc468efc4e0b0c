//! Many datagrams in one send where Windows has it (`UDP_SEND_MSG_SIZE`), one by one otherwise.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rpcap_proto::batch::{Batch, Run};
use win::udp;

use super::{Attempt, Failure, Options};

/// Bytes of the headers in front of a datagram's payload: UDP's and IP's.
const HEADERS_IPV4: usize = 8 + 20;
const HEADERS_IPV6: usize = 8 + 40;

// winerror.h
const WSAEINVAL: i32 = 10022;
const WSAEMSGSIZE: i32 = 10040;
const WSAEOPNOTSUPP: i32 = 10045;
const WSAENOBUFS: i32 = 10055;

/// A socket that was prepared for datagrams.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    ipv4: bool,
    segmentation: bool,
}

/// The size of segments that the socket was told last; 0: none.
#[derive(Debug)]
pub(super) struct Calls(Cell<u32>);

impl Calls {
    pub(super) fn new() -> Self {
        Self(Cell::new(0))
    }
}

impl Socket {
    pub(super) fn new(socket: UdpSocket, options: &Options) -> io::Result<Self> {
        let ipv4 = matches!(socket.peer_addr()?, SocketAddr::V4(_));
        if !options.fragments {
            udp::forbid_fragments(&socket, ipv4)?;
        }
        // As much of it as the system allows.
        let _ = socket2::SockRef::from(&socket).set_send_buffer_size(options.send_buffer);
        socket.set_nonblocking(!options.blocking)?;
        // 0 is "none": it changes nothing where it is known.
        let segmentation = udp::set_segment_size(&socket, 0).is_ok();
        Ok(Self { socket, ipv4, segmentation })
    }

    pub(super) fn has_segmentation(&self) -> bool {
        self.segmentation
    }

    /// Bytes that the path takes in a datagram, as far as Windows knows.
    pub(super) fn path_payload(&self) -> Option<usize> {
        let headers = if self.ipv4 { HEADERS_IPV4 } else { HEADERS_IPV6 };
        let mtu = udp::path_mtu(&self.socket, self.ipv4).ok()?;
        (mtu as usize).checked_sub(headers).filter(|payload| *payload > 0)
    }

    /// Why a send failed.
    pub(super) fn failure(&self, e: &io::Error, attempted: Attempt) -> Failure {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, WouldBlock,
        };
        match (e.kind(), e.raw_os_error()) {
            (ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable, _) => {
                Failure::Unreachable
            }
            (WouldBlock, _) | (_, Some(WSAENOBUFS)) => Failure::NoRoom,
            (_, Some(WSAEMSGSIZE)) => Failure::TooLarge,
            (_, Some(WSAEINVAL | WSAEOPNOTSUPP)) if attempted.datagrams > 1 => {
                Failure::NoSegmentation
            }
            _ => Failure::Other,
        }
    }

    pub(super) fn wait_for_room(&self, pause: Duration) {
        std::thread::sleep(pause);
    }

    /// Sends datagrams from number `first` on: what was tried, and how many went.
    pub(super) fn send(
        &self,
        calls: &mut Calls,
        batch: &Batch,
        first: usize,
        segmentation: bool,
    ) -> (Attempt, io::Result<usize>) {
        let run = batch.runs_from(first).next().filter(|_| segmentation);
        let (bytes, size, datagrams) = match run {
            Some(Run { bytes, segment_size, datagrams, .. }) => (bytes, segment_size, datagrams),
            None => {
                let bytes = batch.datagram(first).map_or(&[][..], |d| d.bytes);
                (bytes, bytes.len(), 1)
            }
        };
        let attempt = Attempt { size, datagrams };
        let wanted = if datagrams > 1 { size as u32 } else { 0 };
        let sent = self.set_segment_size(calls, wanted).and_then(|()| self.socket.send(bytes));
        (attempt, sent.map(|_| datagrams))
    }

    /// Tells the socket, if it does not know.
    fn set_segment_size(&self, calls: &Calls, size: u32) -> io::Result<()> {
        if calls.0.get() != size {
            udp::set_segment_size(&self.socket, size)?;
            calls.0.set(size);
        }
        Ok(())
    }
}
