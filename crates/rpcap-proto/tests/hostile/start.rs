//! STARTCAP and its filter.

use std::time::Duration;

use rpcap_proto::session::{Direction, Start};
use rpcap_proto::wire::{ErrorCode, MessageType};

use crate::peer::{Peer, START};
use crate::support::{claiming, hex, message};

const TOO_SHORT: &str = "Message payload is too short";
const BAD_FILTER: &str = "The filter is not valid: ";
const RUNNING: &str = "A capture is already running";

/// A STARTCAP with this payload before its filter, and a filter of these instructions.
fn start_with(head: &str, filter: &str) -> Vec<u8> {
    let filter = hex(filter);
    let mut payload = hex(head);
    payload.extend_from_slice(&[0, 1, 0, 0]);
    payload.extend_from_slice(&(filter.len() as u32 / 8).to_be_bytes());
    payload.extend_from_slice(&filter);
    message(MessageType::StartCaptureRequest, &payload)
}

const HEAD: &str = "00040000 000001f4 0001 0000";
const EVERYTHING: &str = "0006 00 00 00040000";

/// Refused with this code's text, with nothing captured and the stream in step.
#[track_caller]
fn not_started(bytes: &[u8], text: &str) {
    let mut peer = Peer::opened();
    peer.refused_like(bytes, ErrorCode::StartCapture, text);
    assert!(peer.host.running.is_none());
    peer.stays();
}

#[track_caller]
fn bad_filter(filter: &str) {
    not_started(&start_with(HEAD, filter), BAD_FILTER);
}

/// What the program is asked to start.
#[track_caller]
fn started(bytes: &[u8]) -> Start {
    let mut peer = Peer::opened();
    peer.answered(bytes, MessageType::StartCaptureReply);
    let start = peer.host.running.clone().expect("a capture");
    peer.stays();
    start
}

#[test]
fn d5_060_without_open() {
    let mut peer = Peer::accepted();
    let text = "No capture device was specified";
    peer.refused(&hex(START), ErrorCode::StartCapture, text);
    peer.stays();
}

#[test]
fn d5_061_too_short() {
    for len in [0, 11, 12, 19] {
        let mut payload = hex(START)[8..].to_vec();
        payload.truncate(len);
        let start = message(MessageType::StartCaptureRequest, &payload);
        not_started(&start, TOO_SHORT);
    }
}

#[test]
fn d5_062_the_missing_eight_bytes() {
    let mut bytes = hex(START);
    bytes[7] = 20;
    let start = started(&bytes);
    assert_eq!(start.filter.instructions().len(), 1);
}

#[test]
fn d5_063_no_instruction_behind_a_short_start() {
    let mut bytes = hex(START)[..28].to_vec();
    bytes[7] = 20;
    bytes.extend(message(MessageType::StatsRequest, b""));
    let mut peer = Peer::opened();
    let replies = peer.send(&bytes);
    let kinds: Vec<_> = replies.iter().map(|(h, _)| (h.kind, h.value)).collect();
    assert_eq!(kinds, [(MessageType::Error, 12), (MessageType::StatsReply, 0)]);
    assert_eq!(replies[0].1, TOO_SHORT.as_bytes());
}

#[test]
fn d5_064_no_instructions() {
    bad_filter("");
}

#[test]
fn d5_065_more_instructions_than_allowed() {
    for (count, text) in [
        (8193, "Filter program of 8193 instructions"),
        (0x2000_0001, "Filter program of 536870913 instructions"),
        (u32::MAX, "Filter program of 4294967295 instructions"),
    ] {
        let mut payload = hex(HEAD);
        payload.extend_from_slice(&[0, 1, 0, 0]);
        payload.extend_from_slice(&count.to_be_bytes());
        let start = message(MessageType::StartCaptureRequest, &payload);
        not_started(&start, text);
    }
}

#[test]
fn d5_066_fewer_instructions_than_claimed() {
    let mut bytes = start_with(HEAD, &EVERYTHING.repeat(5));
    bytes[27] = 10;
    not_started(&bytes, TOO_SHORT);
}

#[test]
fn d5_067_filter_types() {
    for (kind, text) in [
        (0u16, "Only BPF filters are supported, not filter type 0"),
        (2, "Only BPF filters are supported, not filter type 2"),
        (0xffff, "Only BPF filters are supported, not filter type 65535"),
    ] {
        let mut bytes = hex(START);
        bytes[20..22].copy_from_slice(&kind.to_be_bytes());
        not_started(&bytes, text);
    }
}

