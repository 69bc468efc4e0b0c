//! The other requests.

use rpcap_proto::session::{Action, EndReason};
use rpcap_proto::wire::{ErrorCode, MessageType, Sampling};

use crate::peer::{Peer, START};
use crate::support::host::CLOCK;
use crate::support::{claiming, hex, message};

fn sampling_after(payload: &[u8]) -> Sampling {
    let mut peer = Peer::opened();
    let set = message(MessageType::SetSamplingRequest, payload);
    peer.answered(&set, MessageType::SetSamplingReply);
    peer.answered(&hex(START), MessageType::StartCaptureReply);
    peer.host.running.expect("a capture").sampling
}

#[test]
fn d6_083_update_filter_without_capture() {
    let mut peer = Peer::opened();
    let mut bytes = message(MessageType::UpdateFilterRequest, &hex("00010000 00000000"));
    bytes.extend(message(MessageType::StatsRequest, b""));
    let replies = peer.send(&bytes);
    let kinds: Vec<_> = replies.iter().map(|(h, _)| (h.kind, h.value)).collect();
    assert_eq!(kinds, [(MessageType::Error, 7), (MessageType::StatsReply, 0)]);
    assert_eq!(replies[0].1, b"Device not opened. Cannot update filter");
}

#[test]
fn d6_084_bad_filters_leave_the_old_one() {
    let mut peer = Peer::capturing();
    let before = peer.host.filter.clone();
    assert!(before.is_some());
    let too_short = "Message payload is too short";
    for (payload, text) in [
        ("", too_short),
        ("00010000 000000", too_short),
        ("00010000 00000002 0006000000000040", too_short),
        ("00010000 00000001 ffff000000000000", "The filter is not valid: "),
    ] {
        let update = message(MessageType::UpdateFilterRequest, &hex(payload));
        peer.refused_like(&update, ErrorCode::UpdateFilter, text);
        peer.stays();
        assert_eq!(peer.host.filter, before);
        assert!(peer.host.running.is_some());
    }
    let good = hex("00010000 00000001 0006000000000040");
    let update = message(MessageType::UpdateFilterRequest, &good);
    peer.answered(&update, MessageType::UpdateFilterReply);
    assert_ne!(peer.host.filter, before);
}

#[test]
fn d6_085_endcap_without_capture() {
    let mut peer = Peer::opened();
    let end = message(MessageType::EndCaptureRequest, &[0, 6, 0, 0]);
    let text = "Device not opened. Cannot close the capture";
    peer.refused(&end, ErrorCode::EndCapture, text);
    peer.stays();
}

#[test]
fn d6_086_stats_before_capture() {
    let mut peer = Peer::accepted();
    let stats = message(MessageType::StatsRequest, b"");
    assert_eq!(peer.answered(&stats, MessageType::StatsReply), [0; 16]);
}

#[test]
fn d6_087_stats_with_payload() {
    let mut peer = Peer::accepted();
    let kept = message(MessageType::StatsRequest, &vec![6; 64 * 1024]);
    peer.answered(&kept, MessageType::StatsReply);
    peer.stays();
    let text = "Message payload is too long";
    let stats = claiming(9, 1 << 20, &[6; 4096]);
    peer.refused(&stats, ErrorCode::GetStats, text);
    peer.ended(&EndReason::Oversize(1 << 20));
}

#[test]
fn a_mark_is_eight_bytes_and_asks_for_the_clock_only_where_that_was_offered() {
    let mut peer = Peer::opened();
    let stats = |peer: &mut Peer, payload: &[u8]| {
        peer.answered(&message(MessageType::StatsRequest, payload), MessageType::StatsReply)
    };
    assert_eq!(stats(&mut peer, &[6; 8]), [0; 16]);
    let mut start = hex(START);
    start[16] |= 0x10;
    let reply = peer.answered(&start, MessageType::StartCaptureReply);
    assert_eq!(reply[6..], [0x10, 0]);
    for short in [0, 7] {
        assert_eq!(stats(&mut peer, &vec![6; short]), [0; 16]);
    }
    for long in [8, 64 * 1024] {
        let told = stats(&mut peer, &vec![6; long]);
        assert_eq!((told.len(), &told[..16], &told[16..24]), (40, &[0; 16][..], &[6; 8][..]));
        assert_eq!(told[24..32], CLOCK.taken.to_be_bytes());
        assert_eq!(told[32..], CLOCK.replied.to_be_bytes());
    }
    peer.stays();
}

#[test]
fn d6_088_sampling_too_short() {
    for len in [0, 3, 7] {
        let mut peer = Peer::accepted();
        let set = message(MessageType::SetSamplingRequest, &vec![1; len]);
        let text = "Message payload is too short";
        peer.refused(&set, ErrorCode::SetSampling, text);
        peer.stays();
    }
}

#[test]
fn d6_089_sampling_by_zero_is_none() {
    assert_eq!(sampling_after(&hex("01 000000 00000000")), Sampling::None);
    assert_eq!(sampling_after(&hex("02 000000 00000000")), Sampling::None);
}

#[test]
fn d6_090_sampling_of_unknown_methods_and_great_values() {
    for method in ["03", "ff"] {
        let mut peer = Peer::accepted();
        let payload = hex(&format!("{method} 000000 00000005"));
        let set = message(MessageType::SetSamplingRequest, &payload);
        peer.refused(&set, ErrorCode::SetSampling, "Unknown sampling method");
        peer.stays();
    }
    let greatest = Sampling::OneEvery(u32::MAX);
    assert_eq!(sampling_after(&hex("01 000000 ffffffff")), greatest);
    let longest = Sampling::FirstAfterMs(u32::MAX);
    assert_eq!(sampling_after(&hex("02 000000 ffffffff")), longest);
}

#[test]
fn d6_091_sampling_with_surplus() {
    let five = Sampling::OneEvery(5);
    assert_eq!(sampling_after(&hex("01 000000 00000005 0006000000")), five);
}

#[test]
fn d6_092_close_with_payload_during_capture() {
    let mut peer = Peer::capturing();
    assert_eq!(peer.send(&message(MessageType::Close, &[9; 50])), []);
    let authenticated = true;
    peer.ended(&EndReason::Closed { authenticated });
}

#[test]
fn d6_093_list_with_payload() {
    let mut peer = Peer::accepted();
    let list = message(MessageType::FindAllIfRequest, &vec![6; 64 * 1024]);
    peer.answered(&list, MessageType::FindAllIfReply);
    assert_eq!(peer.asked(), &Action::ListDevices);
    peer.stays();
}
