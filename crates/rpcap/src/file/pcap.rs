use std::io::{self, BufWriter, Write};

use super::{BUFFER, Error, Meta, Record, linktype};

/// Writes the pcap format, version 2.4.
#[derive(Debug)]
pub(super) struct Writer<W: Write> {
    out: BufWriter<W>,
    snaplen: u32,
    resolution: Resolution,
}

/// Unit of the fractions of a second.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resolution {
    Microseconds,
    Nanoseconds,
}

impl Resolution {
    fn magic(self) -> u32 {
        match self {
            Resolution::Microseconds => 0xa1b2_c3d4,
            Resolution::Nanoseconds => 0xa1b2_3c4d,
        }
    }
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, resolution: Resolution, meta: &Meta) -> Result<Self, Error> {
        let snaplen = meta.effective_snaplen();
        let header = header(resolution, snaplen, meta)?;
        let mut out = BufWriter::with_capacity(BUFFER, out);
        out.write_all(&header)?;
        Ok(Writer { out, snaplen, resolution })
    }

    pub(super) fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        packet(&mut self.out, self.resolution, self.snaplen, record)
    }

    pub(super) fn buffer(&mut self) -> &mut BufWriter<W> {
        &mut self.out
    }

    pub(super) fn into_buffer(self) -> BufWriter<W> {
        self.out
    }
}

/// What a file begins with.
pub(super) fn header(resolution: Resolution, snaplen: u32, meta: &Meta) -> Result<[u8; 24], Error> {
    let linktype = linktype::from_dlt(meta.linktype);
    // The upper half of the field holds flags.
    let linktype = u16::try_from(linktype).map_err(|_| Error::LinkType(linktype))?;
    let mut header = [0; 24];
    header[0..4].copy_from_slice(&resolution.magic().to_le_bytes());
    header[4..6].copy_from_slice(&2u16.to_le_bytes());
    header[6..8].copy_from_slice(&4u16.to_le_bytes());
    // Then time zone and accuracy, which nobody sets.
    header[16..20].copy_from_slice(&snaplen.to_le_bytes());
    header[20..24].copy_from_slice(&u32::from(linktype).to_le_bytes());
    Ok(header)
}

/// Appends a packet.
pub(super) fn packet(
    out: &mut impl Write,
    resolution: Resolution,
    snaplen: u32,
    record: &Record<'_>,
) -> io::Result<()> {
    let timestamp = record.timestamp();
    let nanos = (timestamp % 1_000_000_000) as u32;
    // Unsigned in all current readers: good until 2106, then stuck.
    let secs = u32::try_from(timestamp / 1_000_000_000).unwrap_or(u32::MAX);
    let fraction = match resolution {
        Resolution::Microseconds => nanos / 1000,
        Resolution::Nanoseconds => nanos,
    };
    let (data, captured, original) = record.cut(snaplen);
    let mut header = [0; 16];
    for (field, value) in header.chunks_exact_mut(4).zip([secs, fraction, captured, original]) {
        field.copy_from_slice(&value.to_le_bytes());
    }
    out.write_all(&header)?;
    out.write_all(data)
}
