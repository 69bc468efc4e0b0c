//! Other requests.

use std::time::Duration;

use crate::daemon::{DEVICE, Daemon, Options, eventually};
use crate::data::Data;
use crate::message::{self as m, Start};
use crate::peer::Peer;
use crate::savefile;

const TOO_SHORT: &str = "Message payload is too short";

/// Most payload that the daemon takes with any request: a STARTCAP with the longest filter.
const PAYLOAD_MAX: usize = 20 + 8 * 8192;

#[test]
fn d6_083_updatefilter_without_a_capture() {
    let daemon = Daemon::start();
    for mut peer in [Peer::accepted(&daemon), Peer::opened(&daemon)] {
        let text = peer.refused(&m::msg(m::UPDATEFILTER, &[0, 1, 0, 0, 0, 0, 0, 0]), 7);
        assert_eq!(text, "Device not opened. Cannot update filter");
    }
    daemon.logged_times(2, "Cannot update filter");
    daemon.finish();
}

#[test]
fn d6_084_bad_filters_leave_the_old_one() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::filtered(m::EVEN));
    data.take(2);
    let good = m::filter(m::ALL);
    let bad = [
        vec![],
        good[..7].to_vec(),
        good[..15].to_vec(),
        m::filter_claiming(1, 2, m::ALL),
        m::filter_claiming(1, 8193, m::ALL),
        m::filter_claiming(1, u32::MAX, m::ALL),
        m::filter_claiming(2, 1, m::ALL),
        m::filter(&[(0xffff, 0, 0, 0), m::RET_ALL]),
        m::filter(&[(0x05, 0, 0, 9), m::RET_ALL]),
        m::filter(&[(0x00, 0, 0, 0)]),
    ];
    for payload in &bad {
        peer.refused(&m::msg(m::UPDATEFILTER, payload), 7);
        // It comes after the refusal, if not after what was captured before that.
        let packets = data.take(3);
        assert!(packets.iter().all(|p| p.data[0] % 2 == 0));
    }
    daemon.logged_times(bad.len(), "code=UpdateFilter|request=\"UPDATEFILTER\"");
    peer.endcap();
    daemon.finish();
}

#[test]
fn d6_084_a_filter_of_no_instructions_leaves_the_old_one() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::filtered(m::EVEN));
    data.take(2);
    peer.refused(&m::msg(m::UPDATEFILTER, &m::filter(&[])), 7);
    assert!(data.take(6).iter().all(|p| p.data[0] % 2 == 0));
    daemon.finish();
}

#[test]
fn d6_085_endcap_without_a_capture() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let text = peer.refused(&m::msg(m::ENDCAP, &[0, 1, 0, 0]), 13);
    assert_eq!(text, "Device not opened. Cannot close the capture");
    daemon.logged_once(&text);
    daemon.finish();
}

#[test]
fn d6_085_endcap_twice() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    peer.capture(&Start::default()).take(24);
    peer.endcap();
    peer.refused(&m::msg(m::ENDCAP, &[]), 13);
    daemon.logged_once("code=EndCapture");
    daemon.finish();
}

#[test]
fn d6_086_stats_before_a_capture() {
    let daemon = Daemon::start();
    assert_eq!(Peer::accepted(&daemon).stats(), [0; 4]);
    let mut peer = Peer::opened(&daemon);
    assert_eq!(peer.stats(), [0; 4]);
    // And after one they stay.
    peer.capture(&Start::default()).take(24);
    peer.endcap();
    assert_eq!(peer.stats(), [24, 0, 0, 24]);
    daemon.finish();
}

#[test]
fn d6_087_stats_with_a_payload() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    for len in [1, 65_536, PAYLOAD_MAX] {
        peer.send(&m::msg(m::STATS, &vec![0x41; len]));
        assert_eq!(peer.stats_reply(), [0; 4]);
    }
    for len in [PAYLOAD_MAX + 1, 1 << 20] {
        let mut peer = Peer::accepted(&daemon);
        peer.send_what_is_taken(&m::msg(m::STATS, &vec![0x41; len]));
        assert_eq!(peer.error(8), "Message payload is too long");
        peer.gone();
        daemon.logged_once(&format!("a message claims {len} bytes"));
    }
    daemon.finish();
}

#[test]
fn d6_088_setsampling_cut_short() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    for len in [0, 3, 4, 7] {
        let text = peer.refused(&m::msg(m::SETSAMPLING, &[0; 7][..len]), 15);
        assert_eq!(text, TOO_SHORT);
    }
    daemon.logged_times(4, "code=SetSampling");
    daemon.finish();
}

