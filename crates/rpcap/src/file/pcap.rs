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
        let linktype = linktype::from_dlt(meta.linktype);
        // The upper half of the field holds flags.
        let linktype = u16::try_from(linktype).map_err(|_| Error::LinkType(linktype))?;
        let snaplen = meta.effective_snaplen();
        let mut out = BufWriter::with_capacity(BUFFER, out);
        out.write_all(&resolution.magic().to_le_bytes())?;
        out.write_all(&2u16.to_le_bytes())?;
        out.write_all(&4u16.to_le_bytes())?;
        // Time zone and accuracy, which nobody sets.
        out.write_all(&[0; 8])?;
        out.write_all(&snaplen.to_le_bytes())?;
        out.write_all(&u32::from(linktype).to_le_bytes())?;
        Ok(Writer { out, snaplen, resolution })
    }

    pub(super) fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let timestamp = record.timestamp();
        let nanos = (timestamp % 1_000_000_000) as u32;
        // Unsigned in all current readers: good until 2106, then stuck.
        let secs = u32::try_from(timestamp / 1_000_000_000).unwrap_or(u32::MAX);
        let fraction = match self.resolution {
            Resolution::Microseconds => nanos / 1000,
            Resolution::Nanoseconds => nanos,
        };
        let (data, captured, original) = record.cut(self.snaplen);
        let mut header = [0; 16];
        for (field, value) in header.chunks_exact_mut(4).zip([secs, fraction, captured, original]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        self.out.write_all(&header)?;
        self.out.write_all(data)
    }

    pub(super) fn buffer(&mut self) -> &mut BufWriter<W> {
        &mut self.out
    }

    pub(super) fn into_buffer(self) -> BufWriter<W> {
        self.out
    }
}
