use rpcap_proto::wire::{Checksum, PacketHeader};

use super::Loss;

/// A captured packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Record<'a> {
    /// Time of capture, seconds since 1970 UTC
    pub secs: u64,
    /// Nanoseconds on top of the seconds; a second or more carries over
    pub nanos: u32,
    /// Bytes the packet had on the wire; never written as less than `data` has
    pub len: u32,
    /// Bytes captured, from the link header on; cut to the snaplen when written
    pub data: &'a [u8],
    /// What is missing in front of it (`epb_dropcount`, and a comment)
    pub loss: Option<Loss>,
    /// Whether its checksum is there yet
    pub checksum: Checksum,
}

impl<'a> Record<'a> {
    /// A packet as it came from a daemon.
    pub fn from_packet(header: &PacketHeader, data: &'a [u8]) -> Self {
        let time = header.time();
        Self {
            secs: time.as_secs(),
            nanos: time.subsec_nanos(),
            // No file format has a word for a packet shorter than what there is of it.
            len: header.len.max(header.caplen),
            data,
            loss: None,
            checksum: header.fraction.checksum(),
        }
    }

    /// Time of capture in nanoseconds since 1970, at most [`u64::MAX`] (the year 2554).
    pub(super) fn timestamp(&self) -> u64 {
        self.secs.saturating_mul(1_000_000_000).saturating_add(self.nanos.into())
    }

    /// The captured bytes within `snaplen`, their number, and the original length.
    pub(super) fn cut(&self, snaplen: u32) -> (&'a [u8], u32, u32) {
        let captured = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        let kept = captured.min(snaplen);
        (&self.data[..kept as usize], kept, self.len.max(captured))
    }
}
