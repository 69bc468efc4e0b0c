//! What another daemon really sent, decoded.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ops::ControlFlow;
use std::path::Path;

use rpcap::data::{DatagramDecoder, Gauge, Inlet};
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

#[test]
fn the_classic_stream_is_the_frames_that_were_sent() {
    let file = golden("classic.dgrams");
    let mut packets = Vec::new();
    let mut numbers = Vec::new();
    let mut sink = |header: &PacketHeader, data: &[u8]| {
        numbers.push(header.npkt);
        packets.push((header.len, data.to_vec()));
        ControlFlow::Continue(())
    };
    let gauge = Gauge::default();
    let mut inlet = Inlet::new(&mut sink, &gauge);
    let mut decoder = DatagramDecoder::new(65_535);
    let (mut at, mut datagrams) = (0, 0);
    while at < file.len() {
        let len = u32_at(&file, at) as usize;
        decoder.datagram(&file[at + 4..at + 4 + len], &mut inlet);
        at += 4 + len;
        datagrams += 1;
    }
    let received = *inlet.received();
    assert_eq!(datagrams, 4226);
    assert_eq!((received.packets, received.last_number), (4226, 4226));
    assert_eq!((received.gaps(), received.malformed, received.duplicates), (0, 0, 0));
    assert!(numbers.iter().copied().eq(1..=4226));
    assert!(packets == frames(), "some packet is not the frame that was sent");
}
