use super::{DATAGRAM_HEADER_LEN, DatagramHeader};
use crate::batch::Batch;
use crate::wire::{PACKET_HEADER_LEN, PacketHeader, SNAPLEN_MAX};

/// The smallest limit to a datagram that is taken.
pub const MTU_MIN: usize = 256;

/// The largest one, as ExtraHop has it.
pub const MTU_MAX: usize = 65_000;

/// Bytes after which a batch is full.
pub const BATCH: usize = 256 * 1024;

/// With less room than this and one byte more, no packet starts in a datagram: it would not leave
/// nine bytes for its data.
const CLOSE_AT: usize = 28;

/// A limit that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes to a datagram are not between {MTU_MIN} and {MTU_MAX}")]
pub struct InvalidMtu(pub usize);

/// Packets into datagrams.
///
/// A datagram stays open until it is full or [`Self::flush`]. Numbers go on from batch to batch,
/// whether a datagram is sent or not, so that the receiver sees what is missing.
///
/// A batch [is full](Self::is_full) at [`BATCH`] bytes. The memory for that and one of the longest
/// packets is reserved once; who takes a full batch away before the next packet never makes it
/// grow.
#[derive(Debug)]
pub struct Packer {
    mtu: usize,
    seqno: u32,
    batch: Batch,
    is_open: bool,
    /// Where the open datagram starts.
    start: usize,
    /// How many packets end in the open datagram.
    packets: u32,
    /// No packet starts in the open datagram so far.
    headless: bool,
}

impl Packer {
    /// For datagrams of at most `mtu` bytes, UDP and IP headers not counted.
    pub fn new(mtu: usize) -> Result<Self, InvalidMtu> {
        let mtu = valid(mtu)?;
        Ok(Self {
            mtu,
            seqno: 0,
            batch: empty_batch(),
            is_open: false,
            start: 0,
            packets: 0,
            headless: false,
        })
    }

    /// Gives the next datagram another number than 0.
    #[must_use]
    pub fn starting_at(self, seqno: u32) -> Self {
        Self { seqno, ..self }
    }

    /// Most bytes of a datagram.
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// Changes the limit for the datagrams that follow: the open one is closed as it is.
    pub fn set_mtu(&mut self, mtu: usize) -> Result<(), InvalidMtu> {
        let mtu = valid(mtu)?;
        self.flush();
        self.mtu = mtu;
        Ok(())
    }

    /// Appends a packet. Its capture length is that of `data`, of which no more is taken than any
    /// receiver would: [`SNAPLEN_MAX`].
    // Where two loops use it the compiler would call it, with the header in memory: an eighth more
    // instructions for a small packet.
    #[inline(always)]
    pub fn push(&mut self, header: &PacketHeader, data: &[u8]) {
        let mut rest = &data[..data.len().min(SNAPLEN_MAX as usize)];
        let header = PacketHeader { caplen: rest.len() as u32, ..*header };
        if !self.is_open {
            self.open(Some(DATAGRAM_HEADER_LEN as u16));
        } else if self.headless {
            // Within u16 because the limit is.
            let first = (self.batch.len() - self.start) as u16;
            self.batch.patch(self.start + 2, &first.to_be_bytes());
            self.headless = false;
        }
        self.batch.extend(&header.to_bytes());
        loop {
            let room = self.mtu - (self.batch.len() - self.start);
            let Some((now, later)) = rest.split_at_checked(room) else {
                self.batch.extend(rest);
                break;
            };
            self.batch.extend(now);
            if later.is_empty() {
                break;
            }
            self.close(true);
            self.open(None);
            rest = later;
        }
        self.packets += 1;
        if self.batch.len() - self.start >= self.mtu - CLOSE_AT {
            self.close(false);
        }
    }

    /// Bytes that the open datagram still takes; 0 if there is none.
    pub fn room(&self) -> usize {
        if self.is_open { self.mtu - (self.batch.len() - self.start) } else { 0 }
    }

    /// Closes the open datagram: nothing in it waits for more packets.
    pub fn flush(&mut self) {
        if self.is_open {
            self.close(false);
        }
    }

    /// The datagrams so far.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Whether it is time to send.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.batch.len() >= BATCH
    }

    /// The datagrams so far, the open one closed, for who sends and clears them or puts another
    /// batch in their place. What follows is appended to what is left.
    pub fn flushed(&mut self) -> &mut Batch {
        self.flush();
        &mut self.batch
    }

    fn open(&mut self, first: Option<u16>) {
        let header = DatagramHeader { first, seqno: self.seqno };
        self.start = self.batch.len();
        self.is_open = true;
        self.batch.extend(&header.to_bytes());
        self.seqno = self.seqno.wrapping_add(1);
        self.headless = first.is_none();
    }

    fn close(&mut self, continues: bool) {
        self.batch.close(std::mem::take(&mut self.packets), continues);
        self.is_open = false;
    }
}

/// A batch with the memory that is ever needed.
fn empty_batch() -> Batch {
    // At the smallest limit, so that another one makes no difference: with a header in each
    // datagram, a packet becomes longer by this share.
    let packet = PACKET_HEADER_LEN + SNAPLEN_MAX as usize;
    let split = packet.div_ceil(MTU_MIN - DATAGRAM_HEADER_LEN) + 1;
    let smallest = DATAGRAM_HEADER_LEN + PACKET_HEADER_LEN;
    let bytes = BATCH + packet + split * DATAGRAM_HEADER_LEN;
    Batch::with_capacity(bytes, BATCH / smallest + split)
}

fn valid(mtu: usize) -> Result<usize, InvalidMtu> {
    match mtu {
        MTU_MIN..=MTU_MAX => Ok(mtu),
        _ => Err(InvalidMtu(mtu)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_does_not_outgrow_what_was_reserved() {
        let header = PacketHeader::default();
        let long = vec![7; SNAPLEN_MAX as usize];
        // The most bytes, and the most datagrams.
        for (size, flush) in [(1000, false), (0, true)] {
            let mut packer = Packer::new(MTU_MIN).unwrap();
            let reserved = packer.batch().capacity();
            while packer.batch().len() + 8 * (size + 100) < BATCH {
                packer.push(&header, &long[..size]);
                if flush {
                    packer.flush();
                }
            }
            while packer.batch().len() < BATCH - 40 {
                packer.push(&header, &[]);
            }
            assert!(!packer.is_full());
            packer.push(&header, &long);
            packer.flush();
            assert!(packer.is_full());
            assert_eq!(packer.batch().capacity(), reserved);
        }
    }
}
