//! Packets that were copied out of a source, in memory that is used again and again.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Checksum, MAX_SNAPLEN, Packet, Timestamp};

/// Bytes of packets from which on a batch is full.
pub(crate) const BATCH: usize = 256 << 10;
/// The most packets in a batch: of the shortest frames, as many as fill it.
const PACKETS: usize = 4096;

/// Packets, back to back.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    packets: Vec<Entry>,
}

/// A packet in [`Batch::bytes`].
#[derive(Debug)]
struct Entry {
    ts: Timestamp,
    len: u32,
    at: usize,
    caplen: usize,
}

impl Batch {
    /// All the memory that it will ever have: one packet may begin just before the batch is full.
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(BATCH + MAX_SNAPLEN as usize),
            packets: Vec::with_capacity(PACKETS),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Packets that it takes at most before it is full.
    pub(crate) fn room(&self) -> usize {
        if self.bytes.len() >= BATCH { 0 } else { PACKETS - self.packets.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Copies a packet of which `data`, no longer than [`MAX_SNAPLEN`], was kept.
    pub(crate) fn push(&mut self, ts: Timestamp, len: u32, data: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.packets.push(Entry { ts, len, at, caplen: data.len() });
    }

    /// Lends the packets. Those that are not walked are added to `unread`.
    pub(crate) fn lend<'a>(&'a self, unread: &'a AtomicU64) -> BatchBlock<'a> {
        BatchBlock { batch: self, unread, next: 0 }
    }
}

/// A batch on loan.
#[derive(Debug)]
pub(crate) struct BatchBlock<'a> {
    batch: &'a Batch,
    unread: &'a AtomicU64,
    next: usize,
}

impl BatchBlock<'_> {
    pub(crate) fn left(&self) -> u32 {
        u32::try_from(self.batch.len() - self.next).unwrap_or(u32::MAX)
    }

    pub(crate) fn packets(&mut self) -> BatchPackets<'_> {
        BatchPackets { batch: self.batch, next: &mut self.next }
    }
}

impl Drop for BatchBlock<'_> {
    fn drop(&mut self) {
        let unread = self.batch.len() - self.next;
        // Relaxed: a sum, ordered by whatever tells the reader that the capture has ended.
        self.unread.fetch_add(unread as u64, Ordering::Relaxed);
    }
}

/// The packets of a batch, from where the last walk ended.
#[derive(Debug)]
pub(crate) struct BatchPackets<'b> {
    batch: &'b Batch,
    next: &'b mut usize,
}

impl<'b> Iterator for BatchPackets<'b> {
    type Item = Packet<'b>;

    fn next(&mut self) -> Option<Packet<'b>> {
        let entry = self.batch.packets.get(*self.next)?;
        *self.next += 1;
        let data = self.batch.bytes.get(entry.at..entry.at + entry.caplen)?;
        // Neither libpcap nor a savefile says.
        Some(Packet { ts: entry.ts, len: entry.len, checksum: Checksum::Unknown, data })
    }
}
