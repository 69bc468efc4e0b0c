//! Interfaces as files describe them, and options of blocks.

use super::bytes::Order;
use crate::file::block::Block;

pub(super) const COMMENT: u16 = 1;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;
const FILTER: u16 = 11;
/// Options for private use, which begin with a number of whose they are.
const CUSTOM: [u16; 4] = [2988, 2989, 19372, 19373];

/// How a comment of `rpcap`'s tells how far the sender's clock was ahead of the receiver's.
const CLOCK: &str = "clock-offset-ns=";
/// What that becomes once timestamps were corrected by it, lest that is done again.
const CORRECTED: &str = "clock-corrected-ns=";

/// Most options of statistics: seven are defined, beside comments. An empty one has four bytes in a file, and eight
/// times as many in memory.
const STATISTICS_OPTIONS: usize = 1024;

/// Options of a block: code and value, little-endian.
pub(crate) type Options = Vec<(u16, Vec<u8>)>;

/// An interface that packets of a file came from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Interface {
    /// `LINKTYPE_` number.
    pub linktype: u32,
    /// Most bytes of a packet; 0 if there is no limit.
    pub snaplen: u32,
    /// What is said of it, without what is only about how timestamps are stored.
    pub(crate) options: Options,
    pub(super) clock: Clock,
}

impl Interface {
    /// The body of a description.
    pub(super) fn parse(order: Order, body: &[u8]) -> Option<Self> {
        let mut interface = Self {
            linktype: order.u16(body, 0)?.into(),
            snaplen: order.u32(body, 4)?,
            ..Self::default()
        };
        for (code, value) in Raw::new(order, body.get(8..)?) {
            match code {
                RESOLUTION => interface.clock.unit = Unit::of(*value.first()?),
                TIME_OFFSET => {
                    let high_first = order == Order::Big;
                    let bytes = *value.first_chunk()?;
                    let seconds = if high_first {
                        i64::from_be_bytes(bytes)
                    } else {
                        i64::from_le_bytes(bytes)
                    };
                    interface.clock.offset = i128::from(seconds) * 1_000_000_000;
                }
                _ => {
                    let swaps = match code {
                        10 => 4,
                        8 | 16 | 17 => 8,
                        _ => 1,
                    };
                    // Bytecode has the file's byte order.
                    if code != FILTER || order == Order::Little || value.first() == Some(&0) {
                        interface.options.push((code, little(order, code, value, swaps)));
                    }
                }
            }
        }
        Some(interface)
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<String> {
        let name = self.options.iter().find(|(code, _)| *code == NAME)?;
        Some(String::from_utf8_lossy(&name.1).into_owned())
    }

    /// How far the clock of whoever captured was ahead, in nanoseconds, if it says so.
    pub fn clock_offset(&self) -> Option<i64> {
        clock_offset(&self.options)
    }

    /// The same interface, once its timestamps were corrected by this.
    pub(crate) fn corrected(&self, offset: i64) -> Self {
        let mut corrected = self.clone();
        corrected.options.retain(|option| !is_clock(option));
        corrected.options.push((COMMENT, format!("{CORRECTED}{offset}").into_bytes()));
        corrected
    }

    /// Its description as a block, with timestamps in nanoseconds.
    pub(crate) fn block(&self) -> Vec<u8> {
        let mut block = Block::new(1);
        block.u16(self.linktype as u16);
        block.u16(0);
        block.u32(self.snaplen);
        for (code, value) in &self.options {
            match code {
                // Text, which may be a stranger's.
                1..=3 | 12 | 15 => block.text(*code, &[], &String::from_utf8_lossy(value)),
                _ => block.option(*code, value),
            }
        }
        block.option(RESOLUTION, &[9]);
        block.finish()
    }
}

/// Whether it is a comment about the sender's clock.
fn is_clock((code, value): &(u16, Vec<u8>)) -> bool {
    *code == COMMENT && value.starts_with(CLOCK.as_bytes())
}

/// What a comment says of the sender's clock.
pub(crate) fn clock_offset(options: &Options) -> Option<i64> {
    let comments = options.iter().filter(|(code, _)| *code == COMMENT);
    let mut texts = comments.filter_map(|(_, value)| std::str::from_utf8(value).ok());
    texts.find_map(|text| text.strip_prefix(CLOCK)?.split(' ').next()?.parse().ok())
}

/// Statistics of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Which interface of the file, from 0 on in all its sections.
    pub interface: usize,
    /// When, in nanoseconds.
    pub(crate) time: u64,
    pub(crate) options: Options,
}

