use proptest::prelude::*;
use rpcap_proto::udpstr::{Counts, InvalidMtu, Packer, Unpacker};

use super::model::*;

/// Packs, checks the form, unpacks.
fn there_and_back(mtu: usize, sizes: &[usize]) {
    let packets = packets(sizes);
    let sent = pack(mtu, 0, &packets, |_| false);
    let form: Vec<Packet> = read(mtu, 0, &sent).into_iter().map(|p| p.0).collect();
    assert!(form == packets, "mtu {mtu}, {sizes:?}");
    let mut unpacker = Unpacker::new(262_144);
    let mut got = Vec::new();
    for datagram in &sent {
        unpacker.datagram(&datagram.bytes, |header, data| got.push((header, data.to_vec())));
    }
    unpacker.finish(|_, _| panic!("a packet was held back"));
    assert!(got == packets, "mtu {mtu}, {sizes:?}");
    let n = sent.len() as u64;
    let packets = packets.len() as u64;
    let expected = Counts { received: n, taken: n, packets, ..Counts::default() };
    assert_eq!(*unpacker.counts(), expected);
}

/// The size alone, many times, between small ones, and after every amount that shifts it.
fn row_106(size: impl Fn(usize) -> usize) {
    for mtu in [256, 500, 576, 1472, 8972, 65_000] {
        let size = size(mtu).min(262_144);
        there_and_back(mtu, &[size]);
        there_and_back(mtu, &[size; 40]);
        there_and_back(mtu, &[60, size, 60, size, size, 0, 9, size]);
        if mtu <= 576 {
            for before in 0..mtu {
                there_and_back(mtu, &[before, size, 1, size]);
            }
        }
    }
}

#[test]
fn d7_106_packets_of_0_bytes() {
    row_106(|_| 0);
}

#[test]
fn d7_106_packets_of_1_byte() {
    row_106(|_| 1);
}

#[test]
fn d7_106_packets_of_9_bytes() {
    row_106(|_| 9);
}

#[test]
fn d7_106_packets_of_10_bytes() {
    row_106(|_| 10);
}

#[test]
fn d7_106_packets_of_mtu_less_29_bytes() {
    row_106(|mtu| mtu - 29);
}

#[test]
fn d7_106_packets_of_mtu_less_28_bytes() {
    row_106(|mtu| mtu - 28);
}

#[test]
fn d7_106_packets_of_the_mtu() {
    row_106(|mtu| mtu);
}

#[test]
fn d7_106_packets_of_ten_times_the_mtu() {
    row_106(|mtu| 10 * mtu);
}

#[test]
fn d7_106_the_longest_packet() {
    there_and_back(256, &[262_144, 3, 262_144]);
    there_and_back(1472, &[262_144, 3, 262_144]);
}

#[test]
fn d7_105_limits_that_are_none() {
    for mtu in [0, 1, 36, 37, 255, 65_001, 70_000, usize::MAX] {
        assert_eq!(Packer::new(mtu).unwrap_err(), InvalidMtu(mtu));
        assert_eq!(Packer::new(500).unwrap().set_mtu(mtu), Err(InvalidMtu(mtu)));
    }
    assert!(Packer::new(256).is_ok() && Packer::new(65_000).is_ok());
}

#[test]
fn nothing_waits_after_a_batch_was_taken_and_numbers_go_on() {
    let mut packer = Packer::new(1472).unwrap();
    let [one, two] = [packet(1, 60), packet(2, 70)];
    packer.flush();
    assert!(packer.batch().is_empty());
    let mut sent = Vec::new();
    for (header, data) in [&one, &two] {
        packer.push(header, data);
        assert_eq!(packer.batch().datagrams(), 0);
        take(&mut packer, &mut sent);
        assert!(packer.batch().is_empty());
    }
    assert_eq!(sent.len(), 2);
    let got: Vec<Packet> = read(1472, 0, &sent).into_iter().map(|p| p.0).collect();
    assert_eq!(got, [one, two]);
}

#[test]
fn a_smaller_limit_holds_from_the_next_datagram_on() {
    let mut packer = Packer::new(8972).unwrap();
    let packets = packets(&[5000, 5000]);
    packer.push(&packets[0].0, &packets[0].1);
    packer.set_mtu(1472).unwrap();
    packer.push(&packets[1].0, &packets[1].1);
    packer.flush();
    let mut sent = Vec::new();
    take(&mut packer, &mut sent);
    assert_eq!(sent[0].bytes.len(), 5028);
    let got = read(1472, 1, &sent[1..]);
    assert_eq!((&got[0].0, sent.len()), (&packets[1], 5));
}

#[test]
fn a_capture_length_that_is_wrong_does_not_reach_the_stream() {
    let mut packer = Packer::new(1472).unwrap();
    let (header, data) = packet(1, 60);
    packer.push(&rpcap_proto::wire::PacketHeader { caplen: 7_000_000, ..header }, &data);
    packer.push(&header, &vec![1; 262_145]);
    packer.flush();
    let mut sent = Vec::new();
    take(&mut packer, &mut sent);
    let got = read(1472, 0, &sent);
    assert_eq!(got[0].0, (header, data));
    assert_eq!(got[1].0.1.len(), 262_144);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_sizes_and_limits(
        mtu in prop_oneof![256usize..1600, 256usize..=65_000],
        sizes in prop::collection::vec(
            prop_oneof![6 => 0usize..200, 3 => 0usize..1600, 1 => 0usize..=262_144], 0..60),
    ) {
        there_and_back(mtu, &sizes);
    }
}
