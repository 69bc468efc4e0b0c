//! Where in a file which time is: written behind a file's last packet, so that an hour of a day is found without
//! reading the day.
//!
//! It is a pcapng block of a type for local use, which other programs pass over. A compressed file has it in a frame of its
//! own, as it is (no skippable one: newer tsharks seem to take that for data). Either way the file's last four bytes are the block's
//! length. The block, little-endian:
//!
//! ```text
//! type, length | "rpcapix1" | flags | chunks | bytes of blocks | bytes of statistics | end (8) |
//! blocks | statistics | chunks: position (8), earliest (8), latest (8), interfaces (4), 0 (4) | SHA-256 | length
//! ```
//!
//! *Blocks* are the section header and all descriptions of interfaces again: who begins to read at a chunk needs those
//! before it, the first so many of them. *End* is where the index begins, in which a file that was put together of
//! others, or cut, differs.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// The block's type: the upper half of all types is for local use.
const KIND: u32 = 0x8052_5849;
const MAGIC: [u8; 8] = *b"rpcapix1";
/// The flag of an index of a compressed file.
const COMPRESSED: u32 = 1;
/// Bytes in front of the blocks, from the magic on.
const FIXED: usize = 32;
const CHUNK_BYTES: usize = 32;
/// The longest index that is written and read.
const MAX: u64 = 16 << 20;

/// The least bytes of a file that a chunk has. It need not be small: its bytes are read to find one packet in them.
const CHUNK: u64 = 256 << 10;
/// Most chunks, before each two become one.
const CHUNKS: usize = 16 << 10;

/// A part of a file that can be read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    at: u64,
    /// Timestamps of its earliest and its latest packet, in nanoseconds; the first is the larger one if it has none.
    first: u64,
    last: u64,
    /// Interfaces that were described before it.
    interfaces: u32,
}

/// What is noted while a file is written.
#[derive(Debug)]
pub(super) struct Builder {
    blocks: Vec<u8>,
    statistics: Vec<u8>,
    chunks: Vec<Chunk>,
    /// Interfaces in what was written, and with those in the buffer.
    interfaces: u32,
    described: u32,
    chunk: u64,
}

impl Builder {
    /// A file that begins with this block.
    pub(super) fn new(section_header: &[u8]) -> Self {
        Self {
            blocks: section_header.to_vec(),
            statistics: Vec::new(),
            chunks: Vec::new(),
            interfaces: 0,
            described: 0,
            chunk: CHUNK,
        }
    }

    /// The description of an interface follows.
    pub(super) fn describe(&mut self, block: &[u8]) {
        self.blocks.extend(block);
        self.described += 1;
    }

    /// The statistics of an interface follow.
    pub(super) fn statistics(&mut self, block: &[u8]) {
        self.statistics.extend(block);
    }

    /// What was gathered was written, from `at` on; timestamps of its packets.
    pub(super) fn written(&mut self, at: u64, span: Option<(u64, u64)>) {
        let (first, last) = span.unwrap_or((u64::MAX, 0));
        match self.chunks.last_mut() {
            Some(chunk) if at.saturating_sub(chunk.at) < self.chunk => {
                chunk.first = chunk.first.min(first);
                chunk.last = chunk.last.max(last);
            }
            _ => self.chunks.push(Chunk { at, first, last, interfaces: self.interfaces }),
        }
        self.interfaces = self.described;
        if self.chunks.len() > CHUNKS {
            self.chunk *= 2;
            let two = |two: &[Chunk]| {
                let later = two.last().unwrap_or(&two[0]);
                Chunk {
                    first: two[0].first.min(later.first),
                    last: two[0].last.max(later.last),
                    ..two[0]
                }
            };
            self.chunks = self.chunks.chunks(2).map(two).collect();
        }
    }

