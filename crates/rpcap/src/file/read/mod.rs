//! Savefiles, read: pcapng and pcap of whatever program, compressed with zstd or not.
//!
//! ```
//! use rpcap::file::{Format, Meta, Record, Summary, Writer, read::{Event, Reader}};
//!
//! let mut writer = Writer::new(Vec::new(), Format::Pcapng, &Meta { linktype: 1, ..Meta::default() })?;
//! writer.write(&Record { secs: 7, nanos: 5, len: 60, data: &[0; 60], ..Record::default() })?;
//! let mut reader = Reader::of_bytes(writer.finish(&Summary::default())?)?;
//! while let Some(event) = reader.advance()? {
//!     if let (Event::Packet, Some(packet)) = (event, reader.packet()) {
//!         assert_eq!((packet.time, packet.data.len()), (7_000_000_005, 60));
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A file may be anybody's. Memory is bounded: by one buffer, which grows to the longest block, 16 MiB at most, and
//! 16 MiB of descriptions. A packet costs no allocation, it is lent from the buffer.

mod bytes;
mod error;
mod input;
mod interface;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use self::error::ReadError;
pub(crate) use self::input::finished;
pub(crate) use self::interface::packet_options;
pub use self::interface::{Interface, Statistics};

use self::bytes::Order;
use self::input::Input;
use self::interface::{Clock, Unit};
use super::index::{Index, Part};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// The longest block that is read.
const BLOCK_MAX: usize = 16 << 20;
/// Most interfaces of a file, and most bytes of their descriptions.
const INTERFACES: usize = 64 << 10;
const DESCRIPTIONS: usize = 16 << 20;

/// What comes next in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet: [`Reader::packet`].
    Packet,
    /// Statistics of an interface.
    Statistics(Box<Statistics>),
}

/// A packet of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Which interface of the file, from 0 on in all its sections.
    pub interface: usize,
    /// That interface.
    pub description: &'a Interface,
    /// Nanoseconds since 1970; 0 for a packet without a time.
    pub time: u64,
    /// Bytes that it had on the wire, not less than there are.
    pub len: u32,
    /// Bytes captured.
    pub data: &'a [u8],
    /// Options of the packet, as they are in the file.
    pub(crate) options: &'a [u8],
    /// Whether those have the more significant byte first.
    pub(crate) big_endian: bool,
}

/// Where the last packet is.
#[derive(Clone, Debug, Default)]
struct Place {
    interface: usize,
    time: u64,
    len: u32,
    data: Range<usize>,
    options: Range<usize>,
}

/// How a file is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of a buffer; a compressed file has two.
    pub buffer: usize,
    /// Open the file for each read, so that any number of readers needs no more descriptors than one.
    pub reopen: bool,
    /// Look for an index.
    pub index: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { buffer: 256 << 10, reopen: false, index: true }
    }
}

