use std::io::{self, BufWriter, Write};

use super::{BUFFER, Error, Meta, Record, Summary, pcapng};

/// Writes pcapng of any number of interfaces that come as they like, for a program that reads
/// along.
///
/// Output is gathered until [`Stream::flush`]. After an error it may end within a block, and the
/// stream is of no more use.
#[derive(Debug)]
pub struct Stream<W: Write> {
    out: BufWriter<W>,
    /// The snaplen of each interface.
    snaplens: Vec<u32>,
}

impl<W: Write> Stream<W> {
    /// Starts a stream on `out`, which need not be buffered.
    pub fn new(out: W) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        out.write_all(&pcapng::section_header())?;
        Ok(Self { out, snaplens: Vec::new() })
    }

    /// Begins another section, whose interfaces are numbered anew.
    pub fn restart(&mut self) -> io::Result<()> {
        self.snaplens.clear();
        self.out.write_all(&pcapng::section_header())
    }

    /// Adds an interface; its number.
    pub fn add(&mut self, meta: &Meta) -> Result<u32, Error> {
        self.out.write_all(&pcapng::interface_description(meta)?)?;
        self.snaplens.push(meta.effective_snaplen());
        Ok(self.snaplens.len() as u32 - 1)
    }

    /// Appends a packet of an interface that was added.
    pub fn write(&mut self, interface: u32, record: &Record<'_>) -> io::Result<()> {
        let Some(snaplen) = self.snaplens.get(interface as usize) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        pcapng::packet(&mut self.out, interface, *snaplen, record)
    }

    /// Appends what became of an interface's packets.
    pub fn write_summary(&mut self, interface: u32, summary: &Summary) -> io::Result<()> {
        self.out.write_all(&pcapng::interface_statistics(interface, summary))
    }

    /// Hands on everything written so far, in whole blocks.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Stream<Vec<u8>> {
    /// Everything written since the last time, in whole blocks.
    pub fn take(&mut self) -> io::Result<Vec<u8>> {
        self.flush()?;
        Ok(std::mem::take(self.out.get_mut()))
    }
}
