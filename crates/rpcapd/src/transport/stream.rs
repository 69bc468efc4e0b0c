//! PACKET messages on a byte stream.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use rpcap_proto::wire::{MESSAGE_OVERHEAD, PacketHeader};

use super::Transport;
use crate::ledger::Counts;

/// Bytes gathered for one write. Larger ones gain nothing and leave the cache.
const BATCH: usize = 256 * 1024;

/// A TCP data connection.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    batch: Vec<u8>,
    /// Packets in `batch`.
    packets: u64,
    failure: Option<io::Error>,
}

impl Stream {
    /// Sends on a connected socket in blocking mode: a slow peer holds the pump, the kernel's ring
    /// fills, and loss has one place and a number.
    pub fn new(socket: TcpStream) -> Self {
        Self { socket, batch: Vec::with_capacity(BATCH), packets: 0, failure: None }
    }
}

impl Transport for Stream {
    #[inline]
    fn push(&mut self, header: PacketHeader, data: &[u8], counts: &mut Counts) {
        if self.batch.len() + MESSAGE_OVERHEAD + data.len() > BATCH {
            self.flush(counts);
        }
        // A packet above the batch's size makes it grow once, by that packet and no more.
        self.batch.extend_from_slice(&header.to_message_bytes());
        self.batch.extend_from_slice(data);
        self.packets += 1;
    }

    fn flush(&mut self, counts: &mut Counts) {
        if self.packets == 0 {
            return;
        }
        let result = match self.failure {
            None => self.socket.write_all(&self.batch),
            Some(_) => Err(io::ErrorKind::NotConnected.into()),
        };
        match result {
            Ok(()) => {
                counts.sent += self.packets;
                counts.sent_bytes += self.batch.len() as u64;
            }
            Err(e) => {
                counts.closed += self.packets;
                self.failure.get_or_insert(e);
            }
        }
        self.batch.clear();
        self.packets = 0;
    }

    fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    fn finish(&mut self) {
        // The peer may be gone already, which is what it is told here.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpcap_proto::wire::PacketMessage;
    use std::io::Read;
    use std::net::TcpListener;

    #[test]
    fn d7_100_a_packet_larger_than_64_kib_has_its_true_length() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let (mut stream, mut counts) = (Stream::new(socket), Counts::default());
        let sizes = [60usize, 65_516, 262_144, 0, 1];
        for (i, size) in sizes.iter().enumerate() {
            let caplen = *size as u32;
            let npkt = i as u32 + 1;
            let header = PacketHeader { caplen, len: caplen, npkt, ..PacketHeader::default() };
            stream.push(header, &vec![i as u8; *size], &mut counts);
        }
        stream.flush(&mut counts);
        stream.finish();
        let bytes = reader.join().unwrap();
        assert_eq!((counts.sent, counts.sent_bytes), (5, bytes.len() as u64));
        let mut rest = &bytes[..];
        for (i, size) in sizes.iter().enumerate() {
            let message = PacketMessage::read(rest, 262_144).unwrap().unwrap();
            assert_eq!(message.data, vec![i as u8; *size]);
            assert_eq!(message.size, MESSAGE_OVERHEAD + size);
            rest = &rest[message.size..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn d7_097_a_peer_that_resets_ends_the_connection_and_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        let (mut stream, mut counts) = (Stream::new(socket), Counts::default());
        for npkt in 1..=100 {
            let header = PacketHeader { caplen: 1, len: 1, npkt, ..PacketHeader::default() };
            stream.push(header, &[7], &mut counts);
            stream.flush(&mut counts);
        }
        assert!(stream.failure().is_some());
        assert_eq!(counts.sent + counts.closed, 100);
        assert!(counts.closed > 0);
    }
}
