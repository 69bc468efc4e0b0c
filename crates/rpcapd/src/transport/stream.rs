//! Batches on a byte stream.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rpcap_proto::batch::Batch;
use rpcap_proto::wire::{PacketMessage, SNAPLEN_MAX};
#[cfg(unix)]
use socket2::SockRef;

use super::Sink;
use crate::ledger::{Counters, Sent};
use crate::tls::TlsStream;

/// A TCP data connection.
#[derive(Debug)]
pub struct TcpSink {
    wire: Wire,
    counters: Arc<Counters>,
    sent: Sent,
    failure: Option<io::Error>,
    segment: usize,
}

/// What is below.
#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Encrypted(TlsStream),
}

/// Bytes of a segment over Ethernet, where the system does not tell.
const SEGMENT: usize = 1448;

impl TcpSink {
    /// Sends on a connected socket in blocking mode: a slow peer holds the pump, the kernel's ring
    /// fills, and loss has one place and a number.
    pub fn new(socket: TcpStream, counters: Arc<Counters>) -> Self {
        #[cfg(unix)]
        let segment = SockRef::from(&socket).tcp_mss().map_or(SEGMENT, |mss| mss as usize);
        #[cfg(not(unix))]
        let segment = SEGMENT;
        let wire = Wire::Plain(socket);
        Self { wire, counters, sent: Sent::default(), failure: None, segment }
    }

    /// The same, encrypted. Bytes are counted before they are.
    pub fn encrypted(stream: TlsStream, counters: Arc<Counters>) -> io::Result<Self> {
        let socket = stream.socket().try_clone()?;
        Ok(Self { wire: Wire::Encrypted(stream), ..Self::new(socket, counters) })
    }
}

/// Writes all of it; `sent` are the bytes that the system has taken, in any case.
fn write_all(socket: &mut TcpStream, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
    while *sent < bytes.len() {
        match socket.write(&bytes[*sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => *sent += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The packets that are complete in the beginning of a batch, and their bytes.
fn whole_packets(bytes: &[u8]) -> (u64, u64) {
    let (mut packets, mut rest) = (0, bytes);
    while let Ok(Some(message)) = PacketMessage::read(rest, SNAPLEN_MAX) {
        packets += 1;
        rest = &rest[message.size..];
    }
    (packets, (bytes.len() - rest.len()) as u64)
}

impl Sink for TcpSink {
    fn send(&mut self, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        let mut sent = 0;
        let result = match self.failure {
            None => match &mut self.wire {
                Wire::Plain(socket) => write_all(socket, batch.bytes(), &mut sent),
                Wire::Encrypted(stream) => stream.write_all(batch.bytes()),
            },
            Some(_) => Err(io::ErrorKind::NotConnected.into()),
        };
        match result {
            Ok(()) => {
                self.sent.packets += batch.packets();
                self.sent.bytes += batch.len() as u64;
            }
            Err(e) => {
                // What the system has taken is on its way, also after the end of a capture.
                let (packets, bytes) = whole_packets(&batch.bytes()[..sent]);
                self.sent.packets += packets;
                self.sent.bytes += bytes;
                self.sent.closed += batch.packets() - packets;
                self.failure.get_or_insert(e);
            }
        }
        self.counters.publish_sent(&self.sent);
        batch.clear();
    }

    fn failure(&self) -> Option<io::Error> {
        self.failure.as_ref().map(|e| io::Error::new(e.kind(), e.to_string()))
    }

    fn datagram_limit(&self) -> usize {
        self.segment
    }

    fn finish(&mut self) {
        // The peer may be gone already, which is what it is told here.
        let socket = match &mut self.wire {
            Wire::Plain(socket) => socket,
            Wire::Encrypted(stream) => {
                if self.failure.is_none() {
                    stream.close();
                }
                stream.socket()
            }
        };
        let _ = socket.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Taken;
    use crate::transport::{Framer, Stream};
    use rpcap_proto::wire::{MESSAGE_OVERHEAD, PacketHeader, PacketMessage};
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
        let counters = Arc::new(Counters::default());
        let (mut stream, mut sink) =
            (Stream::default(), TcpSink::new(socket, Arc::clone(&counters)));
        let sizes = [60usize, 65_516, 262_144, 0, 1];
        for (i, size) in sizes.iter().enumerate() {
            let caplen = *size as u32;
            let npkt = i as u32 + 1;
            let header = PacketHeader { caplen, len: caplen, npkt, ..PacketHeader::default() };
            if stream.is_full(*size) {
                sink.send(stream.batch());
            }
            stream.push(header, &vec![i as u8; *size], &mut Taken::default());
        }
        sink.send(stream.batch());
        sink.finish();
        let bytes = reader.join().unwrap();
        let sent = counters.counts().sent;
        assert_eq!((sent.packets, sent.bytes), (5, bytes.len() as u64));
        let mut rest = &bytes[..];
        for (i, size) in sizes.iter().enumerate() {
            let message = PacketMessage::read(rest, 262_144).unwrap().unwrap();
            assert_eq!(message.data, vec![i as u8; *size]);
            assert_eq!(message.size, MESSAGE_OVERHEAD + size);
            rest = &rest[message.size..];
        }
        assert!(rest.is_empty());
    }

    /// What the peer of a write that was cut off reads to the end is what was counted. (Under Wine a
    /// shutdown does not end a write that waits.)
    #[cfg(unix)]
    #[test]
    fn packets_on_their_way_when_a_capture_is_aborted_count_as_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let guard = socket.try_clone().unwrap();
        let counters = Arc::new(Counters::default());
        let (mut stream, mut sink) =
            (Stream::default(), TcpSink::new(socket, Arc::clone(&counters)));
        let aborting = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            guard.shutdown(Shutdown::Both).unwrap();
        });
        // Until nothing more fits, and then the shutdown comes.
        let mut npkt = 0;
        while sink.failure().is_none() {
            while !stream.is_full(1000) {
                npkt += 1;
                let header =
                    PacketHeader { caplen: 1000, len: 1000, npkt, ..PacketHeader::default() };
                stream.push(header, &[7; 1000], &mut Taken::default());
            }
            sink.send(stream.batch());
        }
        sink.finish();
        aborting.join().unwrap();
        drop(sink);
        let mut bytes = Vec::new();
        // It ends with the end, or with a reset after what was sent.
        let _ = peer.read_to_end(&mut bytes);
        let sent = counters.counts().sent;
        let (packets, whole) = whole_packets(&bytes);
        assert_eq!((sent.packets, sent.bytes), (packets, whole));
        assert_eq!(sent.packets + sent.closed, u64::from(npkt));
        assert!(sent.closed > 0);
    }

    #[test]
    fn d7_097_a_peer_that_resets_ends_the_connection_and_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(peer);
        let counters = Arc::new(Counters::default());
        let mut sink = TcpSink::new(socket, Arc::clone(&counters));
        for _ in 1..=100 {
            let mut batch = Batch::default();
            batch.extend(&[7; 29]);
            batch.close(1, false);
            sink.send(&mut batch);
        }
        assert!(sink.failure().is_some());
        let sent = counters.counts().sent;
        assert_eq!(sent.packets + sent.closed, 100);
        assert!(sent.closed > 0);
    }
}
