//! Reads pcap and pcapng, whole files and those still being written.

use std::fs;
use std::path::Path;

/// A packet, of whatever capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Seconds since 1970.
    pub secs: u64,
    /// Nanoseconds within the second.
    pub nanos: u32,
    /// Bytes it had on the wire.
    pub len: u32,
    /// Bytes captured.
    pub data: Vec<u8>,
}

/// The contents of a savefile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Savefile {
    /// Link type of its (first) interface.
    pub linktype: u32,
    /// Its packets, in order.
    pub packets: Vec<Packet>,
    /// Whether it is pcapng, with an interface statistics block.
    pub statistics: bool,
}

/// Reads a file that must be complete.
#[track_caller]
pub fn read(path: &Path) -> Savefile {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    match parse(&bytes) {
        (file, 0) => file,
        (_, rest) => panic!("{}: {rest} bytes at the end are no packet", path.display()),
    }
}

/// The packets so far in a file that is being written, or is not there yet.
pub fn read_so_far(path: &Path) -> Vec<Packet> {
    fs::read(path).map_or(Vec::new(), |bytes| packets_so_far(&bytes))
}

/// The packets so far in what came of a file.
pub fn packets_so_far(bytes: &[u8]) -> Vec<Packet> {
    if bytes.len() >= 24 { parse(bytes).0.packets } else { Vec::new() }
}

struct Bytes<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl Bytes<'_> {
    fn u16(&self, at: usize) -> u16 {
        let b = [self.bytes[at], self.bytes[at + 1]];
        if self.big { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) }
    }

    fn u32(&self, at: usize) -> u32 {
        let b = [self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]];
        if self.big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
    }
}

/// The contents, and how many bytes at the end are not understood.
fn parse(bytes: &[u8]) -> (Savefile, usize) {
    match bytes.get(..4) {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => parse_pcapng(bytes),
        Some([0xa1, 0xb2, 0xc3, 0xd4]) => parse_pcap(bytes, true, 1000),
        Some([0xd4, 0xc3, 0xb2, 0xa1]) => parse_pcap(bytes, false, 1000),
        Some([0xa1, 0xb2, 0x3c, 0x4d]) => parse_pcap(bytes, true, 1),
        Some([0x4d, 0x3c, 0xb2, 0xa1]) => parse_pcap(bytes, false, 1),
        other => panic!("this is no savefile: {other:02x?}"),
    }
}

fn parse_pcap(bytes: &[u8], big: bool, nanos: u32) -> (Savefile, usize) {
    let all = Bytes { bytes, big };
    let mut file = Savefile { linktype: all.u32(20) & 0xffff, ..Savefile::default() };
    let mut at = 24;
    while at + 16 <= bytes.len() {
        let caplen = all.u32(at + 8) as usize;
        let Some(data) = bytes.get(at + 16..at + 16 + caplen) else {
            break;
        };
        file.packets.push(Packet {
            secs: all.u32(at).into(),
            nanos: all.u32(at + 4) * nanos,
            len: all.u32(at + 12),
            data: data.to_vec(),
        });
        at += 16 + caplen;
    }
    (file, bytes.len() - at)
}

fn parse_pcapng(bytes: &[u8]) -> (Savefile, usize) {
    let all = Bytes { bytes, big: bytes[8] == 0x1a };
    let mut file = Savefile::default();
    // Ticks in a second, for each interface.
    let mut ticks: Vec<u64> = Vec::new();
    let mut at = 0;
    while at + 12 <= bytes.len() {
        let len = all.u32(at + 4) as usize;
        assert!(len >= 12 && len.is_multiple_of(4), "a block of {len} bytes at {at}");
        if at + len > bytes.len() {
            break;
        }
        assert_eq!(all.u32(at + len - 4) as usize, len, "the second length of the block at {at}");
        match all.u32(at) {
            1 => {
                if ticks.is_empty() {
                    file.linktype = all.u16(at + 8).into();
                }
                ticks.push(resolution(&all, at + 16, at + len - 4));
            }
            5 => file.statistics = true,
            6 => {
                let ticks = ticks[all.u32(at + 8) as usize];
                let time = u64::from(all.u32(at + 12)) << 32 | u64::from(all.u32(at + 16));
                let caplen = all.u32(at + 20) as usize;
                file.packets.push(Packet {
                    secs: time / ticks,
                    nanos: ((time % ticks) * 1_000_000_000 / ticks) as u32,
                    len: all.u32(at + 24),
                    data: bytes[at + 28..at + 28 + caplen].to_vec(),
                });
            }
            _ => {}
        }
        at += len;
    }
    (file, bytes.len() - at)
}

/// What the option `if_tsresol` says, or its absence.
fn resolution(all: &Bytes<'_>, mut at: usize, end: usize) -> u64 {
    while at + 4 <= end {
        let (code, len) = (all.u16(at), usize::from(all.u16(at + 2)));
        match code {
            0 => break,
            9 => {
                let value = all.bytes[at + 4];
                let exponent = u32::from(value & 0x7f);
                return if value & 0x80 == 0 { 10u64.pow(exponent) } else { 1 << exponent };
            }
            _ => at += 4 + len.next_multiple_of(4),
        }
    }
    1_000_000
}