#[test]
fn d5_068_unknown_instruction() {
    bad_filter("ffff 00 00 00000000");
    bad_filter("ffff 00 00 00000000 0006 00 00 00040000");
}

#[test]
fn d5_069_programs_that_do_not_end() {
    bad_filter("0000 00 00 00000000");
    bad_filter(&"0000 00 00 00000000".repeat(8192));
}

#[test]
fn d5_069_jumps_out_of_the_program() {
    bad_filter("0015 01 00 00000000 0006 00 00 00040000");
    bad_filter("0015 00 01 00000000 0006 00 00 00040000");
    bad_filter("0015 ff ff 00000000 0006 00 00 00040000");
    bad_filter("0005 00 00 00000001 0006 00 00 00040000");
}

#[test]
fn d5_069_jumps_back() {
    bad_filter("0005 00 00 ffffffff 0006 00 00 00040000");
    bad_filter("0006 00 00 00000000 0005 00 00 fffffffe 0006 00 00 00040000");
}

#[test]
fn d5_069_scratch_memory_that_does_not_exist() {
    for code in ["0002", "0003", "0060", "0061"] {
        bad_filter(&format!("{code} 00 00 00000010 0006 00 00 00040000"));
        bad_filter(&format!("{code} 00 00 ffffffff 0006 00 00 00040000"));
    }
}

#[test]
fn d5_069_division_by_zero() {
    bad_filter("0034 00 00 00000000 0006 00 00 00040000");
    bad_filter("0094 00 00 00000000 0006 00 00 00040000");
}

#[test]
fn d5_069_the_longest_program_is_allowed() {
    let start = started(&start_with(HEAD, &EVERYTHING.repeat(8192)));
    assert_eq!(start.filter.instructions().len(), 8192);
}

#[test]
fn d5_070_unknown_flags_are_ignored() {
    let start = started(&start_with("00040000 000001f4 fff9 0000", EVERYTHING));
    assert!(start.promisc);
    assert_eq!(start.direction, Direction::Both);
    assert_eq!(start.flags.0, 0xfff9);
    let all = start_with("00040000 000001f4 ffff 0009", EVERYTHING);
    assert_eq!(started(&all).flags.0, 0xffff);
}

#[test]
fn d5_071_snaplen_is_clamped() {
    for (asked, given) in [
        ("00000000", 262_144),
        ("00000001", 1),
        ("00040000", 262_144),
        ("00040001", 262_144),
        ("7fffffff", 262_144),
        ("80000000", 262_144),
        ("ffffffff", 262_144),
    ] {
        let head = format!("{asked} 000001f4 0001 0000");
        let start = started(&start_with(&head, EVERYTHING));
        assert_eq!(start.snaplen, given, "{asked}");
    }
}

#[test]
fn d5_072_read_timeout_is_clamped() {
    for (asked, given) in [
        ("00000000", 1),
        ("00000001", 1),
        ("000001f4", 500),
        ("80000000", 60_000),
        ("ffffffff", 60_000),
    ] {
        let head = format!("00040000 {asked} 0001 0000");
        let start = started(&start_with(&head, EVERYTHING));
        assert_eq!(start.read_timeout, Duration::from_millis(given), "{asked}");
    }
}

#[test]
fn d5_073_a_data_connection_to_port_0() {
    let text = "The data connection needs the client's port, which is 0";
    for flags in ["0002", "0004", "0006"] {
        let head = format!("00040000 000001f4 {flags} 0000");
        not_started(&start_with(&head, EVERYTHING), text);
    }
}

/// A capture is refused and the one that runs is not touched.
fn second_start(bytes: &[u8]) {
    let mut peer = Peer::capturing();
    let before = peer.host.running.clone();
    peer.refused(bytes, ErrorCode::StartCapture, RUNNING);
    assert_eq!(peer.host.running, before);
    peer.stays();
    let end = message(MessageType::EndCaptureRequest, b"");
    peer.answered(&end, MessageType::EndCaptureReply);
    peer.answered(&hex(START), MessageType::StartCaptureReply);
}

#[test]
fn d5_077_twice() {
    second_start(&hex(START));
}

#[test]
fn d5_078_twice_with_a_bad_filter() {
    second_start(&start_with(HEAD, "ffff 00 00 00000000"));
    second_start(&claiming(4, 3, b"abc"));
}

#[test]
fn d5_080_bytes_after_the_filter() {
    let mut payload = hex(START)[8..].to_vec();
    payload.extend_from_slice(&[6; 100]);
    let start = started(&message(MessageType::StartCaptureRequest, &payload));
    assert_eq!(start.filter.instructions().len(), 1);
}
