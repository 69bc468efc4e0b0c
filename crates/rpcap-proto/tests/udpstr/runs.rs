use proptest::prelude::*;
use rpcap_proto::batch::{Batch, RUN_BYTES, RUN_DATAGRAMS};
use rpcap_proto::udpstr::Packer;

use super::model::*;

fn batch(mtu: usize, sizes: &[usize], flush: impl Fn(usize) -> bool) -> Batch {
    let mut packer = Packer::new(mtu).unwrap();
    for (i, (header, data)) in packets(sizes).iter().enumerate() {
        packer.push(header, data);
        if flush(i) {
            packer.flush();
        }
    }
    std::mem::take(packer.flushed())
}

fn shapes(batch: &Batch) -> Vec<(usize, usize)> {
    batch.runs().map(|run| (run.segment_size, run.datagrams)).collect()
}

#[test]
fn full_datagrams_share_a_run_that_a_shorter_one_seals() {
    let sent = batch(1472, &[64; 100], |i| i == 99);
    assert_eq!(sent.len(), 100 * 84 + 6 * 8);
    // In the third datagram a packet ends so near the limit that no other starts.
    let sizes = [0, 1, 2, 3, 4, 5].map(|at| sent.datagram(at).unwrap().bytes.len());
    assert_eq!(sizes, [1472, 1472, 1448, 1472, 1472, 1112]);
    assert_eq!(shapes(&sent), [(1472, 3), (1472, 3)]);
    let long = batch(1472, &[50_000; 3], |i| i == 2);
    assert_eq!(shapes(&long), [(1472, 44), (1472, 44), (1472, 15)]);
    let small = batch(256, &[50_000], |_| true);
    assert_eq!(shapes(&small), [(256, 64), (256, 64), (256, 64), (256, 10)]);
}

#[test]
fn a_longer_datagram_starts_a_run() {
    let sent = batch(1472, &[60, 60, 900, 60, 900], |_| true);
    assert_eq!(shapes(&sent), [(88, 2), (928, 2), (928, 1)]);
}

proptest! {
    #[test]
    fn runs_are_the_batch_and_can_be_sent(
        mtu in 256usize..9000,
        sizes in prop::collection::vec(0usize..4000, 0..200),
        flushed in prop::collection::vec(any::<bool>(), 200),
        from in 0usize..50,
    ) {
        let sent = batch(mtu, &sizes, |i| flushed[i]);
        let mut next = from;
        for run in sent.runs_from(from) {
            prop_assert_eq!(run.first, next);
            prop_assert!(run.datagrams <= RUN_DATAGRAMS && run.bytes.len() <= RUN_BYTES);
            let (mut bytes, mut packets) = (Vec::new(), 0);
            for (i, segment) in run.bytes.chunks(run.segment_size).enumerate() {
                let datagram = sent.datagram(next + i).unwrap();
                prop_assert_eq!(datagram.bytes, segment);
                bytes.extend_from_slice(segment);
                packets += u64::from(datagram.packets);
            }
            prop_assert_eq!((bytes.len(), packets), (run.bytes.len(), run.packets));
            prop_assert_eq!(run.bytes.len().div_ceil(run.segment_size), run.datagrams);
            next += run.datagrams;
        }
        prop_assert_eq!(next, sent.datagrams().max(from));
    }
}
