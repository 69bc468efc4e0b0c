//! Savefiles: read as interfaces, and written.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

use capture::{Event, MAX_SNAPLEN, Options, Timestamp, replay};
use rpcap::file::copy::{Copied, Copier, Target};
use rpcap::file::read::{self, Reader, Settings};
use rpcap::file::{Format, Meta, Record, Summary, Writer};

use super::input::Input;

/// A packet as it came out of a file: its time, its length on the wire, its bytes.
type Packet = (Timestamp, u32, Vec<u8>);

/// The link type and the packets of a savefile, as far as they can be read.
fn read(bytes: &[u8], options: &Options) -> Option<(u32, Vec<Packet>, bool)> {
    let file = rustix::fs::memfd_create("savefile", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(file.expect("a file in memory"));
    file.write_all(bytes).expect("room for a savefile");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut capture = replay::open(&path, options, false).ok()?;
    let control = capture.control();
    let mut packets = Vec::new();
    let broken = loop {
        match capture.next(Some(Duration::ZERO)) {
            Ok(Event::Block(mut block)) => {
                packets.extend(block.packets().map(|p| (p.ts, p.len, p.data.to_vec())));
            }
            Ok(Event::Timeout) => break false,
            Ok(_) => {}
            Err(error) => {
                assert!(error.to_string().starts_with(&path), "{error}");
                break true;
            }
        }
    };
    let stats = control.stats().expect("counters");
    assert_eq!(stats.received, packets.len() as u64);
    Some((capture.linktype().0, packets, broken))
}

/// Four bytes of snaplen, then a savefile.
///
/// Packets are within their bounds and no more than the file has bytes for.
pub fn savefile(data: &[u8]) {
    let mut input = Input(data);
    let snaplen = input.u32();
    let options = Options { snaplen, ..Options::default() };
    let Some((_, packets, _)) = read(input.0, &options) else { return };
    let limit = if snaplen == 0 { MAX_SNAPLEN } else { snaplen.min(MAX_SNAPLEN) } as usize;
    let mut total = 24;
    for (ts, len, data) in &packets {
        assert!(data.len() <= limit && data.len() <= *len as usize);
        assert!(ts.nanos < 1_000_000_000);
        total += 16 + data.len();
    }
    assert!(total <= input.0.len());
}

/// A byte for the format, one for the link type, four of snaplen, the interface's name with two bytes
/// of length before it; then packets: four bytes of seconds, four of nanoseconds, four of length, and
/// two of captured length with the bytes.
///
/// What is written as pcap reads back to the same, and pcapng is a sequence of whole blocks with one
/// for each packet.
pub fn file_writer(data: &[u8]) {
    let mut input = Input(data);
    let format = input.pick(&[Format::Pcapng, Format::Pcap, Format::PcapNanoseconds]);
    let (linktype, snaplen) = (u32::from(input.u8()), input.u32());
    let interface = String::from_utf8_lossy(input.bytes()).into_owned();
    let meta = Meta { linktype, snaplen, interface: interface.clone(), ..Meta::default() };
    let mut writer = Writer::new(Vec::new(), format, &meta).expect("a link type that a file has");
    let mut written = Vec::new();
    while !input.is_empty() {
        let (secs, nanos, len) = (input.u32(), input.u32() % 1_000_000_000, input.u32());
        let data = input.bytes();
        let record = Record { secs: secs.into(), nanos, len, data, ..Record::default() };
        writer.write(&record).expect("memory takes it");
        written.push((secs, nanos, len, data));
    }
    let summary = Summary { comment: interface, ..Summary::default() };
    let bytes = writer.finish(&summary).expect("memory takes it");
    let kept = if snaplen == 0 { MAX_SNAPLEN } else { snaplen.min(MAX_SNAPLEN) } as usize;
    let kept_of = |data: &[u8]| data[..data.len().min(kept)].to_vec();
    if format == Format::Pcapng {
        let blocks = blocks(&bytes);
        let packets: Vec<_> = blocks.iter().filter(|(kind, _)| *kind == 6).collect();
        assert_eq!(packets.len(), written.len());
        for ((_, body), (.., data)) in packets.iter().zip(&written) {
            let data = kept_of(data);
            assert_eq!(body[20..20 + data.len()], data[..]);
        }
        return;
    }
    let step = if format == Format::Pcap { 1000 } else { 1 };
    let (_, packets, broken) = read(&bytes, &Options::default()).expect("what was written");
    assert!(!broken);
    let expected: Vec<Packet> = written
        .iter()
        .map(|(secs, nanos, len, data)| {
            let ts = Timestamp { secs: *secs, nanos: nanos / step * step };
            (ts, (*len).max(data.len() as u32), kept_of(data))
        })
        .collect();
    assert_eq!(packets, expected);
}

/// The blocks of a pcapng file, each with its type, without both of its lengths.
fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let u32_at = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    };
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let len = u32_at(bytes, 4) as usize;
        assert!(len >= 12 && len.is_multiple_of(4));
        assert_eq!(u32_at(bytes, len - 4) as usize, len, "the second length is another");
        blocks.push((u32_at(bytes, 0), &bytes[8..len - 4]));
        bytes = &bytes[len..];
    }
    blocks
}

