use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{Event, Instruction, Stats};

/// A file that is removed at the end of its test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(bytes: &[u8]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("capture-{}-{number}.pcap", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// (seconds, fraction, wire length, bytes)
type Row<'a> = (u32, u32, u32, &'a [u8]);

fn savefile(magic: u32, big_endian: bool, linktype: u32, rows: &[Row<'_>]) -> Vec<u8> {
    let u32 = |value: u32| {
        if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    };
    let u16 = |value: u16| {
        if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    };
    let mut out = Vec::new();
    out.extend(u32(magic));
    out.extend(u16(2));
    out.extend(u16(4));
    for field in [0, 0, 262_144, linktype] {
        out.extend(u32(field));
    }
    for &(secs, fraction, len, data) in rows {
        for field in [secs, fraction, data.len() as u32, len] {
            out.extend(u32(field));
        }
        out.extend(data);
    }
    out
}

type Got = (u32, u32, u32, Vec<u8>);

/// Everything that comes before the first timeout.
fn drain(capture: &mut Capture) -> Vec<Got> {
    let mut got = Vec::new();
    while let Event::Block(mut block) = capture.next(Some(Duration::ZERO)).unwrap() {
        got.extend(block.packets().map(|p| (p.ts.secs, p.ts.nanos, p.len, p.data.to_vec())));
    }
    got
}

const ROWS: &[Row<'_>] = &[(10, 500, 3, &[1, 2, 3]), (11, 7, 1000, &[4, 5])];

#[test]
fn both_byte_orders_and_both_precisions() {
    for big_endian in [false, true] {
        for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let file = TempFile::new(&savefile(magic, big_endian, 1, ROWS));
            let mut capture = open(&file.0, &Options::default(), false).unwrap();
            assert_eq!(capture.linktype(), LinkType::ETHERNET);
            assert_eq!(
                drain(&mut capture),
                [(10, 500 * unit, 3, vec![1, 2, 3]), (11, 7 * unit, 1000, vec![4, 5])]
            );
        }
    }
}

#[test]
fn file_numbers_become_this_hosts() {
    let file = TempFile::new(&savefile(0xa1b2_c3d4, false, 101, &[]));
    assert_eq!(open(&file.0, &Options::default(), false).unwrap().linktype(), LinkType::RAW);
}

#[test]
fn filter_snaplen_and_ledger() {
    let file = TempFile::new(&savefile(0xa1b2_c3d4, false, 1, ROWS));
    // ldb [0]; jeq #1 → keep 2 of it, else nothing
    let filter = vec![
        Instruction::stmt(0x30, 0),
        Instruction::jump(0x15, 1, 0, 1),
        Instruction::stmt(0x06, 2),
        Instruction::stmt(0x06, 0),
    ];
    let options = Options { filter, ..Options::default() };
    let mut capture = open(&file.0, &options, false).unwrap();
    assert_eq!(drain(&mut capture), [(10, 500_000, 3, vec![1, 2])]);
    let stats = capture.control().stats().unwrap();
    assert_eq!(stats, Stats { received: 1, filter_in_user_space: true, ..Stats::default() });

    let mut capture = open(&file.0, &Options { snaplen: 1, ..Options::default() }, false).unwrap();
    let bytes: Vec<_> = drain(&mut capture).into_iter().map(|got| got.3).collect();
    assert_eq!(bytes, [[1], [4]]);
}

#[test]
fn what_is_not_walked_is_counted() {
    let file = TempFile::new(&savefile(0xa1b2_c3d4, false, 1, ROWS));
    let mut capture = open(&file.0, &Options::default(), false).unwrap();
    let Event::Block(mut block) = capture.next(None).unwrap() else { panic!("no block") };
    assert!(block.packets().next().is_some());
    drop(block);
    let stats = capture.control().stats().unwrap();
    assert_eq!((stats.received, stats.unread), (2, 1));
}

#[test]
fn paced_by_time_stamps() {
    let rows: &[Row<'_>] = &[(10, 0, 1, &[1]), (10, 60_000, 1, &[2]), (9, 0, 1, &[3])];
    let file = TempFile::new(&savefile(0xa1b2_c3d4, false, 1, rows));
    let mut capture = open(&file.0, &Options::default(), true).unwrap();
    let start = Instant::now();
    assert_eq!(drain(&mut capture).len(), 1);
    let Event::Block(mut block) = capture.next(None).unwrap() else { panic!("no block") };
    // The one from before the beginning follows at once.
    assert_eq!(block.packets().count(), 2);
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[test]
fn quiet_at_the_end_until_stopped() {
    let file = TempFile::new(&savefile(0xa1b2_c3d4, false, 1, ROWS));
    let mut capture = open(&file.0, &Options::default(), false).unwrap();
    drain(&mut capture);
    assert!(matches!(capture.next(Some(Duration::from_millis(5))).unwrap(), Event::Timeout));
    let control = capture.control();
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        control.wake();
        thread::sleep(Duration::from_millis(20));
        control.stop();
    });
    assert!(matches!(capture.next(None).unwrap(), Event::Woken));
    assert!(matches!(capture.next(None).unwrap(), Event::Ended));
    assert!(matches!(capture.next(None).unwrap(), Event::Ended));
    other.join().unwrap();
}

#[test]
fn a_torn_file_gives_what_it_has_then_an_error_then_quiet() {
    let whole = savefile(0xa1b2_c3d4, false, 1, ROWS);
    for cut in [1, 5] {
        let file = TempFile::new(&whole[..whole.len() - cut]);
        let mut capture = open(&file.0, &Options::default(), false).unwrap();
        let mut packets = 0;
        let error = loop {
            match capture.next(Some(Duration::ZERO)) {
                Ok(Event::Block(mut block)) => packets += block.packets().count(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("ends within a packet"), "{error}");
        assert_eq!(packets, 1);
        assert!(matches!(capture.next(Some(Duration::ZERO)).unwrap(), Event::Timeout));
    }
}

#[test]
fn what_is_no_savefile_says_so() {
    let huge = savefile(0xa1b2_c3d4, false, 1, &[]);
    let huge = [&huge[..], &[0; 8], &u32::MAX.to_le_bytes(), &[0; 4]].concat();
    let file = TempFile::new(&huge);
    let mut capture = open(&file.0, &Options::default(), false).unwrap();
    assert!(capture.next(Some(Duration::ZERO)).unwrap_err().to_string().contains("too long"));

    for (bytes, words) in [
        (&b""[..], "too short"),
        (&[0; 24], "unknown magic"),
        (
            &[0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "pcapng",
        ),
    ] {
        let file = TempFile::new(bytes);
        let error = open(&file.0, &Options::default(), false).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(matches!(
        open("/no/such/file", &Options::default(), false),
        Err(Error::Savefile { .. })
    ));
}
