use std::fs;
use std::process::Command;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::clock::Offset;

/// A directory that goes away.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rotate-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// What is in it, by name.
    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn interface(name: &str) -> Meta {
    Meta { linktype: 1, interface: name.to_owned(), ..Meta::default() }
}

fn record(number: u32, data: &[u8]) -> Record<'_> {
    Record { secs: u64::from(number), nanos: 0, len: data.len() as u32, data, ..Record::default() }
}

/// What a file says: the packets of each interface by its name, and how many of its blocks are
/// statistics. Panics if it does not consist of whole blocks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    packets: Vec<(String, u64, Vec<u8>)>,
    statistics: usize,
}

fn read(path: &Path) -> Content {
    let mut bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|e| e == "zst") {
        bytes = zstd::stream::decode_all(bytes.as_slice()).unwrap();
    }
    let number = |at: &[u8]| u32::from_le_bytes(at[..4].try_into().unwrap());
    let (mut content, mut interfaces) = (Content::default(), Vec::new());
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let length = number(&rest[4..]) as usize;
        let block;
        (block, rest) = rest.split_at(length);
        assert_eq!(number(&block[length - 4..]) as usize, length);
        match number(block) {
            1 => {
                // The name is the first option.
                let size = u16::from_le_bytes([block[18], block[19]]);
                let name = &block[20..20 + usize::from(size)];
                interfaces.push(String::from_utf8(name.to_vec()).unwrap());
            }
            5 => content.statistics += 1,
            6 => {
                let nanoseconds =
                    u64::from(number(&block[12..])) << 32 | u64::from(number(&block[16..]));
                let data = block[28..][..number(&block[20..]) as usize].to_vec();
                let interface = interfaces[number(&block[8..]) as usize].clone();
                content.packets.push((interface, nanoseconds / 1_000_000_000, data));
            }
            _ => {}
        }
    }
    content
}

fn finished(writer: &mut Rotating) -> Vec<Finished> {
    let finished = writer.events().filter_map(|e| match e {
        Event::Finished(file) => Some(file),
        _ => None,
    });
    finished.collect()
}

#[test]
fn a_file_says_at_both_ends_how_far_the_clock_is_as_far_as_it_is_known() {
    let place = Place::new("clock");
    let rotation = Rotation { max_age: Some(Duration::from_secs(5)), ..Rotation::default() };
    let mut writer = Rotating::new(&place.0, "all", rotation, at(0));
    let source = writer.add(&interface("a")).unwrap();
    let mut said = Vec::new();
    for (nanos, seconds) in [(-1, 10), (2, 20), (3, 30)] {
        writer.write(source, &record(seconds, b"one"));
        let clock = Some(Offset { nanos, error: 7 });
        writer.summarise(source, Summary { clock, ..Summary::default() });
        writer.tick(at(seconds.into()));
        for file in finished(&mut writer) {
            let text = String::from_utf8_lossy(&fs::read(file.path).unwrap()).into_owned();
            // The index has descriptions and statistics once more.
            let text = text.split("rpcapix1").next().unwrap();
            let offsets = text.split("clock-offset-ns=").skip(1);
            let offsets: Vec<_> =
                offsets.map(|t| t.split(' ').next().unwrap().to_owned()).collect();
            said.push(offsets.join(" "));
        }
    }
    assert_eq!(said, ["-1", "-1 2", "2 3"]);
}

