//! Daemons that tell their clock, or something that is none.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rpcap::client::{CaptureOptions, Client, Error};
use rpcap_proto::wire::{Clock, MarkedStats, Stats, StatsRequest};

use crate::common::{Daemon, STATS, client, message};

const CLOCK: u16 = 0x1000;

/// A client in a capture whose daemon answers each STATS as told.
fn capturing(extensions: u16, answer: impl Fn(&mut Daemon, &[u8]) + Send + 'static) -> Client {
    let mut client = client(move |d| {
        let _data = d.start_saying(extensions);
        while let Some((_, payload)) = d.hear() {
            answer(d, &payload);
        }
    });
    client.open("e0").unwrap();
    let _receiver = client.start(&CaptureOptions::default()).unwrap();
    client
}

fn reply(d: &mut Daemon, asked: &[u8], clock: Clock) {
    let mark = StatsRequest::read(asked).mark.expect("a mark");
    let stats = Stats { received: 8, ..Stats::default() };
    let mut bytes = Vec::new();
    MarkedStats { stats, mark, clock }.write(&mut bytes);
    d.say(&bytes);
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

#[test]
fn the_offset_is_within_its_error_whatever_the_way_takes() {
    const OFF: i64 = -1_234_567_890;
    for (there, back) in [(0, 0), (5, 0), (0, 9), (3, 12)] {
        let mut client = capturing(CLOCK, move |d, asked| {
            sleep(Duration::from_millis(there));
            let taken = now().checked_add_signed(OFF).unwrap();
            sleep(Duration::from_millis(2));
            let clock = Clock { taken, replied: now().checked_add_signed(OFF).unwrap() };
            sleep(Duration::from_millis(back));
            reply(d, asked, clock);
        });
        assert_eq!(client.clock_offset(), None);
        client.compare_clocks().unwrap();
        assert_eq!(client.stats().unwrap().received, 8);
        let offset = client.clock_offset().unwrap();
        assert!(offset.nanos.abs_diff(OFF) <= offset.error, "{there} {back}: {offset}");
        let way = (there + back) * 1_000_000;
        assert!(offset.error >= way / 2, "{there} {back}: {offset}");
        // Not what the daemon was busy for.
        assert!(offset.error < way / 2 + 1_000_000_000, "{there} {back}: {offset}");
    }
}

#[test]
fn a_clock_that_cannot_be_is_none() {
    for clock in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX)] {
        let (taken, replied) = clock;
        let mut client =
            capturing(CLOCK, move |d, asked| reply(d, asked, Clock { taken, replied }));
        client.compare_clocks().unwrap();
        assert_eq!((client.stats().unwrap().received, client.clock_offset()), (8, None));
    }
}

#[test]
fn the_clock_of_another_request_is_none() {
    let mut client =
        capturing(CLOCK, |d, _| reply(d, &[9; 8], Clock { taken: now(), replied: now() }));
    client.compare_clocks().unwrap();
    assert_eq!((client.stats().unwrap().received, client.clock_offset()), (8, None));
}

#[test]
fn a_daemon_that_grants_and_does_not_tell_is_malformed() {
    let mut client = capturing(CLOCK, |d, _| d.say(&message(STATS, 0, &[0; 16])));
    let error = client.compare_clocks().unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[test]
fn who_does_not_know_the_extension_is_asked_nothing_new() {
    for other in [0, !CLOCK] {
        let mut client = capturing(other, |d, asked| {
            assert!(asked.is_empty());
            d.say(&message(STATS, 0, &[0; 16]));
        });
        client.compare_clocks().unwrap();
        assert_eq!(client.stats().unwrap(), Stats::default());
        assert_eq!(client.clock_offset(), None);
    }
}
