use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::clock::Offset;
use crate::file::{Format, Meta, Record, Summary, Writer};

/// What there is of a packet: interface, time, length, bytes.
type Seen = (usize, u64, u32, Vec<u8>);

fn all(reader: &mut Reader) -> (Vec<Seen>, Result<(), ReadError>) {
    let mut seen = Vec::new();
    loop {
        match reader.advance() {
            Ok(Some(Event::Packet)) => {
                let p = reader.packet().unwrap();
                seen.push((p.interface, p.time, p.len, p.data.to_vec()));
            }
            Ok(Some(Event::Statistics(_))) => {}
            Ok(None) => return (seen, Ok(())),
            Err(error) => return (seen, Err(error)),
        }
    }
}

fn packets(bytes: &[u8]) -> Vec<Seen> {
    let mut reader = Reader::of_bytes(bytes.to_vec()).unwrap();
    let (seen, result) = all(&mut reader);
    result.unwrap();
    assert_eq!(reader.truncated(), None);
    seen
}

/// A block of either byte order.
fn block(big: bool, kind: u32, fields: &[&dyn Fn(bool) -> Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> = fields.iter().flat_map(|f| f(big)).collect();
    assert!(body.len().is_multiple_of(4));
    let length = w(body.len() as u32 + 12)(big);
    [w(kind)(big), length.clone(), body, length].concat()
}

fn w(value: u32) -> impl Fn(bool) -> Vec<u8> {
    move |big| if big { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
}

fn h(value: u16) -> impl Fn(bool) -> Vec<u8> {
    move |big| if big { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
}

fn raw(bytes: &'static [u8]) -> impl Fn(bool) -> Vec<u8> {
    move |_| bytes.to_vec()
}

/// A section with an interface of microseconds and one of milliseconds an hour ahead, and packets in blocks of each kind.
fn section(big: bool) -> Vec<u8> {
    let hour = move |big: bool| {
        let hour = 3600i64;
        if big { hour.to_be_bytes().to_vec() } else { hour.to_le_bytes().to_vec() }
    };
    let all = u32::MAX;
    [
        block(big, SECTION_HEADER, &[&w(BYTE_ORDER), &h(1), &h(0), &w(all), &w(all)]),
        block(big, 1, &[&h(1), &h(0), &w(4), &h(2), &h(4), &raw(b"eth0"), &w(0)]),
        block(
            big,
            1,
            &[&h(113), &h(0), &w(0), &h(9), &h(1), &raw(&[3, 0, 0, 0]), &h(14), &h(8), &hour],
        ),
        block(
            big,
            6,
            &[
                &w(0),
                &w(1),
                &w(7),
                &w(3),
                &w(60),
                &raw(b"abc\0"),
                &h(1),
                &h(2),
                &raw(b"hi\0\0"),
                &w(0),
            ],
        ),
        block(big, 6, &[&w(1), &w(0), &w(5), &w(0), &w(0)]),
        block(big, 3, &[&w(9), &raw(b"wxyz")]),
        block(big, 2, &[&h(1), &h(0), &w(0), &w(6), &w(1), &w(2), &raw(b"p\0\0\0")]),
        block(big, 0x8000_1234, &[]),
    ]
    .concat()
}

#[test]
fn sections_of_either_byte_order_follow_each_other() {
    let section_seen = |base: usize| {
        [
            (base, ((1 << 32) + 7) * 1000, 60, b"abc".to_vec()),
            (base + 1, 3_600_005_000_000, 0, Vec::new()),
            (base, 0, 9, b"wxyz".to_vec()),
            (base + 1, 3_600_006_000_000, 2, b"p".to_vec()),
        ]
    };
    let bytes = [section(false), section(true), section(false)].concat();
    assert_eq!(packets(&bytes), [section_seen(0), section_seen(2), section_seen(4)].concat());
    // The same, compressed in any pieces.
    let pieces = bytes.chunks(100).map(|b| zstd::bulk::compress(b, 1).unwrap());
    let compressed: Vec<u8> = pieces.collect::<Vec<_>>().concat();
    assert_eq!(packets(&compressed), packets(&bytes));
    let mut reader = Reader::of_bytes(bytes).unwrap();
    assert_eq!(reader.advance().unwrap(), Some(Event::Packet));
    let description = reader.packet().unwrap().description;
    assert_eq!((description.linktype, description.name()), (1, Some("eth0".to_owned())));
}

#[test]
fn pcap_of_either_byte_order_and_unit() {
    for (magic, unit) in [(0xa1b2_c3d4u32, 1000), (0xa1b2_3c4d, 1)] {
        for big in [false, true] {
            let mut bytes =
                [w(magic), w(4 << 16 | 2), w(0), w(0), w(99), w(228)].map(|f| f(big)).concat();
            bytes.extend([w(7), w(5), w(3), w(60)].map(|f| f(big)).concat());
            bytes.extend(b"abc");
            assert_eq!(packets(&bytes), [(0, 7_000_000_000 + 5 * unit, 60, b"abc".to_vec())]);
        }
    }
}

#[test]
fn what_is_no_savefile_is_told() {
    for (bytes, reason) in [
        (&b"hello, world"[..], "at byte 0: this is neither pcapng nor pcap"),
        (
            &[0x1f, 0x8b, 8, 0, 0],
            "at byte 0: it is compressed with gzip, which is not read: gunzip it first",
        ),
    ] {
        let error = Reader::of_bytes(bytes.to_vec()).unwrap_err().to_string();
        assert_eq!(error, format!(": {reason}"));
    }
    let mut short = section(false);
    short[4] = 8;
    let mut differ = section(false);
    differ[24] ^= 1;
    let mut of_none = section(false);
    let at = of_none.windows(8).position(|b| b == [6, 0, 0, 0, 48, 0, 0, 0]).unwrap();
    of_none[at + 8] = 9;
    for (bytes, reason) in [
        (short, "at byte 4: the length of a block is none (12 bytes to 16 MiB)".to_owned()),
        (differ, "at byte 24: the two lengths of a block differ".to_owned()),
        (
            of_none,
            format!("at byte {at}: a packet that is not as its block says, or of no interface"),
        ),
    ] {
        let (_, result) = all(&mut Reader::of_bytes(bytes).unwrap());
        assert_eq!(result.unwrap_err().to_string(), format!(": {reason}"));
    }
}

#[test]
fn a_file_that_breaks_off_gives_what_it_has() {
    let bytes = section(false);
    let whole = packets(&bytes);
    let compressed = zstd::bulk::compress(&bytes, 1).unwrap();
    for cut in 0..bytes.len() {
        let mut reader = Reader::of_bytes(bytes[..cut].to_vec()).unwrap();
        let (seen, result) = all(&mut reader);
        result.unwrap();
        assert!(whole.starts_with(&seen));
        assert!(seen.len() < whole.len() || reader.truncated().is_none() || cut > 12, "{cut}");
    }
    for cut in 1..compressed.len() {
        let Ok(mut reader) = Reader::of_bytes(compressed[..cut].to_vec()) else {
            assert!(cut < 4);
            continue;
        };
        let (seen, result) = all(&mut reader);
        result.unwrap();
        assert!(whole.starts_with(&seen) && reader.truncated().is_some(), "{cut}");
    }
}

fn record(time: u64, data: &[u8], more: u32) -> Record<'_> {
    let (secs, nanos) = (time / 1_000_000_000, (time % 1_000_000_000) as u32);
    Record { secs, nanos, len: data.len() as u32 + more, data, ..Record::default() }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        format in prop::sample::select(vec![Format::Pcapng, Format::Pcap, Format::PcapNanoseconds]),
        records in prop::collection::vec(
            (0..u64::from(u32::MAX) * 1_000_000_000, prop::collection::vec(any::<u8>(), 0..300), 0u32..9), 0..20),
        compressed: bool,
    ) {
        let meta = Meta { linktype: 1, interface: "web1 eth0".into(), ..Meta::default() };
        let mut writer = Writer::new(Vec::new(), format, &meta).unwrap();
        for (time, data, more) in &records {
            writer.write(&record(*time, data, *more)).unwrap();
        }
        let mut bytes = writer.finish(&Summary::default()).unwrap();
        if compressed {
            bytes = zstd::bulk::compress(&bytes, 1).unwrap();
        }
        let unit = if format == Format::Pcap { 1000 } else { 1 };
        let expected: Vec<Seen> = records.into_iter().map(|(time, data, more)| {
            (0, time / unit * unit, data.len() as u32 + more, data)
        }).collect();
        prop_assert_eq!(packets(&bytes), expected);
    }

    #[test]
    fn nothing_makes_it_panic(
        mut bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            Just(section(true)),
            Just(zstd::bulk::compress(&section(false), 1).unwrap()),
        ],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        if let Ok(mut reader) = Reader::of_bytes(bytes) {
            let _ = all(&mut reader);
        }
    }
}

