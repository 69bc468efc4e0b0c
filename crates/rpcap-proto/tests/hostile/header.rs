//! Headers: versions, types, lengths; and ERROR from a client.

use rpcap_proto::session::{EndReason, Note};
use rpcap_proto::wire::{ErrorCode, MessageType};

use crate::peer::Peer;
use crate::support::{NULL_AUTH, claiming, hex, message};

const PRE_AUTH_VERSION: &str = "RPCAP version in requests in the authentication phase must be 0";

fn auth_of_version(version: u8) {
    let mut auth = NULL_AUTH;
    auth[0] = version;
    let mut peer = Peer::new();
    let text = peer.error(&auth, version, ErrorCode::WrongVersion);
    assert_eq!(text, PRE_AUTH_VERSION);
    peer.ended(&EndReason::Version(version));
}

#[test]
fn d1_009_http_is_version_71() {
    let mut peer = Peer::new();
    // The header claims 0x202f2048 bytes: it is answered without waiting for them.
    let text = peer.error(b"GET / HTTP/1.0\r\n\r\n", 0x47, ErrorCode::WrongVersion);
    assert_eq!(text, PRE_AUTH_VERSION);
    peer.ended(&EndReason::Version(0x47));
}

#[test]
fn d1_010_tls_gets_an_alert() {
    for cut in 1..6 {
        let hello = hex("16 03 01 00 05 01 00 00 01 00");
        let mut peer = Peer::new();
        let mut answer = peer.exchange(&hello[..cut]);
        if cut < 5 {
            assert_eq!((&answer[..], &peer.end), (&[][..], &None), "too early");
            answer = peer.exchange(&hello[cut..]);
        }
        assert_eq!(answer, hex("15 03 01 00 02 02 28"));
        peer.ended(&EndReason::Tls);
    }
}

#[test]
fn d2_019_version_1() {
    auth_of_version(1);
}

#[test]
fn d2_020_version_255() {
    auth_of_version(0xff);
}

#[test]
fn d2_021_version_1_after_auth() {
    let mut peer = Peer::accepted();
    let text = peer.error(&hex("0109 0000 00000000"), 1, ErrorCode::WrongVersion);
    assert_eq!(text, "RPCAP version in message isn't supported by the server");
    peer.ended(&EndReason::Version(1));
}

#[test]
fn d2_022_type_0() {
    let mut peer = Peer::new();
    let text = "Unknown message type 0";
    peer.refused(&[0; 8], ErrorCode::WrongMessage, text);
    peer.stays();
}

#[test]
fn d2_023_unknown_type_before_auth() {
    let mut peer = Peer::new();
    let text = "Unknown message type 99";
    peer.refused(&claiming(99, 4, b"abcd"), ErrorCode::WrongMessage, text);
    peer.stays();
}

fn ends_accepted(bytes: &[u8], text: &str) {
    let mut peer = Peer::accepted();
    peer.refused(bytes, ErrorCode::WrongMessage, text);
    peer.ended(&EndReason::WrongMessage(text.to_owned()));
}

#[test]
fn d2_024_unknown_type_after_auth() {
    ends_accepted(&claiming(99, 4, b"abcd"), "Unknown message type 99");
}

#[test]
fn d2_025_reply_from_a_client() {
    let text = "Server-to-client message RPCAP_MSG_AUTH_REPLY received from client";
    ends_accepted(&message(MessageType::AuthReply, b""), text);
}

#[test]
fn d2_026_packet_from_a_client() {
    let text = "Server-to-client message RPCAP_MSG_PACKET received from client";
    let packet = message(MessageType::Packet, &[0; 20]);
    ends_accepted(&packet, text);
    let mut peer = Peer::new();
    peer.refused(&packet, ErrorCode::WrongMessage, text);
    peer.stays();
}

#[test]
fn d2_027_udpstr_from_a_client() {
    let text = "Server-to-client message RPCAP_MSG_UDPSTR_PACKET received from client";
    ends_accepted(&message(MessageType::UdpStream, b""), text);
}

#[test]
fn d2_028_unknown_type_of_4_gib() {
    let mut peer = Peer::new();
    let text = "Unknown message type 99";
    peer.refused(&claiming(99, u32::MAX, b""), ErrorCode::WrongMessage, text);
    peer.ended(&EndReason::Oversize(u32::MAX));
}

#[test]
fn d2_029_auth_of_2_gib() {
    let mut peer = Peer::new();
    let text = "Message payload is too long";
    peer.refused(&claiming(8, 1 << 31, b""), ErrorCode::Auth, text);
    peer.ended(&EndReason::Oversize(1 << 31));
}

#[test]
fn d2_030_stats_of_2_gib() {
    let mut peer = Peer::accepted();
    let text = "Message payload is too long";
    peer.refused(&claiming(9, i32::MAX as u32, b""), ErrorCode::GetStats, text);
    peer.ended(&EndReason::Oversize(i32::MAX as u32));
}

#[test]
fn d2_031_value_is_ignored_in_requests() {
    let valued = |mut bytes: Vec<u8>| {
        bytes[2..4].fill(0xff);
        bytes
    };
    let mut peer = Peer::new();
    let program = hex("00010000 00000001 0006000000000040");
    let start = [&[0; 12], &program[..]].concat();
    for (kind, payload, reply) in [
        (MessageType::AuthRequest, &[0; 8][..], MessageType::AuthReply),
        (MessageType::FindAllIfRequest, b"", MessageType::FindAllIfReply),
        (MessageType::OpenRequest, b"lo", MessageType::OpenReply),
        (MessageType::SetSamplingRequest, &[0; 8], MessageType::SetSamplingReply),
        (MessageType::StartCaptureRequest, &start, MessageType::StartCaptureReply),
        (MessageType::UpdateFilterRequest, &program, MessageType::UpdateFilterReply),
        (MessageType::StatsRequest, b"", MessageType::StatsReply),
        (MessageType::EndCaptureRequest, b"", MessageType::EndCaptureReply),
    ] {
        peer.answered(&valued(message(kind, payload)), reply);
    }
    assert_eq!(peer.send(&valued(message(MessageType::Close, b""))), []);
    let authenticated = true;
    peer.ended(&EndReason::Closed { authenticated });
}

#[test]
fn d2_032_error_of_4_gib_before_auth() {
    let mut peer = Peer::new();
    assert_eq!(peer.send(&claiming(1, u32::MAX, b"")), []);
    peer.ended(&EndReason::Oversize(u32::MAX));
}

#[test]
fn d2_033_error_texts_of_every_length() {
    let mut peer = Peer::accepted();
    for len in [0, 255, 256, 60_000] {
        let error = message(MessageType::Error, &vec![b'x'; len]);
        assert_eq!(peer.send(&error), [], "an error is not answered");
        let text = "x".repeat(len.min(256));
        assert_eq!(peer.host.notes.last(), Some(&Note::PeerError(text)));
        peer.stays();
    }
    assert_eq!(peer.send(&claiming(1, 70_000, b"")), []);
    peer.ended(&EndReason::Oversize(70_000));
}

#[test]
fn d2_034_error_text_is_one_line_of_printable_characters() {
    let mut peer = Peer::accepted();
    let error = message(MessageType::Error, b"a\x1b[2J\r\n\0\xff\xfe%n%s\x7f");
    assert_eq!(peer.send(&error), []);
    let text = "a\\u{1b}[2J\\r\\n\\0\\xff\\xfe%n%s\\u{7f}".to_owned();
    assert_eq!(peer.host.notes.last(), Some(&Note::PeerError(text)));
    peer.stays();
}
