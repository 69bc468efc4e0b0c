//! udpstr datagrams that are sealed on their way to the socket.

use std::io;

use rpcap_proto::batch::Batch;
use rpcap_proto::sealed::{self, Sealer};

use super::{Sink, UdpSink};

/// A UDP data connection whose datagrams nobody on the way can read or change.
#[derive(Debug)]
pub struct Sealing {
    sealer: Sealer,
    sealed: Batch,
    sink: UdpSink,
    failed: bool,
}

impl Sealing {
    /// For batches of at most so many bytes and datagrams.
    pub fn new(sealer: Sealer, (bytes, datagrams): (usize, usize), sink: UdpSink) -> Self {
        Self { sealer, sealed: Sealer::batch(bytes, datagrams), sink, failed: false }
    }
}

impl Sink for Sealing {
    fn send(&mut self, batch: &mut Batch) {
        self.failed |= !self.sealer.seal(batch, &mut self.sealed);
        if self.failed {
            self.sealed.clear();
            self.sink.refuse(batch.packets());
        } else {
            self.sink.send(&mut self.sealed);
        }
        batch.clear();
    }

    fn failure(&self) -> Option<io::Error> {
        self.failed.then(|| io::Error::other("nothing more can be encrypted with this key"))
    }

    fn datagram_limit(&self) -> usize {
        self.sink.datagram_limit().saturating_sub(sealed::OVERHEAD)
    }
}