/// A directory that goes away.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("read-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Packets of two interfaces over an hour, the second of which comes later.
fn rotated(place: &Place, compress: bool) -> PathBuf {
    use crate::file::rotate::{Rotating, Rotation};
    use std::time::{Duration, UNIX_EPOCH};
    let at = |s| UNIX_EPOCH + Duration::from_secs(1_800_000_000 + s);
    let rotation = Rotation { compress, ..Rotation::default() };
    let mut writer = Rotating::new(&place.0, "a", rotation, at(0));
    let meta = |name: &str| Meta { linktype: 1, interface: name.into(), ..Meta::default() };
    let (one, two) =
        (writer.add(&meta("web1 eth0")).unwrap(), writer.add(&meta("web2 eth0")).unwrap());
    // Not to be compressed away.
    let mut noise = 1u32;
    let data: Vec<u8> = (0..4000)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .collect();
    for second in 0..3600u64 {
        let source = if second >= 1800 && second % 2 == 0 { two } else { one };
        let time = (1_800_000_000 + second) * 1_000_000_000;
        writer.write(source, &record(time, &data[(second as usize % 1000)..], 0));
        writer.tick(at(second));
    }
    let summary =
        Summary { comment: "clock-offset-ns=-77 error-ns=5".into(), ..Summary::default() };
    writer.summarise(two, summary);
    writer.finish();
    fs::read_dir(&place.0).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn an_index_leads_to_the_minute() {
    for compress in [false, true] {
        let place = Place::new(&format!("index-{compress}"));
        let path = rotated(&place, compress);
        let size = fs::metadata(&path).unwrap().len();
        let mut reader = Reader::open(&path, Settings::default()).unwrap();
        assert_eq!(
            reader.span(),
            Some(Some((1_800_000_000_000_000_000, 1_800_003_599_000_000_000)))
        );
        let (whole, result) = all(&mut reader);
        result.unwrap();
        assert_eq!((whole.len(), reader.truncated()), (3600, None));
        let settings = Settings { index: false, ..Settings::default() };
        let mut plain = Reader::open(&path, settings).unwrap();
        assert_eq!(all(&mut plain).0, whole);
        for reopen in [false, true] {
            for from in [0, 1000, 1790, 2500, 3599] {
                let (since, until) = (1_800_000_000 + from, 1_800_000_060 + from);
                let (since, until) = (since * 1_000_000_000, until * 1_000_000_000);
                let settings = Settings { reopen, ..Settings::default() };
                let mut reader = Reader::open(&path, settings).unwrap();
                reader.only(since, until, |_| true);
                let (seen, result) = all(&mut reader);
                result.unwrap();
                let within = |seen: &[Seen]| -> Vec<Seen> {
                    seen.iter().filter(|s| (since..until).contains(&s.1)).cloned().collect()
                };
                assert_eq!(within(&seen), within(&whole), "{from}");
                assert!(reader.bytes_read() < size / 10, "{} of {size}", reader.bytes_read());
            }
        }
        let mut reader = Reader::open(&path, Settings::default()).unwrap();
        reader.only(0, 5, |_| true);
        assert!(reader.is_skipped() && all(&mut reader).0.is_empty());
        let mut reader = Reader::open(&path, Settings::default()).unwrap();
        reader.only(0, u64::MAX, |i| i.name().unwrap() == "web3 eth0");
        assert!(reader.is_skipped());
    }
}

#[test]
fn an_index_that_does_not_fit_is_not_believed() {
    for compress in [false, true] {
        let place = Place::new(&format!("unfit-{compress}"));
        let path = rotated(&place, compress);
        let bytes = fs::read(&path).unwrap();
        let (twice, bitten) = ([&bytes[..], &bytes[..]].concat(), {
            let mut bytes = bytes.clone();
            let at = bytes.len() - 60;
            bytes[at] ^= 1;
            bytes
        });
        for (bytes, reason, packets) in [
            (twice, Some("the file was changed afterwards"), 7200),
            (bitten, Some("it is damaged"), 3600),
            (bytes[..bytes.len() - 4].to_vec(), None, 3600),
        ] {
            fs::write(&path, bytes).unwrap();
            let mut reader = Reader::open(&path, Settings::default()).unwrap();
            assert_eq!(reader.unfit_index(), reason);
            reader.only(0, 5, |_| true);
            assert_eq!(all(&mut reader).0.len(), packets);
        }
    }
}

#[test]
fn clocks_are_found_before_the_end_is_read() {
    for compress in [false, true] {
        let place = Place::new(&format!("clock-{compress}"));
        let reader = Reader::open(&rotated(&place, compress), Settings::default()).unwrap();
        // The comment of the rotation stands before it: only one of its own counts.
        assert_eq!(reader.clock_offset(1), None);
    }
    let place = Place::new("clock");
    let path = place.0.join("a.pcapng");
    let meta = Meta { linktype: 1, ..Meta::default() };
    let mut writer = Writer::new(Vec::new(), Format::Pcapng, &meta).unwrap();
    writer.write(&record(5, b"abc", 0)).unwrap();
    let summary =
        Summary { comment: "clock-offset-ns=-77 error-ns=5".into(), ..Summary::default() };
    fs::write(&path, writer.finish(&summary).unwrap()).unwrap();
    let reader = Reader::open(&path, Settings::default()).unwrap();
    assert_eq!(reader.clock_offset(0), Some(-77));
}

#[test]
fn statistics_have_no_more_options_than_anybody_needs() {
    let empty: Vec<u8> = [1, 0, 0, 0].repeat(100_000);
    let statistics = block(false, 5, &[&w(0), &w(0), &w(0), &|_| empty.clone()]);
    let bytes = [section(false), statistics].concat();
    let mut reader = Reader::of_bytes(bytes).unwrap();
    loop {
        match reader.advance().unwrap() {
            Some(Event::Statistics(statistics)) => {
                assert!(statistics.options.len() <= 1024, "{}", statistics.options.len());
                return;
            }
            Some(Event::Packet) => {}
            None => panic!("no statistics"),
        }
    }
}

#[test]
fn statistics_of_many_interfaces_are_looked_through_once() {
    use crate::file::rotate::{Rotating, Rotation};
    let place = Place::new("many");
    let mut writer =
        Rotating::new(&place.0, "a", Rotation::default(), std::time::SystemTime::UNIX_EPOCH);
    // Through those of all for each of them took most of a minute here.
    for nanos in 0..8000 {
        let meta = Meta { linktype: 1, interface: nanos.to_string(), ..Meta::default() };
        let source = writer.add(&meta).unwrap();
        writer.write(source, &record(5, b"abc", 0));
        let clock = Some(Offset { nanos, error: 5 });
        writer.summarise(source, Summary { clock, ..Summary::default() });
    }
    writer.finish();
    let path = fs::read_dir(&place.0).unwrap().next().unwrap().unwrap().path();
    let reader = Reader::open(&path, Settings::default()).unwrap();
    assert_eq!(reader.clock_offsets(), Some((0, 7999)));
    assert_eq!((reader.clock_offset(77), reader.clock_offset(8000)), (Some(77), None));
}

#[test]
fn a_file_that_gets_its_name_is_read_on() {
    let place = Place::new("part");
    let (part, path) = (place.0.join("a.pcapng.part"), place.0.join("a.pcapng"));
    let meta = Meta { linktype: 1, ..Meta::default() };
    let mut writer = Writer::new(Vec::new(), Format::Pcapng, &meta).unwrap();
    for time in 0..100 {
        writer.write(&record(time, b"abc", 0)).unwrap();
    }
    fs::write(&part, writer.finish(&Summary::default()).unwrap()).unwrap();
    let settings = Settings { buffer: 64, reopen: true, ..Settings::default() };
    let mut reader = Reader::open(&part, settings).unwrap();
    assert_eq!(reader.advance().unwrap(), Some(Event::Packet));
    fs::rename(&part, &path).unwrap();
    let (seen, result) = all(&mut reader);
    result.unwrap();
    assert_eq!(seen.len(), 99);
    // A file that is gone is an error.
    let mut reader = Reader::open(&path, settings).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(all(&mut reader).1, Err(ReadError::Io { .. })));
}

