//! The deframer: however a stream is cut, the same messages come out.

#[path = "support/mod.rs"]
mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use rpcap_proto::deframe::{Deframer, Frame};
use rpcap_proto::wire::{Header, MessageType};
use support::{claiming, hex, message};

/// Gives the deframer one piece after the other and collects what comes out.
fn deframe<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, max: u32) -> Vec<(Header, Vec<u8>)> {
    let mut deframer = Deframer::new(max);
    let mut messages = Vec::new();
    for piece in pieces {
        deframer.push(piece);
        while let Frame::Message(header, payload) = deframer.next_frame() {
            messages.push((header, payload.to_vec()));
        }
    }
    messages
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        payloads in vec((any::<u8>(), vec(any::<u8>(), 0..50)), 0..8),
        len in 1usize..40,
    ) {
        let stream: Vec<u8> = payloads
            .iter()
            .flat_map(|(kind, payload)| message((*kind).into(), payload))
            .collect();
        let expected: Vec<_> = payloads.iter().map(|(kind, p)| ((*kind).into(), p)).collect();
        let messages = deframe(stream.chunks(len), 50);
        let got: Vec<(MessageType, &Vec<u8>)> = messages.iter().map(|(h, p)| (h.kind, p)).collect();
        prop_assert_eq!(got, expected);
    }
}

#[test]
fn a_message_is_given_out_when_its_last_byte_comes_and_not_before() {
    let bytes = message(MessageType::OpenRequest, b"eth0");
    let mut deframer = Deframer::new(100);
    for (at, byte) in bytes.iter().enumerate() {
        let frame = deframer.next_frame();
        let started = at > 0;
        let undecided = false;
        assert_eq!(frame, Frame::Incomplete { started, undecided }, "at {at}");
        deframer.push(&[*byte]);
    }
    assert!(matches!(deframer.next_frame(), Frame::Message(_, b"eth0")));
    assert!(deframer.buffered().is_empty());
}

#[test]
fn a_claim_above_the_bound_is_told_from_the_header_alone() {
    for (len, oversize) in [(100, false), (101, true), (u32::MAX, true)] {
        let mut deframer = Deframer::new(100);
        deframer.push(&claiming(3, len, b""));
        let frame = deframer.next_frame();
        assert_eq!(matches!(frame, Frame::Oversize(_)), oversize, "{len}");
    }
}

const SHORT_START: &str = "0004 0000 00000014 | 00040000 000001f4 0001 0000 | 00010000 00000001";

/// The payload's length, or whether the deframer still waits to know it.
fn start_length(following: &str, settled: bool) -> Result<usize, bool> {
    let mut deframer = Deframer::tolerant(100);
    deframer.push(&hex(SHORT_START));
    deframer.push(&hex(following));
    if settled {
        deframer.settle();
    }
    match deframer.next_frame() {
        Frame::Message(_, payload) => Ok(payload.len()),
        Frame::Incomplete { undecided, .. } => Err(undecided),
        Frame::Oversize(header) => panic!("{header:?}"),
    }
}

#[test]
fn the_missing_eight_bytes_are_taken_only_where_they_are_an_instruction() {
    assert_eq!(start_length("0006 00 00 00040000", false), Ok(28));
    assert_eq!(start_length("0006 00 00 ffffffff", false), Ok(28));
    assert_eq!(start_length("0006 0000 00000000", false), Ok(20), "CLOSE");
    assert_eq!(start_length("0009 0000 00000000", false), Ok(20), "STATS");
    assert_eq!(start_length("0006 0100 00040000", false), Ok(20));
    for some in ["", "00", "0006", "000600", "00060000", "0006000000", "00060000000400"] {
        assert_eq!(start_length(some, false), Err(true), "{some}");
        assert_eq!(start_length(some, true), Ok(20), "{some}");
    }
    assert_eq!(start_length("01", false), Ok(20));
}

#[test]
fn a_client_gives_no_such_tolerance() {
    let mut deframer = Deframer::new(100);
    deframer.push(&hex(SHORT_START));
    deframer.push(&hex("0006 00 00 00040000"));
    assert!(matches!(deframer.next_frame(), Frame::Message(_, p) if p.len() == 20));
}

#[test]
fn a_decision_holds_for_what_had_come_and_not_for_what_comes() {
    let mut deframer = Deframer::tolerant(100);
    deframer.push(&hex(SHORT_START));
    deframer.settle();
    assert!(matches!(deframer.next_frame(), Frame::Message(_, p) if p.len() == 20));
    deframer.push(&hex(SHORT_START));
    let frame = deframer.next_frame();
    assert!(matches!(frame, Frame::Incomplete { undecided: true, .. }), "{frame:?}");
}
