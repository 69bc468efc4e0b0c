use std::io::{self, BufWriter, Write};

use super::block::{self, Block, Options};
use super::{BUFFER, Error, Loss, Meta, Record, Summary, linktype};
use crate::clock::Offset;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Options that any block may have.
const COMMENT: u16 = 1;

/// Size of an enhanced packet block without the packet, its padding and the length that ends it.
const PACKET_HEADER: usize = 28;

/// Writes the pcapng format, version 1.0: one section with one interface.
#[derive(Debug)]
pub(super) struct Writer<W: Write> {
    out: BufWriter<W>,
    snaplen: u32,
}

impl<W: Write> Writer<W> {
    /// Goes on behind the section header.
    pub(super) fn new(out: W, meta: &Meta) -> Result<Self, Error> {
        let interface = interface_description(meta)?;
        let mut out = BufWriter::with_capacity(BUFFER, out);
        out.write_all(&interface)?;
        Ok(Writer { out, snaplen: meta.effective_snaplen() })
    }

    pub(super) fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        packet(&mut self.out, 0, self.snaplen, record)
    }

    pub(super) fn write_summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.out.write_all(&interface_statistics(0, summary))
    }

    pub(super) fn buffer(&mut self) -> &mut BufWriter<W> {
        &mut self.out
    }

    pub(super) fn into_buffer(self) -> BufWriter<W> {
        self.out
    }
}

/// Appends a packet of an interface of the section, as a block.
pub(super) fn packet(
    out: &mut impl Write,
    interface: u32,
    snaplen: u32,
    record: &Record<'_>,
) -> io::Result<()> {
    let (data, captured, original) = record.cut(snaplen);
    let padding = data.len().next_multiple_of(4) - data.len();
    let options = record.loss.map(loss_options).unwrap_or_default();
    // Cannot overflow: the snaplen is at most MAX_SNAPLEN.
    let total = (PACKET_HEADER + data.len() + padding + options.len() + 4) as u32;

    let mut header = [0; PACKET_HEADER];
    header[0..4].copy_from_slice(&ENHANCED_PACKET.to_le_bytes());
    header[4..8].copy_from_slice(&total.to_le_bytes());
    header[8..12].copy_from_slice(&interface.to_le_bytes());
    header[12..20].copy_from_slice(&block::timestamp(record.timestamp()));
    header[20..24].copy_from_slice(&captured.to_le_bytes());
    header[24..28].copy_from_slice(&original.to_le_bytes());
    out.write_all(&header)?;
    out.write_all(data)?;
    out.write_all(&[0; 3][..padding])?;
    out.write_all(&options)?;
    out.write_all(&total.to_le_bytes())
}

/// What a packet's block says of those that are missing in front of it.
#[cold]
fn loss_options(loss: Loss) -> Vec<u8> {
    const DROPPED: u16 = 4;
    let mut options = Options::default();
    options.add(DROPPED, &loss.total().to_le_bytes());
    options.text(COMMENT, &[], &loss.to_string());
    options.finish()
}

/// The block that a section begins with.
pub(super) fn section_header() -> Vec<u8> {
    const BYTE_ORDER: u32 = 0x1a2b_3c4d;
    const HARDWARE: u16 = 2;
    const OS: u16 = 3;
    const APPLICATION: u16 = 4;

    let mut block = Block::new(SECTION_HEADER);
    block.u32(BYTE_ORDER);
    block.u16(1);
    block.u16(0);
    // Length of the section: not known in advance.
    block.u32(u32::MAX);
    block.u32(u32::MAX);
    block.text(HARDWARE, &[], std::env::consts::ARCH);
    block.text(OS, &[], std::env::consts::OS);
    block.text(APPLICATION, &[], concat!("rpcap ", env!("CARGO_PKG_VERSION")));
    block.finish()
}

/// The block that describes an interface: the first of a section is number 0.
pub(super) fn interface_description(meta: &Meta) -> Result<Vec<u8>, Error> {
    const NAME: u16 = 2;
    const DESCRIPTION: u16 = 3;
    const TIMESTAMP_RESOLUTION: u16 = 9;
    const FILTER: u16 = 11;
    const OS: u16 = 12;
    const HARDWARE: u16 = 15;
    /// Timestamps count units of 10^-9 seconds.
    const NANOSECONDS: u8 = 9;
    /// The filter is text, not bytecode.
    const FILTER_TEXT: u8 = 0;

    let linktype = linktype::from_dlt(meta.linktype);
    let linktype = u16::try_from(linktype).map_err(|_| Error::LinkType(linktype))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut block = Block::new(INTERFACE_DESCRIPTION);
    block.u16(linktype);
    block.u16(0);
    block.u32(meta.effective_snaplen());
    block.text(NAME, &[], &meta.interface);
    block.text(DESCRIPTION, &[], &text(&meta.description));
    block.option(TIMESTAMP_RESOLUTION, &[NANOSECONDS]);
    block.text(FILTER, &[FILTER_TEXT], &text(&meta.filter));
    block.text(OS, &[], &text(&meta.os));
    block.text(HARDWARE, &[], &text(&meta.hardware));
    block.text(COMMENT, &[], &text(&meta.comment));
    clock(&mut block, meta.clock);
    Ok(block.finish())
}

/// A comment of its own, so that programs find it.
fn clock(block: &mut Block, offset: Option<Offset>) {
    if let Some(offset) = offset {
        block.text(COMMENT, &[], &offset.to_string());
    }
}

/// The block with the statistics of an interface.
pub(super) fn interface_statistics(interface: u32, summary: &Summary) -> Vec<u8> {
    const START: u16 = 2;
    const END: u16 = 3;
    const RECEIVED: u16 = 4;
    const DROPPED: u16 = 5;
    const FILTER_ACCEPTED: u16 = 6;
    const OS_DROPPED: u16 = 7;
    const DELIVERED: u16 = 8;

    let mut block = Block::new(INTERFACE_STATISTICS);
    block.u32(interface);
    block.timestamp(summary.end.or(summary.start).unwrap_or(0));
    for (code, moment) in [(START, summary.start), (END, summary.end)] {
        if let Some(moment) = moment {
            block.option(code, &block::timestamp(moment));
        }
    }
    block.counter(RECEIVED, summary.received);
    block.counter(DROPPED, summary.if_dropped);
    block.counter(FILTER_ACCEPTED, summary.filter_accepted);
    block.counter(OS_DROPPED, summary.os_dropped);
    block.counter(DELIVERED, summary.delivered);
    block.text(COMMENT, &[], &summary.comment);
    clock(&mut block, summary.clock);
    block.finish()
}
