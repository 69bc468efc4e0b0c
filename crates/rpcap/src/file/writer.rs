use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::{Error, Format, Meta, Record, Summary, pcap, pcapng};

/// Writes a savefile; see the [module](super) for how.
///
/// After an error the output may end within a record, and the writer is of no more use. The error
/// is [`io::ErrorKind::BrokenPipe`] if whoever read the output has gone, an ordinary way to end for
/// a program that feeds another one.
#[derive(Debug)]
pub struct Writer<W: Write = File>(Inner<W>);

#[derive(Debug)]
enum Inner<W: Write> {
    Pcapng(pcapng::Writer<W>),
    Pcap(pcap::Writer<W>),
}

impl Writer {
    /// Starts a savefile at `path`, replacing what was there, or on standard output if `path` is
    /// `-`. [`Format::of`] finds the format that goes with a path.
    pub fn open(path: &Path, format: Format, meta: &Meta) -> Result<Writer, Error> {
        Writer::begin(path, format)?.describe(meta)
    }

    /// The same, the interface to be described later. What can be written before that is, so that a
    /// full disk shows.
    pub fn begin(path: &Path, format: Format) -> Result<Begun, Error> {
        let file = if path.as_os_str() == "-" { stdout() } else { File::create(path) };
        let out = file.map_err(|source| Error::Create { path: path.into(), source })?;
        Begun::new(out, format)
    }
}

/// A savefile whose interface is not described yet.
#[derive(Debug)]
pub struct Begun<W: Write = File> {
    out: W,
    format: Format,
}

impl<W: Write> Begun<W> {
    fn new(mut out: W, format: Format) -> Result<Self, Error> {
        if format == Format::Pcapng {
            out.write_all(&pcapng::section_header())?;
        }
        Ok(Self { out, format })
    }

    /// Describes the interface, and flushes.
    pub fn describe(self, meta: &Meta) -> Result<Writer<W>, Error> {
        use pcap::Resolution::{Microseconds, Nanoseconds};
        let Self { out, format } = self;
        let mut writer = Writer(match format {
            Format::Pcapng => Inner::Pcapng(pcapng::Writer::new(out, meta)?),
            Format::Pcap => Inner::Pcap(pcap::Writer::new(out, Microseconds, meta)?),
            Format::PcapNanoseconds => Inner::Pcap(pcap::Writer::new(out, Nanoseconds, meta)?),
        });
        writer.flush()?;
        Ok(writer)
    }
}

impl<W: Write> Writer<W> {
    /// Starts a savefile on `out`, and flushes, for readers that do nothing before they know the
    /// link type. `out` need not be buffered.
    pub fn new(out: W, format: Format, meta: &Meta) -> Result<Writer<W>, Error> {
        Begun::new(out, format)?.describe(meta)
    }

    /// Appends a packet.
    pub fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        match &mut self.0 {
            Inner::Pcapng(writer) => writer.write(record),
            Inner::Pcap(writer) => writer.write(record),
        }
    }

    /// Hands on everything written so far, in whole records.
    pub fn flush(&mut self) -> io::Result<()> {
        let buffer = match &mut self.0 {
            Inner::Pcapng(writer) => writer.buffer(),
            Inner::Pcap(writer) => writer.buffer(),
        };
        buffer.flush()
    }

    /// Ends the savefile with `summary` if the format has a place for it, and flushes.
    pub fn finish(mut self, summary: &Summary) -> io::Result<W> {
        if let Inner::Pcapng(writer) = &mut self.0 {
            writer.write_summary(summary)?;
        }
        self.flush()?;
        let buffer: BufWriter<W> = match self.0 {
            Inner::Pcapng(writer) => writer.into_buffer(),
            Inner::Pcap(writer) => writer.into_buffer(),
        };
        buffer.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Standard output without the buffer of [`io::stdout`], which looks for line breaks.
#[cfg(unix)]
pub(crate) fn stdout() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Standard output without the buffer of [`io::stdout`], which looks for line breaks.
#[cfg(windows)]
pub(crate) fn stdout() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}
