//! One datagram in each system call.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use rpcap_proto::batch::Batch;

use super::{Attempt, Failure, Options};

#[derive(Debug)]
pub(super) struct Socket(UdpSocket);

/// Nothing: each call is for itself.
#[derive(Debug)]
pub(super) struct Calls;

impl Calls {
    pub(super) fn new() -> Self {
        Self
    }
}

impl Socket {
    pub(super) fn new(socket: UdpSocket, options: &Options) -> io::Result<Self> {
        // As much of it as the system allows.
        let _ = socket2::SockRef::from(&socket).set_send_buffer_size(options.send_buffer);
        socket.set_nonblocking(!options.blocking)?;
        Ok(Self(socket))
    }

    pub(super) fn has_segmentation(&self) -> bool {
        false
    }

    /// Not known here.
    pub(super) fn path_payload(&self) -> Option<usize> {
        None
    }

    pub(super) fn failure(&self, e: &io::Error, _: Attempt) -> Failure {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, WouldBlock,
        };
        match (e.kind(), e.raw_os_error()) {
            (ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable, _) => {
                Failure::Unreachable
            }
            // ENOBUFS of the BSDs.
            (WouldBlock, _) | (_, Some(55)) => Failure::NoRoom,
            // EMSGSIZE of the BSDs.
            (_, Some(40)) => Failure::TooLarge,
            _ => Failure::Other,
        }
    }

    pub(super) fn wait_for_room(&self, pause: Duration) {
        std::thread::sleep(pause);
    }

    pub(super) fn send(
        &self,
        _: &mut Calls,
        batch: &Batch,
        first: usize,
        _: bool,
    ) -> (Attempt, io::Result<usize>) {
        let bytes = batch.datagram(first).map_or(&[][..], |d| d.bytes);
        let attempt = Attempt { size: bytes.len(), datagrams: 1 };
        (attempt, self.0.send(bytes).map(|_| 1))
    }
}