    /// What to write behind the file's `end` bytes; nothing if that would be too long.
    pub(super) fn finish(&self, end: u64, compressed: bool) -> Vec<u8> {
        let mut block = Vec::new();
        block.extend(KIND.to_le_bytes());
        block.extend([0; 4]);
        block.extend(MAGIC);
        let flags = if compressed { COMPRESSED } else { 0 };
        for number in [
            flags,
            self.chunks.len() as u32,
            self.blocks.len() as u32,
            self.statistics.len() as u32,
        ] {
            block.extend(number.to_le_bytes());
        }
        block.extend(end.to_le_bytes());
        // Whole blocks: multiples of four bytes.
        block.extend(&self.blocks);
        block.extend(&self.statistics);
        for chunk in &self.chunks {
            for number in [chunk.at, chunk.first, chunk.last, chunk.interfaces.into()] {
                block.extend(number.to_le_bytes());
            }
        }
        let sum = digest(&SHA256, &block[8..]);
        block.extend(sum.as_ref());
        let length = block.len() as u64 + 4;
        if length > MAX {
            return Vec::new();
        }
        let length = (length as u32).to_le_bytes();
        block[4..8].copy_from_slice(&length);
        block.extend(length);
        match compressed {
            true => frame(&block),
            false => block,
        }
    }
}

/// The index of a file.
#[derive(Debug)]
pub(super) struct Index {
    /// The section header and all descriptions of interfaces.
    pub(super) blocks: Vec<u8>,
    /// The statistics at the end.
    pub(super) statistics: Vec<u8>,
    chunks: Vec<Chunk>,
    /// Where the index begins.
    end: u64,
    pub(super) compressed: bool,
}

/// A part of a file, with the interfaces that were described before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) bytes: Range<u64>,
    pub(super) interfaces: u32,
}

impl Index {
    /// The index of a file, if it has one, or why that is not to be believed.
    pub(super) fn of(file: &mut File) -> io::Result<Result<Option<Self>, &'static str>> {
        let size = file.seek(SeekFrom::End(0))?;
        if size < 64 {
            return Ok(Ok(None));
        }
        let length = u64::from(u32::from_le_bytes(read(file, size - 4)?));
        if length > size.min(MAX) || length < (8 + FIXED + SHA256_OUTPUT_LEN + 4) as u64 {
            return Ok(Ok(None));
        }
        let content = |at: u64, length: u64, file: &mut File| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; length as usize];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        // Bytes in front of the block in a frame, and within it.
        let framed = frame_bytes(length);
        let (begins, block) = match size.checked_sub(framed) {
            Some(at) if read::<4>(file, at)? == ZSTD => {
                let bytes = content(at, framed, file)?;
                match zstd::bulk::decompress(&bytes, length as usize) {
                    Ok(block) => (at, block),
                    Err(_) => return Ok(Ok(None)),
                }
            }
            _ => {
                let at = size - length;
                if read::<4>(file, at)? != KIND.to_le_bytes() {
                    return Ok(Ok(None));
                }
                (at, content(at, length, file)?)
            }
        };
        if !block.starts_with(&KIND.to_le_bytes()) || block.get(8..16) != Some(&MAGIC) {
            return Ok(Ok(None));
        }
        Ok(match Self::parse(&block) {
            None => Err("it is damaged"),
            // Unpacked: it was good for what it was in.
            Some(index) if index.compressed && size - begins == length => Ok(None),
            Some(index) if index.end != begins => Err("the file was changed afterwards"),
            Some(index) => Ok(Some(index)),
        })
    }

    /// A block of which the type and the magic are right.
    fn parse(block: &[u8]) -> Option<Self> {
        let content = block.get(8..block.len().checked_sub(4)?)?;
        let (content, sum) =
            content.split_at_checked(content.len().checked_sub(SHA256_OUTPUT_LEN)?)?;
        if digest(&SHA256, content).as_ref() != sum {
            return None;
        }
        let number = |at: usize| Some(u32::from_le_bytes(*content.get(at..)?.first_chunk()?));
        let [flags, chunks, blocks, statistics] =
            [number(8)?, number(12)?, number(16)?, number(20)?];
        let end = u64::from_le_bytes(*content.get(24..)?.first_chunk()?);
        let (blocks, rest) = content.get(FIXED..)?.split_at_checked(blocks as usize)?;
        let (statistics, rest) = rest.split_at_checked(statistics as usize)?;
        let chunk = |bytes: &[u8]| {
            let number = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
            let interfaces = u32::try_from(number(24)?).ok()?;
            Some(Chunk { at: number(0)?, first: number(8)?, last: number(16)?, interfaces })
        };
        let list: Vec<Chunk> = rest.chunks_exact(CHUNK_BYTES).map_while(chunk).collect();
        let sound = list.len() == chunks as usize
            && rest.len() == list.len() * CHUNK_BYTES
            && list.is_sorted_by(|a, b| a.at < b.at && a.interfaces <= b.interfaces)
            && list.first().is_none_or(|c| c.at == 0)
            && list.last().is_none_or(|c| c.at < end);
        let (blocks, statistics) = (blocks.to_vec(), statistics.to_vec());
        let compressed = flags & COMPRESSED != 0;
        sound.then_some(Self { blocks, statistics, chunks: list, end, compressed })
    }

    /// The earliest and the latest timestamp of all packets, if there are any.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        let first = self.chunks.iter().map(|c| c.first).min()?;
        let last = self.chunks.iter().map(|c| c.last).max()?;
        (first <= last).then_some((first, last))
    }

    /// All of the file.
    pub(super) fn whole(&self) -> Part {
        Part { bytes: 0..self.end, interfaces: 0 }
    }

    /// The parts with packets from `since` on and before `until`, as few as possible.
    pub(super) fn parts(&self, since: u64, until: u64) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let ends = self.chunks.iter().skip(1).map(|c| c.at).chain([self.end]);
        for (chunk, end) in self.chunks.iter().zip(ends) {
            if chunk.first > chunk.last || chunk.last < since || chunk.first >= until {
                continue;
            }
            match parts.last_mut() {
                Some(part) if part.bytes.end == chunk.at => part.bytes.end = end,
                _ => parts.push(Part { bytes: chunk.at..end, interfaces: chunk.interfaces }),
            }
        }
        parts
    }
}