/// A packet as a reader gave it: its interface's link type and name, its time, its length, its bytes.
type Seen = (u32, Option<String>, u64, u32, Vec<u8>);

/// Reads a file as it is told to; why it ended before its end, if it did.
fn read_all(mut reader: Reader, to: &mut dyn Target) -> (Vec<Seen>, Option<String>) {
    let (mut seen, mut numbers) = (Vec::new(), Vec::new());
    loop {
        match reader.advance() {
            Ok(Some(read::Event::Packet)) => {
                let packet = reader.packet().expect("the packet that was announced");
                assert!(packet.data.len() <= packet.len as usize);
                let number = to.interface(packet.description).expect("memory takes it");
                to.packet(number, &Copied::at(packet.time, &packet)).expect("memory takes it");
                numbers.push(packet.interface);
                let (linktype, name) = (packet.description.linktype, packet.description.name());
                seen.push((linktype, name, packet.time, packet.len, packet.data.to_vec()));
            }
            Ok(Some(read::Event::Statistics(statistics))) => {
                if numbers.contains(&statistics.interface) {
                    to.statistics(0, &statistics).expect("memory takes it");
                }
            }
            Ok(None) => return (seen, None),
            Err(error) => return (seen, Some(error.to_string())),
        }
    }
}

/// A savefile, compressed or not, with an index or not.
///
/// What is read of it reads back the same once it was copied. With an index or without, from memory or from a file
/// that is opened for each read, it is the same, unless the index, which has a checksum, was made to lie.
pub fn savefile_reader(data: &[u8]) {
    let Ok(reader) = Reader::of_bytes(data.to_vec()) else { return };
    let mut copier = Copier::new(Vec::new(), Format::Pcapng).expect("memory takes it");
    let (seen, error) = read_all(reader, &mut copier);
    copier.finish().expect("memory takes it");
    let copied = Reader::of_bytes(copier.into_inner().expect("memory takes it"));
    let mut again = Copier::new(Vec::new(), Format::Pcapng).expect("memory takes it");
    let (copied, none) = read_all(copied.expect("a file of ours"), &mut again);
    assert_eq!(none, None);
    // Names lose what is not fit for a terminal.
    let bare = |seen: &[Seen]| -> Vec<_> {
        seen.iter()
            .map(|(linktype, _, time, len, data)| (*linktype, *time, *len, data.clone()))
            .collect()
    };
    let short = seen.iter().all(|(.., data)| data.len() <= MAX_SNAPLEN as usize);
    assert!(!short || bare(&seen) == bare(&copied));

    let file = rustix::fs::memfd_create("savefile", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(file.expect("a file in memory"));
    file.write_all(data).expect("room for a savefile");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    for (index, reopen) in [(false, true), (true, false)] {
        let settings = Settings { buffer: 64, reopen, index };
        let Ok(reader) = Reader::open(path.as_ref(), settings) else { continue };
        let indexed = reader.is_indexed();
        let (same, failure) = read_all(reader, &mut again);
        assert!(indexed || same == seen && failure.is_some() == error.is_some());
    }
}
