//! Exact bytes, and every rule of the formats on files of any content.

use std::io::{self, Read, Write};
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Parts of `bytes`: kind and body of each block, without the lengths at both ends.
fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let (kind, length) = (u32_at(bytes, 0), u32_at(bytes, 4) as usize);
        assert!(length.is_multiple_of(4));
        assert_eq!(u32_at(bytes, length - 4) as usize, length, "block ends with its length");
        blocks.push((kind, &bytes[8..length - 4]));
        bytes = &bytes[length..];
    }
    blocks
}

fn options(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut options = Vec::new();
    loop {
        let (code, length) = (u16_at(bytes, 0), usize::from(u16_at(bytes, 2)));
        if code == 0 {
            assert_eq!(bytes, [0; 4], "nothing follows the end of the options");
            return options;
        }
        options.push((code, &bytes[4..4 + length]));
        let padded = length.next_multiple_of(4);
        assert!(bytes[4 + length..4 + padded].iter().all(|byte| *byte == 0));
        bytes = &bytes[4 + padded..];
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

#[test]
fn pcap_to_the_byte() {
    let records = [
        Record {
            secs: 0x0102_0304,
            nanos: 5_999,
            len: 60,
            data: &[0xaa, 0xbb, 0xcc],
            ..Record::default()
        },
        Record { secs: 1, nanos: 1_000_000_007, len: 0, data: &[], ..Record::default() },
    ];
    let expected = |magic: [u8; 4], fraction: u32, second_fraction: u8| {
        let mut bytes = magic.to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 4, 0]);
        bytes.extend([1, 0, 0, 0]);
        bytes.extend([4, 3, 2, 1]);
        bytes.extend(fraction.to_le_bytes());
        bytes.extend([3, 0, 0, 0, 60, 0, 0, 0, 0xaa, 0xbb, 0xcc]);
        bytes.extend([2, 0, 0, 0, second_fraction, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    };
    assert_eq!(
        savefile(Format::Pcap, &meta(), &records, &Summary::default()),
        expected([0xd4, 0xc3, 0xb2, 0xa1], 5, 0)
    );
    assert_eq!(
        savefile(Format::PcapNanoseconds, &meta(), &records, &Summary::default()),
        expected([0x4d, 0x3c, 0xb2, 0xa1], 5_999, 7)
    );
}

#[test]
fn pcapng_to_the_byte() {
    let records = [
        Record {
            secs: 5,
            nanos: 1,
            len: 60,
            data: &[0xaa, 0xbb, 0xcc, 0xdd, 0xee],
            ..Record::default()
        },
        Record { secs: 5, nanos: 2, len: 0, data: &[], ..Record::default() },
    ];
    let summary = Summary {
        start: Some(5_000_000_000),
        end: Some(0x0a0b_0c0d_0102_0304),
        delivered: Some(2),
        comment: "two".into(),
        ..Summary::default()
    };
    let bytes = savefile(Format::Pcapng, &meta(), &records, &summary);

    // The first block names the version of this program and its host.
    let header_length = u32_at(&bytes, 4) as usize;
    let (header, rest) = bytes.split_at(header_length);
    #[rustfmt::skip]
    assert_eq!(header[..24], [
        0x0a, 0x0d, 0x0d, 0x0a, header_length as u8, 0, 0, 0,
        0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);
    let application = concat!("rpcap ", env!("CARGO_PKG_VERSION"));
    assert!(options(&header[24..header_length - 4]).contains(&(4, application.as_bytes())));

    #[rustfmt::skip]
    let expected = [
        // Interface description
        1, 0, 0, 0, 68, 0, 0, 0,
        1, 0, 0, 0, 0, 0, 4, 0,
        2, 0, 4, 0, b'e', b't', b'h', b'0',
        3, 0, 6, 0, b'u', b'p', b'l', b'i', b'n', b'k', 0, 0,
        9, 0, 1, 0, 9, 0, 0, 0,
        11, 0, 12, 0, 0, b't', b'c', b'p', b' ', b'p', b'o', b'r', b't', b' ', b'8', b'0',
        0, 0, 0, 0,
        68, 0, 0, 0,
        // Packet at 5.000000001: 0x1_2a05_f201
        6, 0, 0, 0, 40, 0, 0, 0,
        0, 0, 0, 0, 1, 0, 0, 0, 0x01, 0xf2, 0x05, 0x2a, 5, 0, 0, 0, 60, 0, 0, 0,
        0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0, 0, 0,
        40, 0, 0, 0,
        // Empty packet at 5.000000002
        6, 0, 0, 0, 32, 0, 0, 0,
        0, 0, 0, 0, 1, 0, 0, 0, 0x02, 0xf2, 0x05, 0x2a, 0, 0, 0, 0, 0, 0, 0, 0,
        32, 0, 0, 0,
        // Interface statistics
        5, 0, 0, 0, 72, 0, 0, 0,
        0, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a, 4, 3, 2, 1,
        2, 0, 8, 0, 1, 0, 0, 0, 0x00, 0xf2, 0x05, 0x2a,
        3, 0, 8, 0, 0x0d, 0x0c, 0x0b, 0x0a, 4, 3, 2, 1,
        8, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        1, 0, 3, 0, b't', b'w', b'o', 0,
        0, 0, 0, 0,
        72, 0, 0, 0,
    ];
    assert_eq!(rest, expected);
}

#[test]
fn a_clock_offset_is_a_comment_of_its_own() {
    let meta = Meta { comment: Some("first".into()), clock: CLOCK, ..meta() };
    let summary = Summary { comment: "last".into(), clock: CLOCK, ..Summary::default() };
    let bytes = savefile(Format::Pcapng, &meta, &[], &summary);
    let description = &bytes[u32_at(&bytes, 4) as usize..];
    let statistics = &description[u32_at(description, 4) as usize..];
    let offset = "clock-offset-ns=-1234567 error-ns=50000";
    for (block, fixed, text) in [(description, 16, "first"), (statistics, 20, "last")] {
        let end = u32_at(block, 4) as usize - 4;
        let comments = options(&block[fixed..end]).into_iter().filter(|(code, _)| *code == 1);
        let comments: Vec<_> = comments.map(|(_, text)| text).collect();
        assert_eq!(comments, [text.as_bytes(), offset.as_bytes()]);
    }
}

#[test]
fn texts_are_cleaned_and_cut() {
    let long = "ä".repeat(40_000);
    let meta = Meta {
        description: Some("a\x1b[31mb\0c\u{9b}\td\ne".into()),
        comment: Some(long),
        filter: Some(String::new()),
        ..Meta::default()
    };
    let bytes = savefile(Format::Pcapng, &meta, &[], &Summary::default());
    let (kind, interface) = blocks(&bytes)[1];
    assert_eq!(kind, 1);
    let options = options(&interface[8..]);
    assert_eq!(options.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [3, 9, 1]);
    assert_eq!(options[0].1, "a\u{fffd}[31mb\u{fffd}c\u{fffd}\td\ne".as_bytes());
    assert_eq!(options[2].1, "ä".repeat(32_767).as_bytes());
}

#[test]
fn link_types_become_those_of_savefiles() {
    for (dlt, linktype) in [(1, 1), (12, 101), (14, 101), (113, 113), (0, 0), (108, 108)] {
        let meta = Meta { linktype: dlt, ..meta() };
        let bytes = savefile(Format::Pcap, &meta, &[], &Summary::default());
        assert_eq!(u32_at(&bytes, 20), linktype, "DLT {dlt}");
        let bytes = savefile(Format::Pcapng, &meta, &[], &Summary::default());
        assert_eq!(u32::from(u16_at(blocks(&bytes)[1].1, 0)), linktype, "DLT {dlt}");
    }
    for format in [Format::Pcap, Format::Pcapng] {
        let meta = Meta { linktype: 0x1_0001, ..meta() };
        let error = Writer::new(Vec::new(), format, &meta).err().unwrap();
        assert!(matches!(error, Error::LinkType(0x1_0001)));
    }
}

#[test]
fn no_packet_exceeds_the_snaplen() {
    let data = vec![1; 300_000];
    let record = Record { secs: 1, nanos: 0, len: 7, data: &data, ..Record::default() };
    for (asked, kept) in [(0, MAX_SNAPLEN), (u32::MAX, MAX_SNAPLEN), (96, 96)] {
        let meta = Meta { snaplen: asked, ..meta() };
        let bytes = savefile(Format::Pcapng, &meta, &[record], &Summary::default());
        let blocks = blocks(&bytes);
        assert_eq!(u32_at(blocks[1].1, 4), kept);
        assert_eq!((u32_at(blocks[2].1, 12), u32_at(blocks[2].1, 16)), (kept, 300_000));
    }
}

#[test]
fn extension_chooses_the_format() {
    assert_eq!(Format::of(Path::new("a/b.pcap")), Format::Pcap);
    assert_eq!(Format::of(Path::new("B.PCAP")), Format::Pcap);
    for other in ["-", "a.pcapng", "pcap", "a.pcap/b", "a.cap", ".pcap"] {
        assert_eq!(Format::of(Path::new(other)), Format::Pcapng, "{other}");
    }
}

#[test]
fn flush_makes_whole_records_visible() {
    let (mut reader, pipe) = io::pipe().unwrap();
    let mut writer = Writer::new(pipe, Format::Pcapng, &meta()).unwrap();
    let mut buffer = [0; 4096];
    let length = reader.read(&mut buffer).unwrap();
    assert_eq!(blocks(&buffer[..length]).len(), 2);
    writer
        .write(&Record { secs: 1, nanos: 0, len: 60, data: b"abc", ..Record::default() })
        .unwrap();
    writer
        .write(&Record { secs: 1, nanos: 0, len: 60, data: b"defg", ..Record::default() })
        .unwrap();
    writer.flush().unwrap();
    let length = reader.read(&mut buffer).unwrap();
    assert_eq!(blocks(&buffer[..length]).len(), 2);
}

#[test]
fn a_reader_that_leaves_is_told_from_other_errors() {
    let (reader, pipe) = io::pipe().unwrap();
    let mut writer = Writer::new(pipe, Format::Pcap, &meta()).unwrap();
    drop(reader);
    writer.write(&Record { secs: 1, nanos: 0, len: 1, data: b"a", ..Record::default() }).unwrap();
    assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);

    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(Writer::new(Full, Format::Pcap, &meta()), Err(Error::Write(_))));
    let nowhere = Path::new("/nonexistent/file.pcap");
    let error = Writer::open(nowhere, Format::Pcap, &meta()).err().unwrap();
    assert_eq!(error.to_string(), "cannot create /nonexistent/file.pcap");
}

proptest! {
    #[test]
    fn records_come_back(
        packets in prop::collection::vec(
            (any::<u32>(), 0..1_000_000_000u32, prop::collection::vec(any::<u8>(), 0..50)),
            0..8,
        ),
        more: u8,
    ) {
        let records: Vec<Record<'_>> = packets
            .iter()
            .map(|(secs, nanos, data)| Record {
                secs: (*secs).into(),
                nanos: *nanos,
                len: data.len() as u32 + u32::from(more),
                data,
                loss: (*nanos % 3 == 0).then(|| Loss { network: 1, queue: 2, kernel: more.into() }),
                ..Record::default()
            })
            .collect();
        let bytes = savefile(Format::Pcapng, &meta(), &records, &Summary::default());
        let blocks = blocks(&bytes);
        prop_assert_eq!(blocks.len(), records.len() + 3);
        for (record, (kind, body)) in records.iter().zip(&blocks[2..]) {
            prop_assert_eq!(*kind, 6);
            let time = u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8));
            prop_assert_eq!(time, record.secs * 1_000_000_000 + u64::from(record.nanos));
            prop_assert_eq!(u32_at(body, 12) as usize, record.data.len());
            prop_assert_eq!(u32_at(body, 16), record.len);
            prop_assert_eq!(&body[20..20 + record.data.len()], record.data);
            let options = &body[20 + record.data.len().next_multiple_of(4)..];
            let lost = record.loss.map(|loss| loss.total());
            let told = options.get(4..12).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
            prop_assert_eq!(told, lost);
            prop_assert!(lost.is_some() || options.is_empty());
        }
    }
}
