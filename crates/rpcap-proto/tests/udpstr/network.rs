//! The network loses, doubles and reorders; whatever it does, what can be delivered is.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rpcap_proto::udpstr::Unpacker;

use super::model::*;

/// What happens to one datagram.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    /// By how many places it is late; the window is 16.
    delay: usize,
    /// Another copy, so many places later.
    copy: Option<usize>,
}

fn fate() -> impl Strategy<Value = Fate> {
    let delay = prop_oneof![4 => Just(0usize), 1 => 0usize..8];
    let copy = prop_oneof![6 => Just(None), 1 => (0usize..30).prop_map(Some)];
    let lost = prop_oneof![7 => Just(false), 1 => Just(true)];
    (lost, delay, copy).prop_map(|(lost, delay, copy)| Fate { lost, delay, copy })
}

/// The datagrams in the order in which they arrive: by place, `true` for a copy.
fn arrivals(fates: &[Fate]) -> Vec<(usize, bool)> {
    let mut order = Vec::new();
    for (i, fate) in fates.iter().enumerate().filter(|(_, fate)| !fate.lost) {
        // A copy is never first.
        let original = 2 * (i + fate.delay);
        order.push((original, i, false));
        if let Some(later) = fate.copy {
            order.push((original + 2 * later + 1, i, true));
        }
    }
    order.sort_by_key(|(when, i, copy)| (*when, *copy, *i));
    order.into_iter().map(|(_, i, copy)| (i, copy)).collect()
}

fn check(mtu: usize, seqno: u32, sizes: &[usize], fates: &[Fate], flushes: &[bool]) {
    let packets = packets(sizes);
    let sent = pack(mtu, seqno, &packets, |i| flushes[i % flushes.len()]);
    let touched = read(mtu, seqno, &sent);
    let fates: Vec<Fate> = fates.iter().copied().cycle().take(sent.len()).collect();
    let order = arrivals(&fates);

    let mut unpacker = Unpacker::new(262_144).starting_at(seqno);
    let mut got = Vec::new();
    for (i, _) in &order {
        unpacker.datagram(&sent[*i].bytes, |header, data| got.push((header, data.to_vec())));
        assert!(unpacker.counts().packets == got.len() as u64);
    }
    unpacker.finish(|header, data| got.push((header, data.to_vec())));

    let came: BTreeSet<usize> = order.iter().map(|(i, _)| *i).collect();
    let whole = touched.iter().filter(|(_, on)| on.iter().all(|i| came.contains(i)));
    let expected: Vec<Packet> = whole.map(|(packet, _)| packet.clone()).collect();
    let numbers = |packets: &[Packet]| packets.iter().map(|p| p.0.npkt).collect::<Vec<_>>();
    assert_eq!(numbers(&got), numbers(&expected));
    assert!(got == expected, "some packet differs");

    let counts = unpacker.counts();
    let begun = touched.iter().filter(|(_, on)| came.contains(&on[0])).count();
    assert_eq!(counts.packets + counts.broken, begun as u64);
    assert_eq!(counts.received, order.len() as u64);
    assert_eq!(counts.taken, came.len() as u64);
    assert_eq!(counts.duplicates, order.iter().filter(|(_, copy)| *copy).count() as u64);
    assert_eq!((counts.late, counts.malformed), (0, 0));
    // Nobody knows of what was lost after the last that came.
    let passed = came.last().map_or(0, |last| last + 1);
    assert_eq!(counts.lost, (passed - came.len()) as u64);
    let mut newest = None;
    let mut reordered = 0;
    let mut seen = BTreeSet::new();
    for (i, _) in order.iter().filter(|(i, _)| seen.insert(*i)) {
        reordered += u64::from(newest > Some(*i));
        newest = newest.max(Some(*i));
    }
    assert_eq!(counts.reordered, reordered);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_no_missing_datagram_touches_is_delivered(
        mtu in prop_oneof![3 => 256usize..1600, 1 => 256usize..=65_000],
        seqno in prop_oneof![Just(0u32), any::<u32>(), (u32::MAX - 40)..=u32::MAX],
        sizes in prop::collection::vec(
            prop_oneof![8 => 0usize..200, 4 => 0usize..1600, 1 => 0usize..20_000], 1..120),
        fates in prop::collection::vec(fate(), 1..200),
        flushes in prop::collection::vec(prop::bool::weighted(0.1), 1..50),
    ) {
        check(mtu, seqno, &sizes, &fates, &flushes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn the_longest_packets_too(
        mtu in prop_oneof![3 => 256usize..9000, 1 => 256usize..=65_000],
        sizes in prop::collection::vec(0usize..=262_144, 1..6),
        fates in prop::collection::vec(fate(), 1..200),
    ) {
        check(mtu, 0, &sizes, &fates, &[false]);
    }
}
