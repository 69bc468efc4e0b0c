use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::merge::{Options, merge};
use super::window::{Behind, Window};
use super::*;
use crate::clock::Offset;
use crate::file::copy::Copier;
use crate::file::rotate::{Rotating, Rotation};
use crate::file::{Format, Meta, Record, Summary, Writer};

const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_800_000_000 * SECOND;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("find-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A file with packets at these times.
    fn file(&self, name: &str, interface: &str, comment: Option<&str>, times: &[u64]) -> PathBuf {
        let path = self.0.join(name);
        let comment = comment.map(str::to_owned);
        let meta = Meta { linktype: 1, interface: interface.into(), comment, ..Meta::default() };
        let mut writer = Writer::new(Vec::new(), Format::Pcapng, &meta).unwrap();
        for time in times {
            writer.write(&record(*time)).unwrap();
        }
        fs::write(&path, writer.finish(&Summary::default()).unwrap()).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn record(time: u64) -> Record<'static> {
    let (secs, nanos) = (time / SECOND, (time % SECOND) as u32);
    Record { secs, nanos, len: 60, data: &[7; 60], ..Record::default() }
}

/// Keeps names of interfaces and times.
#[derive(Default)]
struct Kept {
    names: Vec<String>,
    packets: Vec<(String, u64)>,
    statistics: usize,
}

impl Target for Kept {
    fn interface(&mut self, interface: &Interface) -> Result<u32, CopyError> {
        self.names.push(interface.name().unwrap());
        Ok(self.names.len() as u32 - 1)
    }

    fn packet(&mut self, interface: u32, packet: &Copied<'_>) -> Result<(), CopyError> {
        assert_eq!(packet.data, [7; 60]);
        self.packets.push((self.names[interface as usize].clone(), packet.time));
        Ok(())
    }

    fn statistics(&mut self, _: u32, _: &Statistics) -> Result<(), CopyError> {
        self.statistics += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), CopyError> {
        Ok(())
    }
}

const OPTIONS: Options = Options { correct: true, window: Duration::from_secs(1), index: true };

fn merged(files: &[PathBuf], options: Options, selection: &mut Selection) -> (Kept, Found) {
    let mut kept = Kept::default();
    let found =
        merge(files, options, selection, &mut kept, &mut |note| panic!("{note:?}")).unwrap();
    assert_eq!(found.matched, kept.packets.len() as u64);
    (kept, found)
}

#[test]
fn clocks_are_corrected_and_a_little_disorder_is_put_in_order() {
    let place = Place::new("merge");
    let files = [
        // Two seconds ahead, and not quite in order.
        place.file(
            "a.pcapng",
            "a",
            Some("clock-offset-ns=2000000000 error-ns=5"),
            &[BEGIN + 2 * SECOND, BEGIN + 4 * SECOND, BEGIN + 4 * SECOND - 5, BEGIN + 9 * SECOND],
        ),
        place.file(
            "b.pcapng",
            "b",
            None,
            &[BEGIN + 1, BEGIN + 2 * SECOND - 7, BEGIN + 2 * SECOND - 6, BEGIN + SECOND],
        ),
    ];
    let named = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(name, time)| (name.to_string(), *time)).collect()
    };
    let (kept, found) = merged(&files, OPTIONS, &mut Selection::default());
    let expected = [
        ("a", BEGIN),
        ("b", BEGIN + 1),
        ("b", BEGIN + SECOND),
        ("b", BEGIN + 2 * SECOND - 7),
        ("b", BEGIN + 2 * SECOND - 6),
        ("a", BEGIN + 2 * SECOND - 5),
        ("a", BEGIN + 2 * SECOND),
        ("a", BEGIN + 7 * SECOND),
    ];
    assert_eq!(kept.packets, named(&expected));
    assert_eq!((found.late, kept.statistics), (0, 2));

    let narrow = Options { window: Duration::from_nanos(1), ..OPTIONS };
    let (kept, found) = merged(&files, narrow, &mut Selection::default());
    assert_eq!((kept.packets.len(), found.late), (8, 1));

    let raw = Options { correct: false, ..OPTIONS };
    let (kept, _) = merged(&files, raw, &mut Selection::default());
    assert_eq!(kept.packets[7], ("a".to_owned(), BEGIN + 9 * SECOND));
    assert!(kept.packets.is_sorted_by_key(|(_, time)| *time));

    // The times asked for are the corrected ones.
    let mut selection = Selection {
        since: BEGIN + 2 * SECOND - 7,
        until: BEGIN + 2 * SECOND,
        ..Selection::default()
    };
    let (kept, _) = merged(&files, OPTIONS, &mut selection);
    assert_eq!(kept.packets, named(&expected[3..6]));
    let mut selection = Selection { count: 3, ..Selection::default() };
    let (kept, _) = merged(&files, OPTIONS, &mut selection);
    assert_eq!(kept.packets, named(&expected[..3]));
}