#[test]
fn a_file_has_the_interfaces_that_are_in_it_and_their_ledger() {
    let place = Place::new("interfaces");
    let mut writer = Rotating::new(&place.0, "all", Rotation::default(), at(0));
    let a = writer.add(&interface("a")).unwrap();
    let b = writer.add(&interface("b")).unwrap();
    let _silent = writer.add(&interface("silent")).unwrap();
    writer.write(a, &record(5, b"one"));
    writer.write(b, &record(3, b"two"));
    writer.remove(a);
    writer.summarise(b, Summary { delivered: Some(1), ..Summary::default() });
    // The place of one that is gone is another one's.
    let c = writer.add(&interface("c")).unwrap();
    assert_eq!(a, c);
    writer.write(c, &record(4, b"three"));
    writer.tick(at(1));
    let part = place.0.join("all-20270115T080000Z-000001.pcapng.part");
    assert_eq!(read(&part).packets.len(), 3, "what was ticked can be read");
    writer.finish();
    let file = finished(&mut writer).remove(0);
    assert_eq!(file.path, place.0.join("all-20270115T080000Z-000001.pcapng"));
    assert_eq!(file.bytes, fs::metadata(&file.path).unwrap().len());
    assert_eq!(file.span, Some((3_000_000_000, 5_000_000_000)));
    let sources = [("a", 1), ("b", 1), ("c", 1)].map(|(n, packets)| (n.to_owned(), packets));
    let mut told = file.sources.clone();
    told.sort();
    assert_eq!(told, sources);
    let content = read(&file.path);
    let packet = |name: &str, time, data: &[u8]| (name.to_owned(), time, data.to_vec());
    let expected = [packet("a", 5, b"one"), packet("b", 3, b"two"), packet("c", 4, b"three")];
    assert_eq!(content, Content { packets: expected.to_vec(), statistics: 3 });
    assert_eq!(writer.counts(), Counts { packets: 3, bytes: 11, ..Counts::default() });
    assert_eq!(place.files().len(), 1);
}

#[test]
fn files_end_by_age_without_a_packet() {
    let place = Place::new("age");
    let rotation = Rotation { max_age: Some(Duration::from_secs(60)), ..Rotation::default() };
    let mut writer = Rotating::new(&place.0, "x", rotation, at(0));
    let a = writer.add(&interface("a")).unwrap();
    writer.tick(at(100));
    assert!(place.files().is_empty(), "no packets, no file");
    writer.write(a, &record(1, b"x"));
    writer.tick(at(159));
    assert!(finished(&mut writer).is_empty());
    writer.tick(at(160));
    assert_eq!(finished(&mut writer).len(), 1);
    writer.tick(at(300));
    writer.finish();
    assert_eq!(place.files().len(), 1);
}

#[test]
fn a_clock_that_is_set_back_keeps_no_file_open() {
    let place = Place::new("clock");
    let rotation = Rotation { max_age: Some(Duration::from_secs(60)), ..Rotation::default() };
    let mut writer = Rotating::new(&place.0, "x", rotation, at(10_000));
    let a = writer.add(&interface("a")).unwrap();
    writer.write(a, &record(1, b"x"));
    writer.tick(at(0));
    assert_eq!(finished(&mut writer).len(), 1);
}

#[test]
fn the_total_holds_for_a_single_file_too() {
    let place = Place::new("single");
    let rotation = Rotation { total_bytes: Some(10_000), ..Rotation::default() };
    let mut writer = Rotating::new(&place.0, "x", rotation, at(0));
    let a = writer.add(&interface("a")).unwrap();
    for n in 0..100 {
        writer.write(a, &record(n, &[1; 1_000]));
        writer.tick(at(n.into()));
        let sizes = place.files().into_iter().map(|n| fs::metadata(place.0.join(n)).unwrap().len());
        assert!(sizes.sum::<u64>() <= 11_500);
    }
}

#[test]
fn the_oldest_files_make_room_also_those_of_an_earlier_run_and_no_others() {
    let place = Place::new("total");
    let others = ["x-other.pcapng", "x-20270115T080000Z-000009.pcapng.part", "y-1.pcapng"];
    for name in others {
        fs::write(place.0.join(name), [0; 10_000]).unwrap();
    }
    let rotation =
        Rotation { max_bytes: Some(10_000), total_bytes: Some(35_000), ..Rotation::default() };
    let mut all = Vec::new();
    for run in 0..3 {
        let mut writer = Rotating::new(&place.0, "x", rotation, at(run));
        let leftover = |e: &Event| matches!(e, Event::Leftover(path) if path.ends_with(others[1]));
        assert_eq!(writer.events().filter(leftover).count(), 1);
        let a = writer.add(&interface("a")).unwrap();
        for n in 0..50 {
            writer.write(a, &record(n, &[7; 1_000]));
        }
        writer.finish();
        all.extend(finished(&mut writer).into_iter().map(|f| f.path));
        let ours = place.files().into_iter().filter(|n| !others.contains(&n.as_str()));
        let sizes = ours.map(|n| fs::metadata(place.0.join(n)).unwrap().len());
        assert!(sizes.sum::<u64>() <= 35_000);
    }
    let kept: Vec<_> = all.iter().filter(|path| path.exists()).collect();
    assert_eq!(kept, all[all.len() - kept.len()..].iter().collect::<Vec<_>>());
    assert!(others.iter().all(|name| place.0.join(name).exists()));
}

