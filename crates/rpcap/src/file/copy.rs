//! Packets of files on their way to another file, or to a person.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Write};

use jiff::Timestamp;

use super::read::{Interface, Packet, Statistics, packet_options};
use super::{BUFFER, Format, MAX_SNAPLEN, block, pcapng};
use crate::file::linktype::to_dlt;
use crate::print;
use crate::text::harmless;

/// Why a packet cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The output does not take it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// pcap has one link type for all packets.
    #[error("packets of link type {0} and of {1} do not fit into one pcap file; write pcapng")]
    LinkTypes(u32, u32),
}

/// A packet without its interface, perhaps with another time than the file has.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a> {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Bytes that it had on the wire.
    pub len: u32,
    /// Bytes captured.
    pub data: &'a [u8],
    /// Its options as they were in a file, and whether with the more significant byte first.
    pub(crate) options: (&'a [u8], bool),
}

impl<'a> Copied<'a> {
    /// The packet at another time.
    pub fn at(time: u64, packet: &Packet<'a>) -> Self {
        let options = (packet.options, packet.big_endian);
        Self { time, len: packet.len, data: packet.data, options }
    }
}

/// Something that takes packets of many interfaces.
pub trait Target {
    /// An interface that packets will come from; its number.
    fn interface(&mut self, interface: &Interface) -> Result<u32, CopyError>;
    /// A packet of an interface.
    fn packet(&mut self, interface: u32, packet: &Copied<'_>) -> Result<(), CopyError>;
    /// Statistics of an interface, from the file of this name.
    fn statistics(&mut self, interface: u32, statistics: &Statistics) -> Result<(), CopyError>;
    /// The end.
    fn finish(&mut self) -> Result<(), CopyError>;
}

/// Writes a savefile.
#[derive(Debug)]
pub struct Copier<W: Write> {
    out: BufWriter<W>,
    format: Format,
    /// Interfaces by their descriptions: each is written once, in however many files it was.
    known: HashMap<Vec<u8>, u32>,
    linktype: Option<u32>,
    options: Vec<u8>,
}

impl<W: Write> Copier<W> {
    /// A file on `out`, which need not be buffered.
    pub fn new(out: W, format: Format) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        if format == Format::Pcapng {
            out.write_all(&pcapng::section_header())?;
        }
        Ok(Self { out, format, known: HashMap::new(), linktype: None, options: Vec::new() })
    }

    /// What it was written to.
    pub fn into_inner(self) -> io::Result<W> {
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn pcap_header(&mut self, linktype: u32) -> io::Result<()> {
        let magic: u32 = if self.format == Format::Pcap { 0xa1b2_c3d4 } else { 0xa1b2_3c4d };
        for number in [magic, 2 | 4 << 16, 0, 0, MAX_SNAPLEN, linktype] {
            self.out.write_all(&number.to_le_bytes())?;
        }
        Ok(())
    }

    fn pcap_packet(&mut self, packet: &Copied<'_>, data: &[u8]) -> io::Result<()> {
        let nanos = (packet.time % 1_000_000_000) as u32;
        let secs = u32::try_from(packet.time / 1_000_000_000).unwrap_or(u32::MAX);
        let fraction = if self.format == Format::Pcap { nanos / 1000 } else { nanos };
        let mut header = [0; 16];
        let fields = [secs, fraction, data.len() as u32, packet.len];
        for (field, value) in header.chunks_exact_mut(4).zip(fields) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        self.out.write_all(&header)?;
        self.out.write_all(data)
    }
}

impl<W: Write> Target for Copier<W> {
    fn interface(&mut self, interface: &Interface) -> Result<u32, CopyError> {
        if self.format != Format::Pcapng {
            return match self.linktype.replace(interface.linktype) {
                Some(first) if first != interface.linktype => {
                    Err(CopyError::LinkTypes(first, interface.linktype))
                }
                Some(_) => Ok(0),
                None => Ok(self.pcap_header(interface.linktype).map(|()| 0)?),
            };
        }
        let block = interface.block();
        if let Some(number) = self.known.get(&block) {
            return Ok(*number);
        }
        let number = self.known.len() as u32;
        self.out.write_all(&block)?;
        self.known.insert(block, number);
        Ok(number)
    }

