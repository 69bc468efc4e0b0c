use rpcap_proto::sealed::Opener;
use rpcap_proto::udpstr::Unpacker;
use rpcap_proto::wire::{MessageType, PacketMessage};

use super::Inlet;
use crate::sink::Sink;

/// Packets out of the datagrams of one capture.
///
/// The framing is told by each datagram's second byte; the daemon chooses it.
#[derive(Debug)]
pub struct DatagramDecoder {
    snaplen: u32,
    /// Large, and the decoder is moved about with its socket.
    unpacker: Box<Unpacker>,
    /// What opens datagrams that are sealed, if they have to be.
    opener: Option<Opener>,
}

impl DatagramDecoder {
    /// For packets of at most `snaplen` bytes.
    pub fn new(snaplen: u32) -> Self {
        Self { snaplen, unpacker: Box::new(Unpacker::new(snaplen)), opener: None }
    }

    /// Takes sealed datagrams from now on, and no others.
    pub fn expect_sealed(&mut self, opener: Opener) {
        self.opener = Some(opener);
    }

    /// Takes one datagram, and tells whether it can be one of a capture.
    pub fn datagram<S: Sink>(&mut self, bytes: &[u8], inlet: &mut Inlet<'_, S>) -> bool {
        let bytes = match &mut self.opener {
            None => bytes,
            Some(opener) => {
                let opened = opener.open(bytes).is_ok();
                inlet.received.sealed = *opener.counts();
                if !opened {
                    return false;
                }
                opener.opened()
            }
        };
        match bytes.get(1).map(|kind| MessageType::from(*kind)) {
            Some(MessageType::UdpStream) => {
                let malformed = self.unpacker.counts().malformed;
                self.unpacker.datagram(bytes, |header, data| inlet.packet_once(&header, data));
                inlet.received.udpstr = *self.unpacker.counts();
                inlet.received.udpstr.malformed == malformed
            }
            // What is wrong with it concerns nothing but itself.
            _ => match PacketMessage::read(bytes, self.snaplen) {
                Ok(Some(message)) => {
                    inlet.packet_once(&message.header, message.data);
                    true
                }
                _ => {
                    inlet.received.malformed += 1;
                    false
                }
            },
        }
    }

    /// The number of the missing datagram that others wait for, if there is one.
    pub fn waits_for(&self) -> Option<u32> {
        self.unpacker.waits_for()
    }

    /// Gives up waiting.
    pub fn flush<S: Sink>(&mut self, inlet: &mut Inlet<'_, S>) {
        self.unpacker.flush(|header, data| inlet.packet_once(&header, data));
        inlet.received.udpstr = *self.unpacker.counts();
    }

    /// No more datagrams come.
    pub fn finish<S: Sink>(&mut self, inlet: &mut Inlet<'_, S>) {
        self.unpacker.finish(|header, data| inlet.packet_once(&header, data));
        inlet.received.udpstr = *self.unpacker.counts();
    }
}
