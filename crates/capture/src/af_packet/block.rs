//! A block on loan from the kernel, and the walk along its packets.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    frame::{Format, Outcome, finish, next_offset},
    ring::Owned,
};
use crate::{Instruction, Packet};

/// What user space adds to the kernel's statistics.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Packets that the user-space filter refused.
    pub(super) refused: AtomicU64,
    /// Packets in blocks that were given back before their packets were looked at.
    pub(super) unread: AtomicU64,
}

/// A block of the ring.
#[derive(Debug)]
pub(crate) struct RingBlock<'a> {
    owned: Owned<'a>,
    format: &'a Format,
    program: Option<&'a [Instruction]>,
    counts: &'a Counts,
    cursor: Cursor,
}

/// How far a block has been read.
#[derive(Debug)]
struct Cursor {
    /// The next frame, in bytes from the block's body.
    at: usize,
    /// Frames from there on.
    left: u32,
    refused: u64,
}

impl<'a> RingBlock<'a> {
    pub(super) fn new(
        owned: Owned<'a>,
        format: &'a Format,
        program: Option<&'a [Instruction]>,
        counts: &'a Counts,
    ) -> Self {
        let cursor = Cursor { at: owned.first(), left: owned.packets(), refused: 0 };
        Self { owned, format, program, counts, cursor }
    }

    pub(crate) fn left(&self) -> u32 {
        self.cursor.left
    }

    pub(crate) fn packets(&mut self) -> RingPackets<'_> {
        let rest = self.owned.body().get_mut(self.cursor.at..).unwrap_or_default();
        RingPackets { rest, format: self.format, program: self.program, cursor: &mut self.cursor }
    }
}

impl Drop for RingBlock<'_> {
    fn drop(&mut self) {
        // Relaxed, both: sums, ordered by whatever tells the reader that the capture has ended.
        if self.cursor.refused > 0 {
            self.counts.refused.fetch_add(self.cursor.refused, Ordering::Relaxed);
        }
        if self.cursor.left > 0 {
            self.counts.unread.fetch_add(self.cursor.left.into(), Ordering::Relaxed);
        }
    }
}

/// The packets of a block, from where the last walk ended.
#[derive(Debug)]
pub(crate) struct RingPackets<'b> {
    rest: &'b mut [u8],
    format: &'b Format,
    program: Option<&'b [Instruction]>,
    cursor: &'b mut Cursor,
}

impl<'b> Iterator for RingPackets<'b> {
    type Item = Packet<'b>;

    // In the caller's loop a packet is a few registers. Returned through memory, it was written in pieces and read as
    // a whole at once, which stalls: a fifth of what 64 bytes cost in user space.
    #[inline(always)]
    fn next(&mut self) -> Option<Packet<'b>> {
        while self.cursor.left > 0 {
            let rest = mem::take(&mut self.rest);
            let distance = match next_offset(rest)? {
                // The last one reaches to the block's end.
                0 if self.cursor.left == 1 => rest.len(),
                distance => distance,
            };
            // Frames are cut apart, so that one packet's header and tag can be written while another is read. A chain
            // that leaves the block, or does not move on, ends the walk; the rest counts as unread.
            if distance == 0 {
                return None;
            }
            let (frame, rest) = rest.split_at_mut_checked(distance)?;
            let outcome = finish(frame, self.format, self.program);
            if outcome == Outcome::Malformed {
                return None;
            }
            self.rest = rest;
            self.cursor.at += distance;
            self.cursor.left -= 1;
            match outcome {
                Outcome::Packet(packet) => return Some(packet),
                _ => self.cursor.refused += 1,
            }
        }
        None
    }
}