/// Reads a savefile.
pub struct Reader {
    path: PathBuf,
    input: Input,
    pcapng: bool,
    order: Order,
    interfaces: Vec<Interface>,
    /// Bytes that their descriptions had.
    described: usize,
    /// The first interface of the section.
    base: usize,
    /// What is still to be read, of a file that is not read as a whole.
    parts: VecDeque<Part>,
    index: Option<Index>,
    unfit: Option<&'static str>,
    /// Bytes that are not read thanks to it.
    skipped: u64,
    /// How far the clocks of interfaces were ahead, as the statistics at the end say.
    measured: BTreeMap<usize, i64>,
    place: Option<Place>,
    truncated: Option<u64>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let (input, file) = Input::open(path, settings.buffer, settings.reopen).map_err(io)?;
        let mut reader = Self::new(path, input);
        if let Some(mut file) = file.filter(|_| settings.index) {
            let index = Index::of(&mut file).map_err(io)?;
            if !matches!(index, Ok(Some(_))) {
                reader.measured = tail::offsets(&tail::statistics(&mut file).map_err(io)?);
            }
            // Its position is the reader's too.
            file.rewind().map_err(io)?;
            match index {
                Ok(Some(index)) => reader.indexed(index).map_err(io)?,
                Ok(None) => {}
                Err(reason) => reader.unfit = Some(reason),
            }
            if reader.index.is_some() {
                return Ok(reader);
            }
        }
        reader.begin()?;
        Ok(reader)
    }

    /// Reads what is in memory.
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self, ReadError> {
        let mut reader = Self::new(Path::new(""), Input::of_bytes(bytes, 4096));
        reader.begin()?;
        Ok(reader)
    }

    fn new(path: &Path, input: Input) -> Self {
        Self {
            path: path.to_owned(),
            input,
            pcapng: true,
            order: Order::Little,
            interfaces: Vec::new(),
            described: 0,
            base: 0,
            parts: VecDeque::new(),
            index: None,
            unfit: None,
            skipped: 0,
            measured: BTreeMap::new(),
            place: None,
            truncated: None,
        }
    }

    /// Looks what kind of file it is.
    fn begin(&mut self) -> Result<(), ReadError> {
        self.input.detect().or_else(|e| self.failed(e))?;
        self.ensure(24)?;
        let head = self.input.bytes();
        let Some(magic) = Order::Little.u32(head, 0) else {
            self.truncated = Some(0);
            return Ok(());
        };
        let pcap = [
            (0xa1b2_c3d4u32, Order::Little, Unit::Many(1000)),
            (0xa1b2_c3d4u32.swap_bytes(), Order::Big, Unit::Many(1000)),
            (0xa1b2_3c4d, Order::Little, Unit::Many(1)),
            (0xa1b2_3c4du32.swap_bytes(), Order::Big, Unit::Many(1)),
        ];
        if magic == SECTION_HEADER {
            return Ok(());
        }
        let Some((_, order, unit)) = pcap.into_iter().find(|(m, ..)| *m == magic) else {
            return self.broken(
                0,
                match head {
                    [0x1f, 0x8b, ..] => {
                        "it is compressed with gzip, which is not read: gunzip it first"
                    }
                    _ => "this is neither pcapng nor pcap",
                },
            );
        };
        (self.pcapng, self.order) = (false, order);
        let (Some(snaplen), Some(linktype)) = (order.u32(head, 16), order.u32(head, 20)) else {
            self.truncated = Some(0);
            return Ok(());
        };
        // What is above has flags.
        let linktype = linktype & 0xffff;
        let clock = Clock::unit(unit);
        self.interfaces.push(Interface { linktype, snaplen, clock, ..Interface::default() });
        self.input.take(24);
        Ok(())
    }

    /// What it reads.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file that were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.input.read()
    }

    /// Why the file's index is not used, if it has one and is not.
    pub fn unfit_index(&self) -> Option<&'static str> {
        self.unfit
    }

    /// Where the file broke off, within a block.
    pub fn truncated(&self) -> Option<u64> {
        self.truncated
    }

    /// The earliest and the latest timestamp, if the index tells: `Some(None)` if there is no packet.
    pub fn span(&self) -> Option<Option<(u64, u64)>> {
        self.index.as_ref().map(Index::span)
    }

    /// Takes what the file's index says of its interfaces, and all of it as what is to be read.
    fn indexed(&mut self, index: Index) -> io::Result<()> {
        let mut known = Self::new(&self.path, Input::of_bytes(index.blocks.clone(), 4096));
        if !matches!(known.advance(), Ok(None)) || known.truncated.is_some() {
            self.unfit = Some("it does not describe the interfaces");
            return Ok(());
        }
        (self.interfaces, self.described) = (known.interfaces, known.described);
        if index.compressed {
            self.input.decompress()?;
        }
        self.measured = tail::offsets(&index.statistics);
        self.parts.push_back(index.whole());
        self.index = Some(index);
        // Nothing: from there it goes on with the first part.
        self.input.seek(0..0)
    }

    /// Reads only what may have packets from `since` on and before `until`, of interfaces that are wanted. Without an
    /// index that is everything. Nothing must have been read yet.
    pub fn only(&mut self, since: u64, until: u64, wanted: impl FnMut(&Interface) -> bool) {
        if let Some(index) = &self.index {
            let any = self.interfaces.iter().any(wanted);
            self.parts = if any { index.parts(since, until).into() } else { VecDeque::new() };
            let bytes = |part: &Part| part.bytes.end - part.bytes.start;
            self.skipped = bytes(&index.whole()) - self.parts.iter().map(bytes).sum::<u64>();
        }
    }

    /// Bytes of the file that need not be read, as its index says.
    pub fn bytes_skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether it has an index that fits.
    pub fn is_indexed(&self) -> bool {
        self.index.is_some()
    }

    /// Whether the index says that there is nothing to be read.
    pub fn is_skipped(&self) -> bool {
        self.index.is_some() && self.parts.is_empty() && self.input.read() == 0
    }

    /// How far the clock of an interface was ahead: as it says itself, or its statistics at the end of the file.
    pub fn clock_offset(&self, interface: usize) -> Option<i64> {
        let described = || self.interfaces.get(interface)?.clock_offset();
        let measured = || self.measured.get(&interface).copied();
        // What was measured last was measured best. But the end of a file is of its last section, and only one with
        // an index is known to have no other.
        match self.index {
            Some(_) => measured().or_else(described),
            None => described().or_else(measured),
        }
    }

    /// The smallest and the largest of these offsets, of the interfaces that are known by now.
    pub fn clock_offsets(&self) -> Option<(i64, i64)> {
        let offsets = (0..self.interfaces.len()).map(|i| self.clock_offset(i).unwrap_or(0));
        offsets.fold(None, |all, o| match all {
            None => Some((o, o)),
            Some((low, high)) => Some((o.min(low), o.max(high))),
        })
    }

    /// Reads on. `None` is the end of the file, or of what there is of it.
    pub fn advance(&mut self) -> Result<Option<Event>, ReadError> {
        self.place = None;
        if self.truncated.is_some() {
            return Ok(None);
        }
        if self.pcapng { self.advance_pcapng() } else { self.advance_pcap() }
    }

    /// The packet that was read last.
    #[inline]
    pub fn packet(&self) -> Option<Packet<'_>> {
        let place = self.place.as_ref()?;
        Some(Packet {
            interface: place.interface,
            description: self.interfaces.get(place.interface)?,
            time: place.time,
            len: place.len,
            data: self.input.slice(place.data.clone()),
            options: self.input.slice(place.options.clone()),
            big_endian: self.order == Order::Big,
        })
    }

    fn advance_pcap(&mut self) -> Result<Option<Event>, ReadError> {
        if !self.ensure(16)? {
            return self.end();
        }
        let (order, head) = (self.order, self.input.bytes());
        let field = |at| order.u32(head, at).unwrap_or_default();
        let (secs, fraction, caplen, len) = (field(0), field(4), field(8) as usize, field(12));
        if caplen > BLOCK_MAX - 16 {
            return self.broken(8, "a packet is longer than any that is read (16 MiB)");
        }
        if !self.ensure(16 + caplen)? {
            return self.end();
        }
        let at = self.input.take(16 + caplen);
        let unit = match self.interfaces.first().map(|i| i.clock.unit) {
            Some(Unit::Many(nanoseconds)) => nanoseconds,
            _ => 1,
        };
        let time = u64::from(secs) * 1_000_000_000 + u64::from(fraction) * unit;
        let data = at.start + 16..at.end;
        let len = len.max(caplen as u32);
        self.place = Some(Place { interface: 0, time, len, data, options: 0..0 });
        Ok(Some(Event::Packet))
    }

    fn advance_pcapng(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            let Some((kind, body)) = self.block()? else {
                return Ok(None);
            };
            match kind {
                6 | 3 | 2 => {
                    let Some(place) = self.place_of(kind, body.clone()) else {
                        return self.faulty(
                            &body,
                            "a packet that is not as its block says, or of no interface",
                        );
                    };
                    self.place = Some(place);
                    return Ok(Some(Event::Packet));
                }
                1 => {
                    let bytes = self.input.slice(body.clone());
                    self.described += bytes.len();
                    let Some(interface) = Interface::parse(self.order, bytes) else {
                        return self.faulty(&body, "the description of an interface is too short");
                    };
                    if self.interfaces.len() >= INTERFACES || self.described > DESCRIPTIONS {
                        return self.faulty(
                            &body,
                            "there are more interfaces than are read (65,536, 16 MiB)",
                        );
                    }
                    self.interfaces.push(interface);
                }
                5 => {
                    let bytes = self.input.slice(body);
                    let number = self.order.u32(bytes, 0).map_or(usize::MAX, |n| n as usize);
                    let interface = self.base.saturating_add(number);
                    let clock = self.interfaces.get(interface).map(|i| i.clock);
                    if let Some(statistics) = clock
                        .and_then(|clock| Statistics::parse(self.order, bytes, interface, clock))
                    {
                        return Ok(Some(Event::Statistics(Box::new(statistics))));
                    }
                }
                SECTION_HEADER => {
                    let version = self.order.u16(self.input.slice(body.clone()), 4);
                    if version != Some(1) {
                        return self.faulty(&body, "a version of pcapng that is not 1");
                    }
                    if !self.interfaces.is_empty() {
                        // The end is of this section, or of a later one.
                        self.measured.clear();
                    }
                    self.base = self.interfaces.len();
                }
                // What else there is says nothing of packets, or is not meant for us.
                _ => {}
            }
        }
    }

    /// Where a packet is in the body of its block.
    #[inline]
    fn place_of(&self, kind: u32, body: Range<usize>) -> Option<Place> {
        let (order, bytes) = (self.order, self.input.slice(body.clone()));
        let (number, header) = match kind {
            6 => (order.u32(bytes, 0)? as usize, 20),
            3 => (0, 4),
            // The older block, which has the number in two bytes.
            _ => (order.u16(bytes, 0)?.into(), 20),
        };
        let interface = self.base + number;
        let description = self.interfaces.get(interface)?;
        let (time, caplen, len) = match kind {
            3 => {
                let len = order.u32(bytes, 0)?;
                let snaplen = match description.snaplen {
                    0 => u32::MAX,
                    snaplen => snaplen,
                };
                (0, len.min(snaplen).min(bytes.len() as u32 - 4), len)
            }
            _ => {
                let time = description.clock.nanoseconds(order.timestamp(bytes, 4)?);
                (time, order.u32(bytes, 12)?, order.u32(bytes, 16)?)
            }
        };
        let padded = (caplen as usize).checked_next_multiple_of(4)?;
        if padded > bytes.len().checked_sub(header)? {
            return None;
        }
        let from = body.start + header;
        let data = from..from + caplen as usize;
        let options = if kind == 3 { 0..0 } else { from + padded..body.end };
        Some(Place { interface, time, len: len.max(caplen), data, options })
    }

    /// The next block: its type, and where it is without type and lengths.
    #[inline]
    fn block(&mut self) -> Result<Option<(u32, Range<usize>)>, ReadError> {
        while !self.ensure(12)? {
            if self.input.breaks_off() {
                return self.end();
            }
            let Some(part) = self.parts.pop_front() else {
                return Ok(None);
            };
            // Those that were described later are described again.
            self.interfaces.truncate(part.interfaces as usize);
            self.described = 0;
            self.input.seek(part.bytes).or_else(|e| self.failed(e))?;
        }
        let head = self.input.bytes();
        let kind = self.order.u32(head, 0).unwrap_or_default();
        // The same in both orders.
        if kind == SECTION_HEADER {
            self.order = match (Order::Little.u32(head, 8), Order::Big.u32(head, 8)) {
                (Some(BYTE_ORDER), _) => Order::Little,
                (_, Some(BYTE_ORDER)) => Order::Big,
                _ => return self.broken(8, "the byte order of a section is not told"),
            };
        }
        let length = self.order.u32(self.input.bytes(), 4).unwrap_or_default() as usize;
        if length < 12 || !length.is_multiple_of(4) || length > BLOCK_MAX {
            return self.broken(4, "the length of a block is none (12 bytes to 16 MiB)");
        }
        if !self.ensure(length)? {
            return self.end();
        }
        if self.order.u32(self.input.bytes(), length - 4) != Some(length as u32) {
            return self.broken(length - 4, "the two lengths of a block differ");
        }
        let at = self.input.take(length);
        Ok(Some((kind, at.start + 8..at.end - 4)))
    }

    #[inline]
    fn ensure(&mut self, count: usize) -> Result<bool, ReadError> {
        match self.input.ensure(count) {
            Ok(enough) => Ok(enough),
            Err(e) => self.failed(e),
        }
    }

    /// The file ends, perhaps too early.
    fn end<T>(&mut self) -> Result<Option<T>, ReadError> {
        if self.input.breaks_off() {
            self.truncated = Some(self.input.taken());
        }
        Ok(None)
    }

    /// The system does not let the file be read, or it cannot be decompressed.
    fn failed<T>(&self, source: io::Error) -> Result<T, ReadError> {
        match source.kind() {
            io::ErrorKind::InvalidData => self.broken(0, &format!("zstd: {source}")),
            _ => Err(ReadError::Io { path: self.path.clone(), source }),
        }
    }

    /// What comes next is broken.
    fn broken<T>(&self, ahead: usize, what: &str) -> Result<T, ReadError> {
        Err(ReadError::Broken {
            path: self.path.clone(),
            at: self.input.taken() + ahead as u64,
            unpacked: self.input.is_compressed(),
            what: what.to_owned(),
        })
    }

    /// The block with this body is broken.
    fn faulty<T>(&self, body: &Range<usize>, what: &str) -> Result<T, ReadError> {
        Err(ReadError::Broken {
            path: self.path.clone(),
            at: self.input.taken() - (body.len() as u64 + 12),
            unpacked: self.input.is_compressed(),
            what: what.to_owned(),
        })
    }
}
