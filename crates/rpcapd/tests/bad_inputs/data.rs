//! The receiving end of a data connection.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use crate::daemon::SOON;
use crate::message as m;

/// A packet that came, its message checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) len: u32,
    /// Its number in the capture, from 1.
    pub(crate) npkt: u32,
    pub(crate) data: Vec<u8>,
}

impl Packet {
    /// Reads a message's header and payload.
    fn new(header: [u8; 8], payload: &[u8]) -> Self {
        let field = |i: usize| u32::from_be_bytes(payload[4 * i..4 * i + 4].try_into().unwrap());
        let [0, m::PACKET, 0, 0, ..] = header else {
            panic!("not a packet: {header:?}");
        };
        assert!(field(1) < 1_000_000);
        assert_eq!(field(2) as usize, payload.len() - 20);
        Self { len: field(3), npkt: field(4), data: payload[20..].to_vec() }
    }

    /// Reads a datagram: one whole message.
    pub(crate) fn from_datagram(datagram: &[u8]) -> Self {
        let (header, payload) = datagram.split_first_chunk::<8>().unwrap();
        let len = u32::from_be_bytes(header[4..].try_into().unwrap());
        assert_eq!(len as usize, payload.len());
        Self::new(*header, payload)
    }
}

/// A TCP data connection.
pub(crate) struct Data {
    pub(crate) stream: TcpStream,
    /// The number of the packet that came last.
    last: u32,
}

impl Data {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream, last: 0 }
    }

    /// The connection that the daemon made to this listener.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        Self::new(listener.accept().unwrap().0)
    }

    /// The next packet, or `None` at the end of the stream. No number may be missing.
    pub(crate) fn next(&mut self) -> Option<Packet> {
        let mut header = [0; 8];
        if self.stream.read(&mut header[..1]).unwrap() == 0 {
            return None;
        }
        self.stream.read_exact(&mut header[1..]).unwrap();
        let len = u32::from_be_bytes(header[4..].try_into().unwrap());
        assert!((20..=20 + 262_144).contains(&len), "{len}");
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload).unwrap();
        let packet = Packet::new(header, &payload);
        self.last += 1;
        assert_eq!(packet.npkt, self.last);
        Some(packet)
    }

    /// The next `count` packets.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Packet> {
        (0..count).map(|_| self.next().expect("a packet, not the end")).collect()
    }

    /// All packets until the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
