use rpcap_proto::batch::Batch;
use rpcap_proto::udpstr::{DATAGRAM_HEADER_LEN, InvalidMtu, MTU_MIN, Packer};
use rpcap_proto::wire::{MESSAGE_OVERHEAD, PACKET_HEADER_LEN, PacketHeader, SNAPLEN_MAX};

use super::{BATCH, Framer};
use crate::ledger::Taken;
use crate::limits::rate::Cost;

/// Most PACKET messages in a batch of datagrams.
const DATAGRAMS: usize = 1024;

/// PACKET messages end to end, for a stream.
#[derive(Debug)]
pub struct Stream {
    batch: Batch,
    packets: u32,
    /// Bytes of a TCP segment.
    segment: usize,
}

impl Default for Stream {
    fn default() -> Self {
        Self { batch: Batch::with_capacity(BATCH, 1), packets: 0, segment: usize::MAX }
    }
}

impl Framer for Stream {
    #[inline]
    fn push(&mut self, header: PacketHeader, data: &[u8], _: &mut Taken) {
        // A packet above the batch's size makes it grow once, by that packet and no more.
        self.batch.extend(&header.to_message_bytes());
        self.batch.extend(data);
        self.packets += 1;
    }

    #[inline]
    fn is_full(&self, data: usize) -> bool {
        self.packets > 0 && self.batch.len() + MESSAGE_OVERHEAD + data > BATCH
    }

    /// As if every batch began a segment. TCP may join the end of one to the next; then the wire
    /// has less.
    fn cost(&self, data: usize) -> Cost {
        let segments = |bytes: usize| bytes.div_ceil(self.segment);
        let (before, bytes) = (self.batch.len(), MESSAGE_OVERHEAD + data);
        Cost { bytes, frames: segments(before + bytes) - segments(before) }
    }

    fn batch(&mut self) -> &mut Batch {
        if self.packets > 0 {
            self.batch.close(std::mem::take(&mut self.packets), false);
        }
        &mut self.batch
    }

    fn limit(&mut self, bytes: usize) {
        self.segment = bytes.max(1);
    }
}

/// A PACKET message in each datagram.
///
/// What does not fit of a packet is cut off, as a snaplen does: there is no other way to send a
/// part of it.
#[derive(Debug)]
pub struct Messages {
    batch: Batch,
    /// Most bytes of a packet.
    longest: usize,
    /// Bytes of a datagram that travel in one frame.
    fragment: usize,
}

/// Bytes of a datagram that Ethernet carries in a fragment.
const FRAGMENT: usize = 1472;

impl Messages {
    /// For datagrams that may be sent in fragments, or not.
    pub fn new(fragments: bool) -> Self {
        let fragment = if fragments { FRAGMENT } else { usize::MAX };
        Self { batch: Batch::with_capacity(BATCH, DATAGRAMS), longest: usize::MAX, fragment }
    }
}

impl Framer for Messages {
    #[inline]
    fn push(&mut self, header: PacketHeader, data: &[u8], taken: &mut Taken) {
        let data = match data.get(..self.longest) {
            Some(fits) if fits.len() < data.len() => {
                taken.cut += 1;
                fits
            }
            _ => data,
        };
        let header = PacketHeader { caplen: data.len() as u32, ..header };
        self.batch.extend(&header.to_message_bytes());
        self.batch.extend(data);
        self.batch.close(1, false);
    }

    #[inline]
    fn is_full(&self, data: usize) -> bool {
        let size = MESSAGE_OVERHEAD + data.min(self.longest);
        self.batch.datagrams() == DATAGRAMS
            || self.batch.len() + size > BATCH && !self.batch.is_empty()
    }

    fn cost(&self, data: usize) -> Cost {
        let bytes = MESSAGE_OVERHEAD + data.min(self.longest);
        Cost { bytes, frames: bytes.div_ceil(self.fragment) }
    }

    fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    fn limit(&mut self, bytes: usize) {
        self.longest = bytes.saturating_sub(MESSAGE_OVERHEAD);
    }
}

/// udpstr.
#[derive(Debug)]
pub struct UdpStream {
    packer: Packer,
    /// What the datagrams are to be, if the path takes it.
    mtu: usize,
}

impl UdpStream {
    /// For datagrams of at most `mtu` bytes.
    pub fn new(mtu: usize) -> Result<Self, InvalidMtu> {
        Ok(Self { packer: Packer::new(mtu)?, mtu })
    }
}

impl Framer for UdpStream {
    // As with the packer's own.
    #[inline(always)]
    fn push(&mut self, header: PacketHeader, data: &[u8], _: &mut Taken) {
        self.packer.push(&header, data);
    }