/// A file whose interface says how far the clock was, as its statistics do.
fn clocked(described: Option<i64>, measured: Option<i64>, bytes: usize) -> Vec<u8> {
    let clock = |nanos: Option<i64>| nanos.map(|nanos| Offset { nanos, error: 5 });
    let meta = Meta { linktype: 1, clock: clock(described), ..Meta::default() };
    let mut writer = Writer::new(Vec::new(), Format::Pcapng, &meta).unwrap();
    writer.write(&record(5, &vec![0; bytes], 0)).unwrap();
    writer.finish(&Summary { clock: clock(measured), ..Summary::default() }).unwrap()
}

#[test]
fn statistics_at_the_end_are_of_no_other_section() {
    let place = Place::new("sections");
    let path = place.0.join("a.pcapng");
    let offsets = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let mut reader = Reader::open(&path, Settings::default()).unwrap();
        let mut offsets = Vec::new();
        while let Some(event) = reader.advance().unwrap() {
            if event == Event::Packet {
                offsets.push(reader.clock_offset(reader.packet().unwrap().interface));
            }
        }
        offsets
    };
    let (short, long) = (100, 100_000);
    // Two hosts, the second of which is an hour ahead, one file behind the other.
    let hour = Some(3_600_000_000_000);
    for bytes in [short, long] {
        let second = clocked(hour, hour, bytes);
        assert_eq!(offsets(&second), [hour]);
        let first = clocked(Some(7), Some(8), bytes);
        assert_eq!(offsets(&[first, second.clone()].concat()), [Some(7), hour]);
        let silent = clocked(None, hour, bytes);
        let last = clocked(Some(7), None, bytes);
        assert_eq!(offsets(&[second, silent.clone(), last].concat()), [hour, None, Some(7)]);
        // Of one section what its end says holds.
        assert_eq!(offsets(&silent), [hour]);
    }
    let silent = clocked(None, None, long);
    assert_eq!(offsets(&[silent, clocked(None, hour, short)].concat()), [None, None]);
}

