//! Packets by UDP, many datagrams at a time.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use bench::Drained;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBufForce, UdpGroSegment};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg, setsockopt};
use rpcap_proto::sealed::Opener;
use rpcap_proto::udpstr::{self, Unpacker};
use rpcap_proto::wire::PacketMessage;

use crate::{Cli, Count, Progress, TICK};

/// Bytes that wait for the receiver, at most: it must not be what loses datagrams.
const SOCKET: usize = 64 * 1024 * 1024;

/// Most messages in one read.
const MESSAGES: usize = 32;

/// Bytes of a message: datagrams that the kernel put together are no longer than a single one may
/// be.
const MESSAGE: usize = 65_536;

/// A socket for datagrams.
pub(crate) struct Datagrams(UdpSocket);

impl Datagrams {
    /// At the address from which the daemon is spoken to.
    pub(crate) fn open(local: SocketAddr, cli: &Cli) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((local.ip(), 0)).context("a UDP socket")?;
        setsockopt(&socket, RcvBufForce, &SOCKET).context("SO_RCVBUFFORCE")?;
        // Fewer, larger messages where the kernel can.
        let _ = setsockopt(&socket, UdpGroSegment, &true);
        socket.set_read_timeout(Some(TICK))?;
        socket.set_nonblocking(cli.poll > 0)?;
        Ok(Self(socket))
    }

    /// The port to tell the daemon.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// Reads until nothing more comes after the capture's end.
    pub(crate) fn read(
        &self,
        cli: &Cli,
        progress: &Progress,
        mut opener: Option<Opener>,
    ) -> anyhow::Result<Drained> {
        let mut count = Count::new(cli);
        let mut unpacker = Unpacker::new(cli.snaplen);
        let mut buffer = vec![0; MESSAGES * MESSAGE];
        loop {
            let ended = progress.ended.load(Relaxed);
            match self.read_some(&mut buffer, |datagram| {
                count.done.datagrams += 1;
                count.done.wire_bytes += datagram.len() as u64;
                let datagram = match &mut opener {
                    None => datagram,
                    Some(opener) => opener.open(datagram)?,
                };
                if datagram.get(1) == Some(&udpstr::TYPE) {
                    unpacker.datagram(datagram, |header, data| count.packet(&header, data));
                } else if let Some(message) = PacketMessage::read(datagram, cli.snaplen)? {
                    count.packet(&message.header, message.data);
                }
                Ok(())
            })? {
                true => progress.packets.store(count.done.packets, Relaxed),
                false if ended => break,
                false if cli.poll > 0 => thread::sleep(Duration::from_micros(cli.poll)),
                false => {}
            }
        }
        unpacker.finish(|header, data| count.packet(&header, data));
        Ok(count.finish())
    }

    /// One read; whether anything was there.
    fn read_some(
        &self,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        // Made anew for each read: the kernel shortens the room for control messages to what it
        // used, and nix does not restore it.
        let mut headers = MultiHeaders::<()>::preallocate(MESSAGES, Some(nix::cmsg_space!(i32)));
        let mut parts: Vec<[IoSliceMut<'_>; 1]> =
            buffer.chunks_mut(MESSAGE).map(|part| [IoSliceMut::new(part)]).collect();
        let messages = match recvmmsg(
            self.0.as_raw_fd(),
            &mut headers,
            parts.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        ) {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(e) => return Err(e).context("reading datagrams"),
        };
        for message in messages {
            let size = message.cmsgs()?.find_map(|c| match c {
                ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
                _ => None,
            });
            for part in message.iovs() {
                for datagram in part.chunks(size.unwrap_or(part.len()).max(1)) {
                    take(datagram)?;
                }
            }
        }
        Ok(true)
    }
}
