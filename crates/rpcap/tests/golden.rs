//! What another daemon really sent, decoded.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ops::ControlFlow;
use std::path::Path;

use rpcap::data::{DatagramDecoder, Gauge, Inlet, Received, Tally};
use rpcap_proto::udpstr::Counts;
use rpcap_proto::wire::PacketHeader;

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The records of a little-endian pcap: original length and bytes.
fn frames() -> Vec<(u32, Vec<u8>)> {
    let file = golden("frames.pcap");
    let (mut at, mut frames) = (24, Vec::new());
    while at < file.len() {
        let caplen = u32_at(&file, at + 8) as usize;
        frames.push((u32_at(&file, at + 12), file[at + 16..at + 16 + caplen].to_vec()));
        at += 16 + caplen;
    }
    frames
}

/// What comes of a stream.
struct Decoded {
    /// Original lengths and bytes.
    packets: Vec<(u32, Vec<u8>)>,
    numbers: Vec<u32>,
    received: Received,
    datagrams: u64,
}

fn decode(name: &str) -> Decoded {
    let file = golden(name);
    let mut packets = Vec::new();
    let mut numbers = Vec::new();
    let mut sink = |header: &PacketHeader, data: &[u8]| {
        numbers.push(header.npkt);
        packets.push((header.len, data.to_vec()));
        ControlFlow::Continue(())
    };
    let gauge = Gauge::default();
    let mut tally = Tally::default();
    let mut inlet = Inlet::new(&mut tally, &mut sink, &gauge);
    let mut decoder = DatagramDecoder::new(65_535);
    let (mut at, mut datagrams) = (0, 0);
    while at < file.len() {
        let len = u32_at(&file, at) as usize;
        decoder.datagram(&file[at + 4..at + 4 + len], &mut inlet);
        at += 4 + len;
        datagrams += 1;
    }
    // Nothing is held back in a stream without a gap.
    let before = inlet.received().packets;
    decoder.finish(&mut inlet);
    let received = *inlet.received();
    assert_eq!(received.packets, before);
    Decoded { packets, numbers, received, datagrams }
}

fn check(name: &str, datagrams: u64, complete: u32, udpstr: Counts) {
    let Decoded { packets, numbers, received, datagrams: n } = decode(name);
    assert_eq!(n, datagrams);
    assert_eq!(received.packets, u64::from(complete));
    assert_eq!(received.last_number, u64::from(complete));
    assert_eq!((received.gaps(), received.malformed, received.duplicates), (0, 0, 0));
    assert!(numbers.iter().copied().eq(1..=complete));
    assert!(frames().starts_with(&packets), "some packet is not the frame that was sent");
    assert_eq!(received.udpstr, udpstr);
}

/// The counts of a stream that nothing is missing from.
fn udpstr(name: &str, datagrams: u64, complete: u32, broken: u64) {
    let counts = Counts {
        received: datagrams,
        taken: datagrams,
        packets: complete.into(),
        broken,
        ..Counts::default()
    };
    check(name, datagrams, complete, counts);
}

#[test]
fn the_classic_stream_is_the_frames_that_were_sent() {
    check("classic.dgrams", 4226, 4226, Counts::default());
}

#[test]
fn the_udpstr_stream_of_1472_bytes_is_the_frames_that_were_sent() {
    udpstr("udpstr-1472.dgrams", 401, 4224, 0);
}

#[test]
fn the_udpstr_stream_of_500_bytes_is_the_frames_that_were_sent_up_to_its_end_within_one() {
    udpstr("udpstr-500.dgrams", 1100, 4221, 1);
}

#[test]
fn the_udpstr_stream_of_8972_bytes_is_the_frames_that_were_sent() {
    udpstr("udpstr-8972.dgrams", 286, 4221, 0);
}

#[test]
fn the_udpstr_stream_of_two_threads_is_the_frames_that_were_sent() {
    udpstr("udpstr-threaded.dgrams", 371, 4226, 0);
}