    #[inline]
    fn is_full(&self, _: usize) -> bool {
        self.packer.is_full()
    }

    fn cost(&self, data: usize) -> Cost {
        let bytes = PACKET_HEADER_LEN + data.min(SNAPLEN_MAX as usize);
        let beyond = bytes.saturating_sub(self.packer.room());
        let datagrams = beyond.div_ceil(self.packer.mtu() - DATAGRAM_HEADER_LEN);
        Cost { bytes: bytes + datagrams * DATAGRAM_HEADER_LEN, frames: datagrams }
    }

    fn batch(&mut self) -> &mut Batch {
        self.packer.flushed()
    }

    fn limit(&mut self, bytes: usize) {
        // A path that takes less than the smallest limit is none for IP.
        let mtu = self.mtu.min(bytes).max(MTU_MIN);
        if mtu != self.packer.mtu() {
            // It is within the bounds.
            let _ = self.packer.set_mtu(mtu);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpcap_proto::wire::PacketMessage;

    #[test]
    fn d7_101_a_packet_too_large_for_a_datagram_is_cut_and_counted() {
        let mut messages = Messages::new(false);
        messages.limit(65_507);
        let mut taken = Taken::default();
        for (npkt, size) in [(1, 65_479usize), (2, 65_480), (3, 262_144), (4, 60)] {
            let len = size as u32;
            let header = PacketHeader { caplen: len, len, npkt, ..PacketHeader::default() };
            if messages.is_full(size) {
                messages.batch().clear();
            }
            messages.push(header, &vec![7; size], &mut taken);
        }
        let batch = messages.batch();
        let sizes: Vec<_> = (0..batch.datagrams())
            .map(|i| {
                let bytes = batch.datagram(i).unwrap().bytes;
                let message = PacketMessage::read(bytes, 262_144).unwrap().unwrap();
                (bytes.len(), message.data.len(), message.header.len)
            })
            .collect();
        assert_eq!(
            sizes,
            [
                (65_507, 65_479, 65_479),
                (65_507, 65_479, 65_480),
                (65_507, 65_479, 262_144),
                (88, 60, 60)
            ]
        );
        assert_eq!(taken.cut, 2);
    }

    /// What packets of many sizes cost, and what they became.
    fn costs(mut framer: impl Framer, limit: usize) -> (Cost, Batch) {
        framer.limit(limit);
        let mut sum = Cost::default();
        for n in 0..300usize {
            let size = n * 97 % 3000 + if n % 50 == 0 { 9000 } else { 0 };
            assert!(!framer.is_full(size) || n > 100);
            if framer.is_full(size) {
                break;
            }
            let Cost { bytes, frames } = framer.cost(size);
            sum = Cost { bytes: sum.bytes + bytes, frames: sum.frames + frames };
            let header =
                PacketHeader { len: size as u32, caplen: size as u32, ..PacketHeader::default() };
            framer.push(header, &vec![7; size], &mut Taken::default());
        }
        (sum, std::mem::take(framer.batch()))
    }

    #[test]
    fn packets_cost_what_goes_on_the_wire() {
        for mtu in [256, 1472, 8972] {
            let (cost, batch) = costs(UdpStream::new(mtu).unwrap(), usize::MAX);
            assert_eq!(cost, Cost { bytes: batch.len(), frames: batch.datagrams() }, "{mtu}");
            let (cost, batch) = costs(Messages::new(false), mtu);
            assert_eq!(cost, Cost { bytes: batch.len(), frames: batch.datagrams() }, "{mtu}");
            let (cost, batch) = costs(Stream::default(), mtu);
            assert_eq!(cost, Cost { bytes: batch.len(), frames: batch.len().div_ceil(mtu) });
        }
        let (cost, batch) = costs(Messages::new(true), 65_507);
        let frames =
            (0..batch.datagrams()).map(|i| batch.datagram(i).unwrap().bytes.len().div_ceil(1472));
        assert_eq!(cost, Cost { bytes: batch.len(), frames: frames.sum() });
    }

    #[test]
    fn the_limit_of_the_path_comes_before_the_one_asked_for() {
        let mut framer = UdpStream::new(8972).unwrap();
        let mut longest = |limit: usize| {
            framer.limit(limit);
            let header = PacketHeader { caplen: 9000, len: 9000, ..PacketHeader::default() };
            framer.push(header, &[7; 9000], &mut Taken::default());
            let batch = std::mem::take(framer.batch());
            (0..batch.datagrams()).map(|i| batch.datagram(i).unwrap().bytes.len()).max()
        };
        assert_eq!([1472, 100, 65_000].map(&mut longest), [Some(1472), Some(256), Some(8972)]);
    }
}