#[test]
fn no_file_is_overwritten() {
    let place = Place::new("overwritten");
    let taken = ["x-20270115T080000Z-000001.pcapng", "x-20270115T080000Z-000002.pcapng.part"];
    for name in taken {
        fs::write(place.0.join(name), "mine").unwrap();
    }
    let mut writer = Rotating::new(&place.0, "x", Rotation::default(), at(0));
    let a = writer.add(&interface("a")).unwrap();
    writer.write(a, &record(1, b"x"));
    writer.finish();
    let file = finished(&mut writer).remove(0);
    assert!(file.path.ends_with("x-20270115T080000Z-000003.pcapng"));
    for name in taken {
        assert_eq!(fs::read(place.0.join(name)).unwrap(), b"mine");
    }
}

#[test]
fn a_directory_that_is_not_there_stops_the_writing_until_it_is() {
    let place = Place::new("missing");
    let missing = place.0.join("later");
    let mut writer = Rotating::new(&missing, "x", Rotation::default(), at(0));
    let a = writer.add(&interface("a")).unwrap();
    for n in 0..5 {
        writer.write(a, &record(n, b"xy"));
        writer.tick(at(u64::from(n) * 3));
    }
    let stopped = writer.events().filter(|e| matches!(e, Event::Stopped { .. })).count();
    assert_eq!(stopped, 1, "said once");
    let counts = Counts { unwritten_packets: 5, unwritten_bytes: 10, ..Counts::default() };
    assert_eq!(writer.counts(), counts);
    fs::create_dir(&missing).unwrap();
    writer.tick(at(30));
    assert!(writer.events().any(|e| matches!(e, Event::Resumed { unwritten: 5 })));
    writer.write(a, &record(9, b"z"));
    writer.finish();
    assert_eq!(finished(&mut writer)[0].packets, 1);
}

/// A file system of one megabyte.
struct Small(Place);

impl Small {
    fn new(name: &str) -> Option<Self> {
        let place = Place::new(name);
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&place.0)
            .output();
        if mount.is_ok_and(|m| m.status.success()) {
            return Some(Self(place));
        }
        assert!(std::env::var_os("RPCAP_REQUIRE_ALL").is_none(), "no file system can be mounted");
        let line = "SKIPPED: a full disk: no file system can be mounted here\n";
        let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0.0).status();
    }
}

#[test]
fn a_full_disk_leaves_readable_files_and_exact_counts() {
    for compress in [false, true] {
        let Some(small) = Small::new(if compress { "full-zst" } else { "full" }) else { return };
        let directory = &small.0.0;
        // What takes most of the room, and goes.
        fs::write(directory.join("others"), vec![1; 600_000]).unwrap();
        let rotation = Rotation { compress, ..Rotation::default() };
        let mut writer = Rotating::new(directory, "x", rotation, at(0));
        let a = writer.add(&interface("a")).unwrap();
        // Nothing that could be compressed.
        let mut seed = 1u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        let data: Vec<u8> = (0..3_000_000).map(|_| noise()).collect();
        let packets: Vec<_> = data.chunks(1_000).collect();
        let (mut files, mut stopped, mut resumed) = (Vec::new(), 0, 0);
        for (n, packet) in packets.iter().enumerate() {
            writer.write(a, &record(n as u32, packet));
            if n == 2_000 {
                fs::remove_file(directory.join("others")).unwrap();
                writer.tick(at(20));
            }
            for event in writer.events() {
                match event {
                    Event::Stopped { error, .. } => {
                        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                        stopped += 1;
                    }
                    Event::Resumed { .. } => resumed += 1,
                    Event::Finished(file) => files.push(file),
                    other => panic!("{other:?}"),
                }
            }
        }
        writer.finish();
        files.extend(finished(&mut writer));
        assert!(stopped >= 1 && resumed == 1, "stopped {stopped} times, resumed {resumed}");
        let counts = writer.counts();
        assert_eq!(counts.packets + counts.unwritten_packets, 3_000);
        assert!(counts.packets > 0 && counts.unwritten_packets > 0);
        let mut kept = 0;
        for file in files {
            let content = read(&file.path);
            assert_eq!(content.packets.len() as u64, file.packets);
            for (_, number, packet) in content.packets {
                assert_eq!(packet, packets[number as usize]);
                kept += 1;
            }
        }
        assert_eq!(kept, counts.packets);
        assert!(!small.0.files().iter().any(|name| name.ends_with(".part")));
    }
}