#[test]
fn more_files_than_may_be_open() {
    let place = Place::new("many");
    let files: Vec<PathBuf> = (0..300)
        .map(|n| {
            let times: Vec<u64> = (0..20).map(|i| BEGIN + i * SECOND + n).collect();
            place.file(&format!("{n}.pcapng"), &format!("agent{n} eth0"), None, &times)
        })
        .collect();
    let (kept, _) = merged(&files, OPTIONS, &mut Selection::default());
    assert_eq!(kept.packets.len(), 6000);
    assert!(kept.packets.is_sorted_by_key(|(_, time)| *time));
    let mut selection =
        Selection { agents: vec![WildMatch::new("agent29?")], ..Selection::default() };
    let (kept, _) = merged(&files, OPTIONS, &mut selection);
    assert_eq!((kept.packets.len(), kept.names.len()), (200, 10));
}

/// A day of two agents in files of an hour.
fn day(place: &Place, compress: bool) -> Vec<PathBuf> {
    for (agent, offset) in [("web1", 0), ("web2", 500)] {
        let rotation =
            Rotation { compress, max_age: Some(Duration::from_secs(3600)), ..Rotation::default() };
        let at = |s| UNIX_EPOCH + Duration::from_secs(1_800_000_000 + s);
        let mut writer = Rotating::new(&place.0, agent, rotation, at(0));
        let interface = format!("{agent} eth0");
        let source = writer.add(&Meta { linktype: 1, interface, ..Meta::default() }).unwrap();
        for minute in 0..24 * 60 {
            writer.tick(at(minute * 60));
            writer.write(source, &record(BEGIN + minute * 60 * SECOND + offset));
        }
        writer.finish();
    }
    let files = super::files(std::slice::from_ref(&place.0)).unwrap();
    assert_eq!(files.len(), 48);
    files
}

#[test]
fn an_hour_of_a_day_is_found_without_reading_the_day() {
    for compress in [false, true] {
        let place = Place::new(&format!("day-{compress}"));
        let files = day(&place, compress);
        let hour = |n: u64| Selection {
            since: BEGIN + n * 3600 * SECOND,
            until: BEGIN + (n + 1) * 3600 * SECOND,
            ..Selection::default()
        };
        let mut kept = Kept::default();
        let note = &mut |note: Note<'_>| panic!("{note:?}");
        let found = read(&files, Settings::default(), &mut hour(7), &mut kept, note).unwrap();
        assert_eq!((found.files, found.skipped_files, found.matched), (2, 46, 120));
        assert!(found.bytes * 20 < found.skipped_bytes, "{found:?}");
        assert!(kept.packets[..60].is_sorted_by_key(|(_, time)| *time));

        let (kept, found) = merged(&files, OPTIONS, &mut hour(7));
        assert_eq!((found.files, found.skipped_files, found.matched), (2, 46, 120));
        assert!(kept.packets.is_sorted_by_key(|(_, time)| *time));
        let (kept, _) = merged(&files, OPTIONS, &mut Selection::default());
        assert_eq!(kept.packets.len(), 2880);
        assert!(kept.packets.is_sorted_by_key(|(_, time)| *time));

        let mut of_one = Selection { agents: vec![WildMatch::new("web1")], ..hour(7) };
        let mut kept = Kept::default();
        let found = read(&files, Settings::default(), &mut of_one, &mut kept, note).unwrap();
        assert_eq!((found.files, found.matched), (1, 60));
    }
}

