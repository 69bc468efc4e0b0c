use proptest::prelude::*;
use rpcap_proto::udpstr::{DATAGRAM_MAX, Unpacker};

use super::model::*;

/// A datagram by hand.
fn datagram(first: u16, seqno: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 110];
    bytes.extend_from_slice(&first.to_be_bytes());
    bytes.extend_from_slice(&seqno.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A packet's header with any capture length, and so many bytes of its data.
fn beginning(caplen: u32, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; 20 + bytes];
    out[8..12].copy_from_slice(&caplen.to_be_bytes());
    out
}

/// Packets delivered, and counts of malformed datagrams and broken packets.
fn fate(datagrams: &[Vec<u8>]) -> (u64, u64, u64) {
    let mut unpacker = Unpacker::new(1500);
    for bytes in datagrams {
        unpacker.datagram(bytes, |header, data| {
            assert_eq!(header.caplen as usize, data.len());
        });
    }
    unpacker.finish(|_, _| {});
    let counts = unpacker.counts();
    (counts.packets, counts.malformed, counts.broken)
}

#[test]
fn d8_114_datagrams_that_are_none() {
    let good = beginning(60, 60);
    let len = 8 + good.len() as u16;
    for first in [0, 1, 7, len - 19, len - 1, len, len + 1, 0x7fff, 0xfffe] {
        assert_eq!(fate(&[datagram(first, 0, &good)]), (0, 1, 0), "{first}");
    }
    let whole = datagram(8, 0, &good);
    for short in 0..28 {
        assert_eq!(fate(&[whole[..short].to_vec()]), (0, 1, 0), "{short}");
    }
    for (at, value) in [(0, 1), (1, 7), (1, 111)] {
        let mut other = whole.clone();
        other[at] = value;
        assert_eq!(fate(&[other]), (0, 1, 0));
    }
    let mut endless = whole.clone();
    endless.resize(DATAGRAM_MAX + 1, 0);
    assert_eq!(fate(&[endless]), (0, 1, 0));
    assert_eq!(fate(&[whole]), (1, 0, 0));
}

#[test]
fn contradictions_cost_the_datagram_and_the_packet_in_part() {
    let start = datagram(8, 0, &beginning(100, 40));
    let next = datagram(8, 2, &beginning(5, 5));
    let rest = |first: u16, len: usize| datagram(first, 1, &vec![7; len]);
    let with = |second: Vec<u8>| fate(&[start.clone(), second, next.clone()]);
    // As it should be, in one piece and with another packet behind it.
    assert_eq!(with(rest(0xffff, 60)), (2, 0, 0));
    let two = [vec![7; 60], beginning(9, 9)].concat();
    assert_eq!(with(datagram(68, 1, &two)), (3, 0, 0));
    // The rest is too long, too short although a packet follows, or not there.
    assert_eq!(with(rest(0xffff, 61)), (1, 1, 1));
    assert_eq!(with(datagram(67, 1, &two)), (1, 1, 1));
    assert_eq!(with(datagram(69, 1, &two)), (1, 1, 1));
    assert_eq!(with(datagram(8, 1, &beginning(5, 5))), (1, 1, 1));
    // The rest is short: the next datagram should go on with it.
    assert_eq!(with(rest(0xffff, 59)), (0, 1, 1));
    // The rest of nothing.
    assert_eq!(fate(&[rest(0xffff, 60)]), (0, 0, 0), "number 0 is missing");
    assert_eq!(fate(&[datagram(0xffff, 0, &[7; 60])]), (0, 1, 0));
    assert_eq!(fate(&[datagram(9, 0, &[7; 60])]), (0, 1, 0));
}

#[test]
fn lengths_beyond_the_snaplen_are_refused() {
    for caplen in [1501, 65_536, 262_145, u32::MAX] {
        let bad = [beginning(3, 3), beginning(caplen, 40)].concat();
        assert_eq!(fate(&[datagram(8, 0, &bad)]), (0, 1, 0), "{caplen}");
    }
    // Nor is a header split.
    for left in 1..20 {
        let bad = [beginning(3, 3), vec![0; left]].concat();
        assert_eq!(fate(&[datagram(8, 0, &bad)]), (0, 1, 0), "{left}");
    }
}

proptest! {
    #[test]
    fn any_bytes_leave_the_counts_whole(
        datagrams in prop::collection::vec(
            (prop_oneof![Just(0xffffu16), 6u16..60], any::<u32>(), 0u32..40, 0u8..8,
             prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..80)), 0..80),
    ) {
        let mut unpacker = Unpacker::new(300);
        let mut packets = 0;
        for (first, far, near, which, payload) in &datagrams {
            let seqno = if *which == 0 { *far } else { *near };
            unpacker.datagram(&datagram(*first, seqno, payload), |header, data| {
                assert!(header.caplen as usize == data.len() && data.len() <= 300);
                packets += 1;
            });
            if *which == 1 {
                unpacker.flush(|_, _| packets += 1);
            }
        }
        unpacker.finish(|_, _| packets += 1);
        let c = unpacker.counts();
        prop_assert_eq!(c.received, datagrams.len() as u64);
        prop_assert_eq!(c.received, c.taken + c.duplicates + c.late + c.malformed);
        prop_assert_eq!(c.packets, packets);
    }
}

#[test]
fn what_follows_garbage_is_read_again() {
    let sent = pack(500, 0, &packets(&[700; 20]), |_| false);
    let mut unpacker = Unpacker::new(1500);
    let mut got = 0;
    for (i, one) in sent.iter().enumerate() {
        let mut bytes = one.bytes.clone();
        if i == 5 {
            bytes[2..4].copy_from_slice(&[0xff, 0xff]);
        }
        unpacker.datagram(&bytes, |_, _| got += 1);
    }
    let counts = unpacker.counts();
    assert!(got >= 17, "{counts:?}");
    assert_eq!(got, counts.packets);
}
