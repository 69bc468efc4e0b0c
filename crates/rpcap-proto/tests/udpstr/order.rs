use rpcap_proto::udpstr::{Unpacker, WINDOW};

use super::model::*;

/// One packet of 60 bytes in each datagram, numbered alike from `seqno` on.
fn singles(seqno: u32, count: usize) -> Vec<Vec<u8>> {
    let sent = pack(1472, seqno, &packets(&vec![60; count]), |_| true);
    sent.into_iter().map(|sent| sent.bytes).collect()
}

/// Packet numbers that come out after each datagram of `order`.
fn feed(unpacker: &mut Unpacker, datagrams: &[Vec<u8>], order: &[usize]) -> Vec<Vec<u32>> {
    let mut out = Vec::new();
    for i in order {
        let mut now = Vec::new();
        unpacker.datagram(&datagrams[*i], |header, _| now.push(header.npkt));
        out.push(now);
    }
    out
}

fn flush(unpacker: &mut Unpacker) -> Vec<u32> {
    let mut now = Vec::new();
    unpacker.flush(|header, _| now.push(header.npkt));
    now
}

#[test]
fn d8_115_loss_costs_what_touches_it() {
    let sent = pack(256, 0, &packets(&[100, 300, 50, 700, 60, 60]), |_| false);
    let touched = read(256, 0, &sent);
    for missing in 0..sent.len() {
        let mut unpacker = Unpacker::new(65_535);
        let mut got = Vec::new();
        for (i, datagram) in sent.iter().enumerate().filter(|(i, _)| *i != missing) {
            let _ = i;
            unpacker.datagram(&datagram.bytes, |header, _| got.push(header.npkt));
        }
        unpacker.finish(|header, _| got.push(header.npkt));
        let whole = touched.iter().filter(|(_, on)| !on.contains(&missing));
        let expected: Vec<u32> = whole.map(|(packet, _)| packet.0.npkt).collect();
        assert_eq!(got, expected);
        assert_eq!(unpacker.counts().lost, u64::from(missing + 1 < sent.len()));
    }
}

#[test]
fn d8_115_duplicates_are_dropped() {
    let datagrams = singles(0, 4);
    let mut unpacker = Unpacker::new(65_535);
    let got = feed(&mut unpacker, &datagrams, &[0, 0, 1, 3, 3, 0, 2, 2, 3]);
    assert_eq!(got.concat(), [1, 2, 3, 4]);
    let counts = unpacker.counts();
    assert_eq!((counts.duplicates, counts.reordered, counts.lost), (5, 1, 0));
}

#[test]
fn d8_115_a_gap_is_healed_within_the_window() {
    let datagrams = singles(0, 40);
    let mut unpacker = Unpacker::new(65_535);
    assert_eq!(feed(&mut unpacker, &datagrams, &[1, 2, 3]), [[]; 3] as [[u32; 0]; 3]);
    assert_eq!(unpacker.waits_for(), Some(0));
    assert_eq!(feed(&mut unpacker, &datagrams, &[0]), [[1, 2, 3, 4]]);
    assert_eq!(unpacker.waits_for(), None);
    // The window is full: what is missing is lost, the rest follows.
    let order: Vec<usize> = (5..5 + WINDOW as usize).collect();
    let got = feed(&mut unpacker, &datagrams, &order);
    assert!(got[..15].iter().all(Vec::is_empty));
    assert_eq!(got[15], (6..6 + WINDOW).collect::<Vec<u32>>());
    assert_eq!(unpacker.counts().lost, 1);
    // Too late.
    assert_eq!(feed(&mut unpacker, &datagrams, &[4]).concat(), []);
    let counts = *unpacker.counts();
    assert_eq!((counts.late, counts.duplicates, counts.reordered), (1, 0, 1));
}

#[test]
fn d8_115_time_ends_the_wait() {
    let datagrams = singles(0, 10);
    let mut unpacker = Unpacker::new(65_535);
    feed(&mut unpacker, &datagrams, &[0, 2, 5, 6]);
    assert_eq!(flush(&mut unpacker), [3, 6, 7]);
    assert_eq!(unpacker.counts().lost, 3);
    assert_eq!(flush(&mut unpacker), []);
    assert_eq!(feed(&mut unpacker, &datagrams, &[7]).concat(), [8]);
}

#[test]
fn d8_115_numbers_wrap() {
    let datagrams = singles(u32::MAX - 1, 5);
    assert_eq!(u32_at(&datagrams[2], 4), 0);
    let mut unpacker = Unpacker::new(65_535).starting_at(u32::MAX - 1);
    let got = feed(&mut unpacker, &datagrams, &[0, 2, 1, 4, 2]);
    assert_eq!(got.concat(), [1, 2, 3]);
    assert_eq!(flush(&mut unpacker), [5]);
    let counts = unpacker.counts();
    assert_eq!((counts.lost, counts.duplicates, counts.reordered), (1, 1, 1));
}

#[test]
fn d8_115_a_long_outage_is_counted_exactly() {
    let mut unpacker = Unpacker::new(65_535);
    feed(&mut unpacker, &singles(0, 3), &[0, 1, 2]);
    let after = singles(3_000_003 - 1_000_000, 3);
    feed(&mut unpacker, &after, &[0, 1, 2]);
    assert_eq!(flush(&mut unpacker).len(), 3);
    assert_eq!(unpacker.counts().lost, 2_000_000);
}

#[test]
fn one_forged_number_does_not_end_the_stream() {
    let mut unpacker = Unpacker::new(65_535);
    let datagrams = singles(0, 200);
    feed(&mut unpacker, &datagrams, &(0..50).collect::<Vec<_>>());
    feed(&mut unpacker, &singles(0x4000_0000, 1), &[0]);
    let got = feed(&mut unpacker, &datagrams, &(50..200).collect::<Vec<_>>());
    assert_eq!(got.concat().last(), Some(&200));
    let counts = unpacker.counts();
    // Three were not believed.
    assert_eq!((counts.packets, counts.late), (198, 3));
    assert!(counts.lost < 10, "{counts:?}");
}