/// What frames of zstd begin with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Most bytes of one of its blocks.
const ZSTD_BLOCK: usize = 128 << 10;

/// Bytes of a frame that holds so many as they are.
fn frame_bytes(content: u64) -> u64 {
    9 + 3 * content.div_ceil(ZSTD_BLOCK as u64) + content
}

/// A frame of zstd that holds these bytes as they are: its length, then blocks of type 0 (RFC 8878, 3.1.1).
fn frame(content: &[u8]) -> Vec<u8> {
    const SINGLE_SEGMENT_FOUR_BYTES_OF_LENGTH: u8 = 0xa0;
    let mut frame = ZSTD.to_vec();
    frame.push(SINGLE_SEGMENT_FOUR_BYTES_OF_LENGTH);
    frame.extend((content.len() as u32).to_le_bytes());
    let mut blocks = content.chunks(ZSTD_BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let header = (block.len() as u32) << 3 | u32::from(blocks.peek().is_none());
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

fn read<const N: usize>(file: &mut File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_few_and_hold_all_times() {
        let mut builder = Builder::new(&[]);
        let step = CHUNK / 4;
        let count = CHUNKS as u64 * 16;
        for n in 0..count {
            builder.written(n * step, Some((n, n + 5)));
        }
        assert!(builder.chunks.len() <= CHUNKS);
        let block = builder.finish(count * step, false);
        let index = Index::parse(&block).unwrap();
        assert_eq!(index.span(), Some((0, count + 4)));
        for time in [0, 77, count / 2, count + 4] {
            let parts = index.parts(time, time + 1);
            assert_eq!(parts.len(), 1);
            let bytes = &parts[0].bytes;
            let at = time.min(count - 1) * step;
            assert!(bytes.contains(&at) && bytes.end - bytes.start < 64 * CHUNK, "{bytes:?} {at}");
        }
        assert!(index.parts(count + 5, u64::MAX).is_empty());
        assert_eq!(index.parts(0, u64::MAX), [Part { bytes: 0..count * step, interfaces: 0 }]);
    }

    #[test]
    fn frames_hold_what_they_are_given() {
        for length in [1, 400, ZSTD_BLOCK, ZSTD_BLOCK + 1, 5 * ZSTD_BLOCK] {
            let content: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let frame = frame(&content);
            assert_eq!(frame.len() as u64, frame_bytes(length as u64));
            assert_eq!(zstd::bulk::decompress(&frame, length).unwrap(), content);
        }
    }

    #[test]
    fn one_changed_bit_is_noticed() {
        let mut builder = Builder::new(&[1, 2, 3, 4]);
        builder.written(0, None);
        let block = builder.finish(99, false);
        assert!(Index::parse(&block).is_some());
        for at in 8..block.len() - 4 {
            let mut changed = block.clone();
            changed[at] ^= 4;
            assert!(Index::parse(&changed).is_none(), "{at}");
        }
    }
}