#[test]
fn a_filter_is_for_the_link_type() {
    if !capture_has_libpcap() {
        return;
    }
    let place = Place::new("filter");
    let file = place.file("a.pcapng", "a", None, &[BEGIN]);
    for (text, matched) in [("len = 60", 1), ("len != 60", 0), ("ether[0] = 7", 1), ("ip", 0)] {
        let mut selection = Selection { filter: Some(text.into()), ..Selection::default() };
        let (_, found) = merged(std::slice::from_ref(&file), OPTIONS, &mut selection);
        assert_eq!((found.packets, found.matched), (1, matched), "{text}");
    }
    let mut selection = Selection { filter: Some("no filter".into()), ..Selection::default() };
    let result = merge(&[file], OPTIONS, &mut selection, &mut Kept::default(), &mut |_| ());
    assert!(matches!(result, Err(FindError::Filter(_))));
}

fn capture_has_libpcap() -> bool {
    let has = crate::filter::from_text("ip", 1, 100).is_ok();
    assert!(has || std::env::var_os("RPCAP_REQUIRE_ALL").is_none_or(|all| all != "1"));
    has
}

#[test]
fn statistics_behind_a_packet_are_held_within_the_same_bytes() {
    let mut kept = Kept { names: vec!["a".into()], ..Kept::default() };
    let mut window = Window::new(SECOND, u64::MAX);
    let mut behind = Behind { window: &mut window, target: &mut kept };
    let packet = Copied { time: BEGIN, len: 60, data: &[7; 60], options: (&[], false) };
    behind.packet(0, &packet).unwrap();
    // 32 bytes in memory each, although there is nothing in them.
    let options = vec![(1, Vec::new()); 10_000];
    let statistics = Statistics { interface: 0, time: BEGIN, options };
    for _ in 0..300 {
        behind.statistics(0, &statistics).unwrap();
    }
    let held = (300 - kept.statistics) * 320_000;
    assert!(held <= 64 << 20, "{held}");
    assert_eq!(kept.packets.len(), 1);
}

#[test]
fn a_copy_tells_the_clock_until_timestamps_are_corrected() {
    let place = Place::new("copy");
    let file = place.0.join("a.pcapng");
    let meta = Meta { linktype: 1, interface: "a".into(), ..Meta::default() };
    let mut writer = Writer::new(Vec::new(), Format::Pcapng, &meta).unwrap();
    writer.write(&record(BEGIN)).unwrap();
    // Datagrams: only the end tells.
    let clock = Some(Offset { nanos: -2_000_000_000, error: 5 });
    let summary = Summary { clock, ..Summary::default() };
    fs::write(&file, writer.finish(&summary).unwrap()).unwrap();
    let copy = |from: &Path, name: &str, correct| {
        let mut copier = Copier::new(Vec::new(), Format::Pcapng).unwrap();
        let (options, note) =
            (Options { correct, ..OPTIONS }, &mut |note: Note<'_>| panic!("{note:?}"));
        merge(&[from.to_owned()], options, &mut Selection::default(), &mut copier, note).unwrap();
        let path = place.0.join(name);
        fs::write(&path, copier.into_inner().unwrap()).unwrap();
        path
    };
    let plain = copy(&file, "plain.pcapng", false);
    let corrected = copy(&plain, "corrected.pcapng", true);
    let again = copy(&corrected, "again.pcapng", true);
    assert_eq!(fs::read(&corrected).unwrap(), fs::read(&again).unwrap());
    for (path, offset) in [(&file, clock), (&plain, clock), (&corrected, None), (&again, None)] {
        let reader = Reader::open(path, Settings::default()).unwrap();
        assert_eq!(reader.clock_offset(0), offset.map(|o| o.nanos), "{path:?}");
        let (kept, _) = merged(std::slice::from_ref(path), OPTIONS, &mut Selection::default());
        assert_eq!(kept.packets, [("a".to_owned(), BEGIN + 2 * SECOND)], "{path:?}");
    }
}