impl Statistics {
    /// The body of statistics, but for the interface's number.
    pub(super) fn parse(order: Order, body: &[u8], interface: usize, clock: Clock) -> Option<Self> {
        let time = clock.nanoseconds(order.timestamp(body, 4)?);
        let mut options = Options::new();
        for (code, value) in Raw::new(order, body.get(12..)?).take(STATISTICS_OPTIONS) {
            let value = match code {
                2 | 3 => {
                    let Some(ticks) = order.timestamp(value, 0) else { continue };
                    crate::file::block::timestamp(clock.nanoseconds(ticks)).to_vec()
                }
                4..=8 => little(order, code, value, 8),
                _ => little(order, code, value, 1),
            };
            options.push((code, value));
        }
        Some(Self { interface, time, options })
    }

    /// Bytes of memory that its options take.
    pub(crate) fn memory(&self) -> usize {
        let option = size_of::<(u16, Vec<u8>)>();
        self.options.iter().map(|(_, value)| option + value.len()).sum()
    }

    /// The same statistics, once the interface's timestamps were corrected.
    pub(crate) fn corrected(&self) -> Self {
        let mut corrected = self.clone();
        corrected.options.retain(|option| !is_clock(option));
        corrected
    }

    /// The statistics as a block of the interface with this number.
    pub(crate) fn block(&self, interface: u32) -> Vec<u8> {
        let mut block = Block::new(5);
        block.u32(interface);
        block.timestamp(self.time);
        for (code, value) in &self.options {
            match *code {
                COMMENT => block.text(COMMENT, &[], &String::from_utf8_lossy(value)),
                code => block.option(code, value),
            }
        }
        block.finish()
    }
}

/// What a packet's options are in a little-endian file.
pub(crate) fn packet_options(big_endian: bool, options: &[u8], block: &mut Vec<u8>) {
    if !big_endian {
        // As they are, as far as they are whole.
        let whole = Raw::new(Order::Little, options).last_end();
        block.extend(options.get(..whole).unwrap_or_default());
    } else {
        for (code, value) in Raw::new(Order::Big, options) {
            let swaps = match code {
                2 | 6 => 4,
                4 | 5 => 8,
                _ => 1,
            };
            let value = little(Order::Big, code, value, swaps);
            block.extend(code.to_le_bytes());
            block.extend((value.len() as u16).to_le_bytes());
            block.extend(&value);
            block.resize(block.len().next_multiple_of(4), 0);
        }
    }
    if !block.is_empty() {
        block.extend([0; 4]);
    }
}

/// An option's value with the bytes of its numbers in little-endian order.
fn little(order: Order, code: u16, value: &[u8], size: usize) -> Vec<u8> {
    let mut value = value.to_vec();
    let size = if CUSTOM.contains(&code) { 4 } else { size };
    if order == Order::Big {
        let numbers = if CUSTOM.contains(&code) { 1 } else { usize::MAX };
        value.chunks_exact_mut(size).take(numbers).for_each(<[u8]>::reverse);
    }
    value
}

/// Options as they are in a file.
pub(super) struct Raw<'a> {
    order: Order,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Raw<'a> {
    pub(super) fn new(order: Order, bytes: &'a [u8]) -> Self {
        Self { order, bytes, at: 0 }
    }

    /// Where the last whole one ends.
    fn last_end(mut self) -> usize {
        while self.next().is_some() {}
        self.at
    }
}

