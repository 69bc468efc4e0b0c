//! The statistics that a file ends with, found from its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::SECTION_HEADER;
use super::bytes::Order;
use super::interface::{Clock, Statistics, Unit, clock_offset};

const STATISTICS: u32 = 5;

/// Bytes of the file's end that are looked at.
const ROOM: u64 = 64 << 10;

/// The statistics that are the last blocks of a little-endian pcapng file that is not compressed; none if it is
/// something else, or if the last of several sections is seen to begin before them.
pub(super) fn statistics(file: &mut File) -> io::Result<Vec<u8>> {
    let size = file.seek(SeekFrom::End(0))?;
    let from = size.saturating_sub(ROOM);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.by_ref().take(ROOM).read_to_end(&mut bytes)?;
    let mut begin = bytes.len();
    let mut first = begin;
    // Each block's length is its end as well.
    while let Some(length) = begin.checked_sub(4).and_then(|at| Order::Little.u32(&bytes, at))
        && let Some(start) = begin.checked_sub(length as usize)
        && length >= 12
        && Order::Little.u32(&bytes, start + 4) == Some(length)
    {
        match Order::Little.u32(&bytes, start) {
            Some(STATISTICS) if first == begin && length >= 24 => first = start,
            Some(SECTION_HEADER) if from + start as u64 > 0 => return Ok(Vec::new()),
            _ => {}
        }
        begin = start;
    }
    Ok(bytes.split_off(first))
}

/// How far the clocks of interfaces were ahead, as the last statistics of each say. Their numbers are those of a file
/// of one section.
pub(super) fn offsets(blocks: &[u8]) -> BTreeMap<usize, i64> {
    let mut offsets = BTreeMap::new();
    for statistics in all(blocks) {
        match clock_offset(&statistics.options) {
            Some(offset) => offsets.insert(statistics.interface, offset),
            None => offsets.remove(&statistics.interface),
        };
    }
    offsets
}

/// Blocks of statistics. Their times are of no use, as nothing is known of the interfaces.
fn all(mut blocks: &[u8]) -> impl Iterator<Item = Statistics> {
    std::iter::from_fn(move || {
        let length = Order::Little.u32(blocks, 4)? as usize;
        let block;
        (block, blocks) = blocks.split_at_checked(length)?;
        let body = block.get(8..length.checked_sub(4)?)?;
        let interface = Order::Little.u32(body, 0)? as usize;
        Statistics::parse(Order::Little, body, interface, Clock::unit(Unit::Many(1)))
    })
}