    fn packet(&mut self, interface: u32, packet: &Copied<'_>) -> Result<(), CopyError> {
        // Readers built on libpcap refuse a longer one.
        let data = &packet.data[..packet.data.len().min(MAX_SNAPLEN as usize)];
        if self.format != Format::Pcapng {
            return Ok(self.pcap_packet(packet, data)?);
        }
        self.options.clear();
        if !packet.options.0.is_empty() {
            packet_options(packet.options.1, packet.options.0, &mut self.options);
        }
        let padding = data.len().next_multiple_of(4) - data.len();
        // Of a block of at most 16 MiB.
        let total = (32 + data.len() + padding + self.options.len()) as u32;
        let mut header = [0; 28];
        header[0..4].copy_from_slice(&6u32.to_le_bytes());
        header[4..8].copy_from_slice(&total.to_le_bytes());
        header[8..12].copy_from_slice(&interface.to_le_bytes());
        header[12..20].copy_from_slice(&block::timestamp(packet.time));
        header[20..24].copy_from_slice(&(data.len() as u32).to_le_bytes());
        header[24..28].copy_from_slice(&packet.len.to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(data)?;
        self.out.write_all(&[0; 3][..padding])?;
        self.out.write_all(&self.options)?;
        Ok(self.out.write_all(&total.to_le_bytes())?)
    }

    fn statistics(&mut self, interface: u32, statistics: &Statistics) -> Result<(), CopyError> {
        match self.format {
            Format::Pcapng => Ok(self.out.write_all(&statistics.block(interface))?),
            Format::Pcap | Format::PcapNanoseconds => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), CopyError> {
        if self.format != Format::Pcapng && self.linktype.is_none() {
            // A file without packets has to be of some link type.
            self.pcap_header(1)?;
        }
        Ok(self.out.flush()?)
    }
}

/// What stands in a line beside the time of day and the packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns {
    /// The date, in front of the time.
    pub date: bool,
    /// The interface's name, behind the time.
    pub name: bool,
}

/// Writes a line for every packet.
#[derive(Debug)]
pub struct Lines<W> {
    to: W,
    columns: Columns,
    /// Link types of the interfaces and what lines say of them, each once in however many files it was.
    interfaces: Vec<(u32, String)>,
    line: String,
}

impl<W: Write> Lines<W> {
    /// Lines go to `to`, which should be buffered.
    pub fn new(to: W, columns: Columns) -> Self {
        Self { to, columns, interfaces: Vec::new(), line: String::new() }
    }

    fn format(&mut self, interface: u32, packet: &Copied<'_>) -> fmt::Result {
        let (secs, nanos) = (packet.time / 1_000_000_000, (packet.time % 1_000_000_000) as u32);
        let (linktype, name) = self
            .interfaces
            .get(interface as usize)
            .map_or((0, ""), |(linktype, name)| (*linktype, name));
        let line = &mut self.line;
        line.clear();
        if self.columns.date {
            // 64 bits of nanoseconds end in the year 2554.
            let time = Timestamp::from_second(secs as i64).unwrap_or_default();
            write!(line, "{} ", time.strftime("%Y-%m-%d"))?;
        }
        print::time(line, secs, nanos)?;
        line.push_str(name);
        print::packet(line, linktype, packet.len, packet.data)?;
        line.write_char('\n')
    }
}

impl<W: Write> Target for Lines<W> {
    fn interface(&mut self, interface: &Interface) -> Result<u32, CopyError> {
        let mut name = String::new();
        if self.columns.name {
            let known = interface.name().filter(|name| !name.is_empty());
            name = harmless(known.as_deref().unwrap_or("-").as_bytes());
            name.push_str(": ");
        }
        let new = (to_dlt(interface.linktype), name);
        let number = self.interfaces.iter().position(|known| *known == new);
        if number.is_none() {
            self.interfaces.push(new);
        }
        Ok(number.unwrap_or(self.interfaces.len() - 1) as u32)
    }

    fn packet(&mut self, interface: u32, packet: &Copied<'_>) -> Result<(), CopyError> {
        self.format(interface, packet)
            .map_err(|_| io::Error::other("a packet cannot be formatted"))?;
        Ok(self.to.write_all(self.line.as_bytes())?)
    }

    fn statistics(&mut self, _: u32, _: &Statistics) -> Result<(), CopyError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), CopyError> {
        Ok(self.to.flush()?)
    }
}