impl<'a> Iterator for Raw<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (code, len) =
            (self.order.u16(self.bytes, self.at)?, self.order.u16(self.bytes, self.at + 2)?);
        if code == 0 {
            return None;
        }
        let from = self.at + 4;
        let value = self.bytes.get(from..from + usize::from(len))?;
        let end = from + usize::from(len).next_multiple_of(4);
        self.at = end.min(self.bytes.len());
        Some((code, value))
    }
}

/// How an interface's timestamps become nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) unit: Unit,
    /// What is added, in nanoseconds.
    offset: i128,
}

impl Default for Clock {
    fn default() -> Self {
        Self { unit: Unit::Many(1000), offset: 0 }
    }
}

/// What a timestamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// So many nanoseconds
    Many(u64),
    /// Such a part of a nanosecond
    Part(u64),
    /// A second, halved so often
    Halves(u32),
}

impl Unit {
    fn of(resolution: u8) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        match resolution & 0x80 {
            0 if exponent <= 9 => Self::Many(10u64.pow(9 - exponent)),
            // Smaller than any 64 bits of it count.
            0 => 10u64.checked_pow(exponent - 9).map_or(Self::Halves(128), Self::Part),
            _ => Self::Halves(exponent),
        }
    }
}

impl Clock {
    pub(super) fn unit(unit: Unit) -> Self {
        Self { unit, offset: 0 }
    }

    /// Nanoseconds since 1970, within what 64 bits hold.
    #[inline]
    pub(super) fn nanoseconds(self, ticks: u64) -> u64 {
        let time = match self.unit {
            Unit::Many(nanoseconds) => ticks.saturating_mul(nanoseconds),
            Unit::Part(parts) => ticks / parts,
            Unit::Halves(exponent) => {
                let time = (u128::from(ticks) * 1_000_000_000).checked_shr(exponent).unwrap_or(0);
                u64::try_from(time).unwrap_or(u64::MAX)
            }
        };
        match self.offset {
            0 => time,
            offset => (i128::from(time) + offset).clamp(0, u64::MAX.into()) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions() {
        let clock = |resolution, offset| Clock { unit: Unit::of(resolution), offset };
        assert_eq!(clock(0, 0).nanoseconds(7), 7_000_000_000);
        assert_eq!(clock(6, 0).nanoseconds(1_500_000), 1_500_000_000);
        assert_eq!(clock(9, -5).nanoseconds(12), 7);
        assert_eq!(clock(9, -50).nanoseconds(12), 0);
        assert_eq!(clock(12, 0).nanoseconds(1_999), 1);
        assert_eq!(clock(127, 0).nanoseconds(u64::MAX), 0);
        assert_eq!(clock(0x80 | 32, 0).nanoseconds(3 << 31), 1_500_000_000);
        assert_eq!(clock(0x80, 0).nanoseconds(u64::MAX), u64::MAX);
        assert_eq!(clock(0x80 | 127, 0).nanoseconds(u64::MAX), 0);
    }

    #[test]
    fn clocks_are_told_in_comments() {
        let comment = |text: &str| (COMMENT, text.as_bytes().to_vec());
        let options = vec![comment("of web1"), comment("clock-offset-ns=-1234567 error-ns=50000")];
        let interface = Interface { options, ..Interface::default() };
        assert_eq!(interface.clock_offset(), Some(-1_234_567));
        let corrected = interface.corrected(-1_234_567);
        assert_eq!(corrected.clock_offset(), None);
        let expected = [comment("of web1"), comment("clock-corrected-ns=-1234567")];
        assert_eq!(corrected.options, expected);
    }

    #[test]
    fn options_that_are_numbers_are_copied_as_they_are() {
        // if_fcslen, if_os
        let options = vec![(13, vec![0]), (13, vec![0xff]), (12, b"Linux".to_vec())];
        let interface = Interface { linktype: 1, options, ..Interface::default() };
        let block = interface.block();
        let read = Interface::parse(Order::Little, &block[8..block.len() - 4]).unwrap();
        assert_eq!(read.options, interface.options);
    }
}