/// The numbers of the packets that come with these settings, the last of which counts, out of 24
/// that are a millisecond apart.
fn sampled(settings: &[(u8, u32)]) -> Vec<u8> {
    let daemon = Daemon::with_packets(savefile::packets([60; 24], Duration::from_millis(1)));
    let mut peer = Peer::opened(&daemon);
    for (method, value) in settings {
        peer.send(&m::sampling(*method, *value));
        assert_eq!(peer.reply(m::SETSAMPLING), []);
    }
    let mut data = peer.capture(&Start::default());
    eventually("all packets are captured", || peer.stats()[0] == 24);
    peer.endcap();
    let numbers = data.rest().iter().map(|p| p.data[0]).collect();
    assert!(daemon.logged("capture ended").contains("balanced=yes"));
    daemon.finish();
    numbers
}

#[test]
fn d6_089_sampling_by_zero_is_none() {
    let all: Vec<u8> = (0..24).collect();
    assert_eq!(sampled(&[(1, 0)]), all);
    assert_eq!(sampled(&[(2, 0)]), all);
    assert_eq!(sampled(&[(1, 7), (1, 0)]), all);
}

#[test]
fn d6_090_sampling_by_the_largest_number() {
    assert_eq!(sampled(&[(1, u32::MAX)]), [0]);
    assert_eq!(sampled(&[(2, u32::MAX)]), [0]);
}

#[test]
fn d6_090_unknown_sampling_methods() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    for method in [3, 7, 255] {
        for value in [0, 1, u32::MAX] {
            let text = peer.refused(&m::sampling(method, value), 15);
            assert_eq!(text, "Unknown sampling method");
        }
    }
    daemon.logged_times(9, "code=SetSampling");
    daemon.finish();
}

#[test]
fn d6_091_setsampling_with_five_bytes_too_many() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.send(&m::msg(m::SETSAMPLING, &[1, 0, 0, 0, 0, 0, 0, 5, 9, 9, 9, 9, 9]));
    assert_eq!(peer.reply(m::SETSAMPLING), []);
    peer.in_sync();
    daemon.finish();
}

#[test]
fn d6_092_close_with_a_payload_during_a_capture() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let uses = daemon.uses();
    let mut peer = Peer::opened(&daemon);
    let mut data: Data = peer.capture(&Start::default());
    data.take(3);
    peer.send(&m::msg(m::CLOSE, &[0x41; 100]));
    peer.end();
    data.rest();
    daemon.back_to(uses);
    daemon.logged_once("session ended: closed by the peer");
    assert!(daemon.logged_once("capture ended").contains("balanced=yes"));
    daemon.finish();
}

/// The records of a device list: name, description and number of addresses.
fn devices(payload: &[u8], count: u16) -> Vec<(Vec<u8>, Vec<u8>, u16)> {
    let mut rest = payload;
    let mut take = |len: usize| {
        let (head, tail) = rest.split_at(len);
        rest = tail;
        head.to_vec()
    };
    let field = |b: &[u8]| u16::from_be_bytes(b.try_into().unwrap());
    let found = (0..count)
        .map(|_| {
            let head = take(12);
            let (name, description) = (field(&head[..2]), field(&head[2..4]));
            let addresses = field(&head[8..10]);
            let (name, description) = (take(name.into()), take(description.into()));
            take(512 * usize::from(addresses));
            (name, description, addresses)
        })
        .collect();
    assert_eq!(rest, [], "bytes that belong to no device");
    found
}

#[test]
fn d6_093_findallif_with_a_payload_of_64_kib() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.send(&m::msg(m::FINDALLIF, &[0x41; 65_536]));
    let message = peer.read();
    assert_eq!(message.kind, m::FINDALLIF | m::REPLY);
    let devices = devices(&message.payload, message.value);
    assert_eq!(devices[0].0, DEVICE.as_bytes());
    peer.in_sync();
    daemon.finish();
}

#[test]
fn d6_095_names_that_are_not_ascii() {
    let name = "dé\u{1b}mo\n☃0";
    let daemon = Daemon::with(Options {
        devices: &[(name, savefile::bytes(&savefile::burst(1)))],
        ..Options::default()
    });
    let mut peer = Peer::accepted(&daemon);
    peer.send(&m::msg(m::FINDALLIF, &[]));
    let message = peer.read();
    let devices = devices(&message.payload, message.value);
    assert_eq!(devices[1].0, name.as_bytes());
    let description = String::from_utf8(devices[1].1.clone()).unwrap();
    assert!(description.ends_with(&format!("{name}.pcap")), "{description}");

    peer.send(&m::open(name));
    assert_eq!(peer.reply(m::OPEN).len(), 8);
    assert_eq!(peer.capture(&Start::default()).take(1).len(), 1);
    peer.endcap();
    daemon.logged_once("capture started");
    daemon.logged_once("capture ended");
    daemon.finish();
}
