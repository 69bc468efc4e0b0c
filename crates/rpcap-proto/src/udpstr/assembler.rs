use super::{Counts, DATAGRAM_HEADER_LEN, DatagramHeader};
use crate::wire::{PACKET_HEADER_LEN, PacketHeader, Reader, SNAPLEN_MAX};

/// Packets out of datagrams that come in order.
#[derive(Debug)]
pub(super) struct Assembler {
    snaplen: u32,
    /// The beginning of a packet that goes on in the next datagram: header and data. Reused, and
    /// never longer than one packet.
    part: Vec<u8>,
    /// How long the packet in `part` will be.
    whole: usize,
    /// A datagram is missing before the next one: the rest of a packet there belongs to nothing.
    hole: bool,
}

/// A datagram that contradicts itself or the one before it.
struct Contradiction;

impl Assembler {
    /// For packets of at most `snaplen` bytes.
    pub(super) fn new(snaplen: u32) -> Self {
        Self { snaplen: snaplen.min(SNAPLEN_MAX), part: Vec::new(), whole: 0, hole: false }
    }

    /// Takes the next datagram.
    pub(super) fn take(
        &mut self,
        header: DatagramHeader,
        datagram: &[u8],
        counts: &mut Counts,
        visit: &mut impl FnMut(PacketHeader, &[u8]),
    ) {
        match self.read(header.first, datagram, counts, visit) {
            Ok(()) => counts.taken += 1,
            Err(Contradiction) => {
                counts.malformed += 1;
                self.hole(counts);
            }
        }
    }

    /// Tells that a datagram is missing.
    pub(super) fn hole(&mut self, counts: &mut Counts) {
        if !self.part.is_empty() {
            counts.broken += 1;
            self.part.clear();
        }
        self.hole = true;
    }

    fn read(
        &mut self,
        first: Option<u16>,
        datagram: &[u8],
        counts: &mut Counts,
        visit: &mut impl FnMut(PacketHeader, &[u8]),
    ) -> Result<(), Contradiction> {
        let payload = datagram.get(DATAGRAM_HEADER_LEN..).ok_or(Contradiction)?;
        let (rest, packets) = match first {
            None => (payload, &[][..]),
            Some(first) => usize::from(first)
                .checked_sub(DATAGRAM_HEADER_LEN)
                .and_then(|at| payload.split_at_checked(at))
                .ok_or(Contradiction)?,
        };
        // Nothing is delivered before all of it is known to fit together.
        self.check_rest(rest.len(), first.is_some())?;
        self.check_packets(packets)?;
        if !self.part.is_empty() {
            self.go_on(rest, counts, visit)?;
        }
        if first.is_some() {
            self.hole = false;
            self.start(packets, counts, visit)?;
        }
        // Otherwise, and after a hole, what comes next may still be the same packet.
        Ok(())
    }

    /// Whether so many bytes can belong to a packet that began earlier. If others follow, it must
    /// be complete.
    fn check_rest(&self, len: usize, must_end: bool) -> Result<(), Contradiction> {
        if self.part.is_empty() {
            // Without a hole there is nothing that they could be the rest of.
            return if len == 0 || self.hole { Ok(()) } else { Err(Contradiction) };
        }
        let missing = self.whole - self.part.len();
        if len > missing || must_end && len < missing { Err(Contradiction) } else { Ok(()) }
    }

    /// Whether this is a row of packets, the last of which may go on. A header is never split.
    fn check_packets(&self, packets: &[u8]) -> Result<(), Contradiction> {
        let mut left = packets;
        while !left.is_empty() {
            let header = PacketHeader::read(&mut Reader::new(left)).map_err(|_| Contradiction)?;
            if header.caplen > self.snaplen {
                return Err(Contradiction);
            }
            left = left.get(PACKET_HEADER_LEN + header.caplen as usize..).unwrap_or_default();
        }
        Ok(())
    }

    /// Adds to the packet that began in an earlier datagram.
    fn go_on(
        &mut self,
        rest: &[u8],
        counts: &mut Counts,
        visit: &mut impl FnMut(PacketHeader, &[u8]),
    ) -> Result<(), Contradiction> {
        self.part.extend_from_slice(rest);
        if self.part.len() < self.whole {
            return Ok(());
        }
        let mut r = Reader::new(&self.part);
        let header = PacketHeader::read(&mut r).map_err(|_| Contradiction)?;
        counts.packets += 1;
        visit(header, r.rest());
        self.part.clear();
        Ok(())
    }

    /// Takes packets that start in this datagram.
    fn start(
        &mut self,
        packets: &[u8],
        counts: &mut Counts,
        visit: &mut impl FnMut(PacketHeader, &[u8]),
    ) -> Result<(), Contradiction> {
        let mut left = packets;
        while !left.is_empty() {
            let mut r = Reader::new(left);
            let header = PacketHeader::read(&mut r).map_err(|_| Contradiction)?;
            let whole = PACKET_HEADER_LEN + header.caplen as usize;
            let Ok(data) = r.take(header.caplen as usize) else {
                self.whole = whole;
                self.part.reserve_exact(whole);
                self.part.extend_from_slice(left);
                break;
            };
            counts.packets += 1;
            visit(header, data);
            left = r.rest();
        }
        Ok(())
    }
}