#[test]
fn statistics_of_an_index_count_before_the_description() {
    use crate::file::rotate::{Rotating, Rotation};
    let place = Place::new("better");
    let now = std::time::SystemTime::UNIX_EPOCH;
    let mut writer = Rotating::new(&place.0, "a", Rotation::default(), now);
    let clock = |nanos| Some(Offset { nanos, error: 5 });
    let meta = Meta { linktype: 1, clock: clock(7), ..Meta::default() };
    let source = writer.add(&meta).unwrap();
    writer.write(source, &record(5, b"abc", 0));
    writer.summarise(source, Summary { clock: clock(8), ..Summary::default() });
    writer.finish();
    let path = fs::read_dir(&place.0).unwrap().next().unwrap().unwrap().path();
    let offsets = || {
        let mut reader = Reader::open(&path, Settings::default()).unwrap();
        let before = reader.clock_offset(0);
        assert_eq!(reader.advance().unwrap(), Some(Event::Packet));
        (before, reader.clock_offset(0))
    };
    assert_eq!(offsets(), (Some(8), Some(8)));
    // Without it, it cannot be told whose they are.
    let bytes = fs::read(&path).unwrap();
    let index = bytes.windows(8).position(|b| b == b"rpcapix1").unwrap();
    fs::write(&path, &bytes[..index - 8]).unwrap();
    assert_eq!(offsets().1, Some(7));
}
