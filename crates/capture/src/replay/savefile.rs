//! Reading `.pcap` savefiles (draft-ietf-opsawg-pcap): a header of 24 bytes, then packets with 16 bytes each in front.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{Error, LinkType, MAX_SNAPLEN, Timestamp};

/// The first four bytes, in the writer's byte order, where time stamps have microseconds.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
/// The same for nanoseconds.
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// The first four bytes of the other format, which this does not read.
const PCAPNG: u32 = 0x0a0d_0d0a;

/// A savefile, and the bytes of the packet read last.
#[derive(Debug)]
pub(super) struct Savefile {
    path: PathBuf,
    file: BufReader<File>,
    big_endian: bool,
    /// Nanoseconds in a unit of the time stamps' second half.
    unit: u32,
    linktype: LinkType,
    data: Vec<u8>,
}

/// What is in front of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) ts: Timestamp,
    /// Bytes on the wire.
    pub(super) len: u32,
}

impl Savefile {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |reason: String| Error::Savefile { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let mut file = BufReader::with_capacity(64 << 10, file);
        let mut header = [0; 24];
        file.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => failed("too short for a savefile".into()),
            _ => failed(error.to_string()),
        })?;
        let magic = u32_at(&header, 0, true);
        let (big_endian, unit) = match (magic, magic.swap_bytes()) {
            (MICROSECONDS, _) => (true, 1000),
            (_, MICROSECONDS) => (false, 1000),
            (NANOSECONDS, _) => (true, 1),
            (_, NANOSECONDS) => (false, 1),
            (PCAPNG, _) => {
                return Err(failed("a pcapng file: convert it (editcap -F pcap)".into()));
            }
            _ => return Err(failed("no savefile: unknown magic number".into())),
        };
        // The upper bits say whether frames have a checksum at their end.
        let linktype = dlt(u32_at(&header, 20, big_endian) & 0x03ff_ffff);
        Ok(Self { path: path.to_owned(), file, big_endian, unit, linktype, data: Vec::new() })
    }

    pub(super) fn linktype(&self) -> LinkType {
        self.linktype
    }

    /// The packet read last.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Reads the next packet; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Error> {
        let mut header = [0; 16];
        let got = self.fill(&mut header)?;
        if got == 0 {
            return Ok(None);
        }
        if got < header.len() {
            return Err(self.failed("ends within a packet's header"));
        }
        let field = |at| u32_at(&header, at, self.big_endian);
        let (secs, fraction, caplen, len) = (field(0), field(4), field(8), field(12));
        if caplen > MAX_SNAPLEN {
            return Err(self.failed("a packet is too long to be one"));
        }
        let nanos = u64::from(fraction) * u64::from(self.unit);
        // A fraction of a second or more carries over, as arithmetic on time stamps would have it.
        let carry = u32::try_from(nanos / 1_000_000_000).unwrap_or(0);
        let ts =
            Timestamp { secs: secs.saturating_add(carry), nanos: (nanos % 1_000_000_000) as u32 };

        let mut data = std::mem::take(&mut self.data);
        data.resize(caplen as usize, 0);
        let got = self.fill(&mut data)?;
        let complete = got == data.len();
        self.data = data;
        if !complete {
            return Err(self.failed("ends within a packet"));
        }
        Ok(Some(Record { ts, len: len.max(caplen) }))
    }

    /// Reads until `buffer` is full or the file ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut got = 0;
        while got < buffer.len() {
            match self.file.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error.to_string())),
            }
        }
        Ok(got)
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Savefile { path: self.path.clone(), reason: reason.to_owned() }
    }
}

/// A file's link type as this host numbers it: the few that differ between systems have numbers of their own in files
/// (libpcap's `pcap-common.c`).
fn dlt(linktype: u32) -> LinkType {
    match linktype {
        100 => LinkType(11),
        101 => LinkType::RAW,
        102 => LinkType(15),
        103 => LinkType(16),
        other => LinkType(other),
    }
}

fn u32_at(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}