#[test]
fn compressed_files_are_whole_for_zstd() {
    let place = Place::new("zstd");
    let rotation = Rotation { compress: true, ..Rotation::default() };
    let mut writer = Rotating::new(&place.0, "x", rotation, at(0));
    let a = writer.add(&interface("a")).unwrap();
    for n in 0..3_000 {
        writer.write(a, &record(n, &[n as u8; 1_000]));
    }
    writer.finish();
    let file = finished(&mut writer).remove(0);
    assert!(file.bytes < 300_000, "{} bytes", file.bytes);
    assert_eq!(read(&file.path).packets.len(), 3_000);
    match Command::new("zstd").arg("-tq").arg(&file.path).status() {
        Ok(status) => assert!(status.success()),
        Err(e) => eprintln!("not checked with zstd: {e}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in whatever order: every packet is in one file, in order, and no file is
    /// longer than its limit, one packet and its statistics.
    #[test]
    fn every_packet_is_in_a_file(
        packets in prop::collection::vec((0..3usize, 0..3_000usize, prop::bool::weighted(0.1)), 1..400),
        limit in 1_000..200_000u64,
        compress: bool,
    ) {
        let place = Place::new(&format!("property-{limit}-{}", packets.len()));
        let rotation = Rotation { max_bytes: Some(limit), compress, ..Rotation::default() };
        let mut writer = Rotating::new(&place.0, "x", rotation, at(0));
        let sources = ["a", "b", "c"].map(|name| writer.add(&interface(name)).unwrap());
        let data = vec![0x55; 3_000];
        for (n, (source, size, tick)) in packets.iter().enumerate() {
            writer.write(sources[*source], &record(n as u32, &data[..*size]));
            if *tick {
                writer.tick(at(n as u64));
            }
        }
        writer.finish();
        let mut got = Vec::new();
        for file in finished(&mut writer) {
            let content = read(&file.path);
            prop_assert_eq!(content.packets.len() as u64, file.packets);
            prop_assert_eq!(file.packets, file.sources.iter().map(|(_, n)| n).sum::<u64>());
            prop_assert_eq!(file.bytes, fs::metadata(&file.path).unwrap().len());
            prop_assert!(file.bytes <= limit + 3_100 + 3 * 300, "{} bytes", file.bytes);
            got.extend(content.packets);
        }
        let names = ["a", "b", "c"];
        let expected = packets.iter().enumerate().map(|(n, (source, size, _))| {
            (names[*source].to_owned(), n as u64, data[..*size].to_vec())
        });
        prop_assert!(got == expected.collect::<Vec<_>>());
        prop_assert_eq!(writer.counts().packets, packets.len() as u64);
    }
}

#[test]
fn what_another_writer_finishes_later_makes_room_too() {
    let place = Place::new("later");
    let mut before = Rotating::new(&place.0, "x", Rotation::default(), at(0));
    let a = before.add(&interface("a")).unwrap();
    before.write(a, &record(0, &[7; 20_000]));
    before.tick(at(1));
    // A policy that was read again has another writer for the same files.
    let rotation =
        Rotation { max_bytes: Some(10_000), total_bytes: Some(35_000), ..Rotation::default() };
    let mut writer = Rotating::new(&place.0, "x", rotation, at(2));
    let b = writer.add(&interface("b")).unwrap();
    for n in 0..20 {
        writer.write(b, &record(n, &[7; 1_000]));
    }
    before.finish();
    let first = finished(&mut before).remove(0).path;
    assert!(first.exists());
    for n in 0..50 {
        writer.write(b, &record(n, &[7; 1_000]));
    }
    writer.finish();
    let removed = |e: Event| matches!(e, Event::Removed(path) if path == first);
    assert_eq!(writer.events().filter_map(|e| removed(e).then_some(())).count(), 1);
    let sizes = place.files().into_iter().map(|n| fs::metadata(place.0.join(n)).unwrap().len());
    assert!(sizes.sum::<u64>() <= 35_000);
}
