use rpcap_proto::wire::{MessageType, PacketMessage};

use super::Inlet;
use crate::sink::Sink;

/// Packets out of the datagrams of one capture.
///
/// The framing is told by each datagram's second byte; the daemon chooses it.
#[derive(Debug)]
pub struct DatagramDecoder {
    snaplen: u32,
}

impl DatagramDecoder {
    /// For packets of at most `snaplen` bytes.
    pub fn new(snaplen: u32) -> Self {
        Self { snaplen }
    }

    /// Takes one datagram. What is wrong with it concerns nothing but itself.
    pub fn datagram<S: Sink>(&mut self, bytes: &[u8], inlet: &mut Inlet<'_, S>) {
        match bytes.get(1).map(|kind| MessageType::from(*kind)) {
            Some(MessageType::UdpStream) if bytes.len() >= 8 => inlet.received.unsupported += 1,
            _ => match PacketMessage::read(bytes, self.snaplen) {
                Ok(Some(message)) => inlet.packet_once(&message.header, message.data),
                _ => inlet.received.malformed += 1,
            },
        }
    }
}
