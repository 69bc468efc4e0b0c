//! AUTH, and what comes before it.

use rpcap_proto::session::{Action, EndReason};
use rpcap_proto::wire::{AuthRequest, ErrorCode, MessageType};

use crate::peer::Peer;
use crate::support::{NULL_AUTH, claiming, hex, message};

const TOO_SHORT: &str = "Message payload is too short";
const FAILED: &str = "Authentication failed";

/// The program is asked about exactly these strings and says no.
fn password_refused(user: &[u8], password: &[u8]) {
    let mut bytes = Vec::new();
    AuthRequest::Password { user, password }.write(&mut bytes).expect("strings that fit");
    let mut peer = Peer::with(false);
    peer.refused(&bytes, ErrorCode::AuthFailed, FAILED);
    let (user, password) = (user.to_vec(), password.to_vec());
    assert_eq!(peer.asked(), &Action::Authenticate { user, password });
    assert_eq!(peer.end, None);
}

#[test]
fn d3_035_empty() {
    let mut peer = Peer::new();
    peer.refused(&claiming(8, 0, b""), ErrorCode::Auth, TOO_SHORT);
    peer.stays();
}

#[test]
fn d3_036_three_bytes() {
    let mut peer = Peer::new();
    peer.refused(&claiming(8, 3, &[0; 3]), ErrorCode::Auth, TOO_SHORT);
    peer.stays();
}

#[test]
fn d3_037_user_name_longer_than_the_message() {
    let mut peer = Peer::new();
    let auth = hex("0008 0000 00000008 | 0001 0000 ffff 0000");
    peer.refused(&auth, ErrorCode::Auth, TOO_SHORT);
    peer.stays();
}

#[test]
fn d3_038_strings_longer_than_the_message() {
    let mut peer = Peer::new();
    let auth = hex("0008 0000 0000000c | 0001 0000 0003 0002 | 626f6273");
    peer.refused(&auth, ErrorCode::Auth, TOO_SHORT);
    peer.stays();
}

#[test]
fn d3_039_five_bytes_too_many() {
    let mut peer = Peer::with(false);
    let auth = hex("0008 0000 00000016 | 0001 0000 0003 0006 | 626f62 733363726574 0008000000");
    peer.answered(&auth, MessageType::AuthReply);
    let list = message(MessageType::FindAllIfRequest, b"");
    peer.answered(&list, MessageType::FindAllIfReply);
}

#[test]
fn d3_040_empty_strings() {
    password_refused(b"", b"");
}

#[test]
fn d3_041_nul_in_a_user_name() {
    password_refused(b"bob\0x", b"s3cret");
    password_refused(b"root\0x", b"");
}

#[test]
fn d3_042_longest_user_name() {
    password_refused(&[b'A'; 65_535], b"");
}

#[test]
fn d3_043_unknown_types() {
    for kind in [2, 5, 0xffff] {
        let mut bytes = Vec::new();
        AuthRequest::Unknown(kind).write(&mut bytes).expect("no strings");
        let mut peer = Peer::new();
        let text = "Authentication type not recognized.";
        peer.refused(&bytes, ErrorCode::AuthTypeNotSupported, text);
        peer.stays();
    }
}

#[test]
fn d3_044_null_while_not_permitted() {
    let mut peer = Peer::with(false);
    let text = "Authentication failed; NULL authentication not permitted.";
    peer.refused(&NULL_AUTH, ErrorCode::AuthFailed, text);
    // Not let in, but not thrown out: a password is still taken.
    let auth = hex("0008 0000 00000011 | 0001 0000 0003 0006 | 626f62 733363726574");
    peer.answered(&auth, MessageType::AuthReply);
}

#[test]
fn d3_045_unknown_user_and_wrong_password_are_told_the_same() {
    password_refused(b"nobody", b"s3cret");
    password_refused(b"bob", b"guess");
}

#[test]
fn d3_047_ten_refusals_of_any_kind_end_the_session() {
    let mut peer = Peer::with(false);
    let text = "Authentication failed; NULL authentication not permitted.";
    for _ in 0..10 {
        peer.refused(&NULL_AUTH, ErrorCode::AuthFailed, text);
    }
    peer.ended(&EndReason::AuthFailures);
}

#[test]
fn d3_048_twice() {
    let mut peer = Peer::accepted();
    let text = "RPCAP_MSG_AUTH_REQ request sent after authentication was completed";
    peer.refused(&NULL_AUTH, ErrorCode::WrongMessage, text);
    peer.ended(&EndReason::WrongMessage(text.to_owned()));
}

#[test]
fn d3_049_requests_before_auth() {
    let mut peer = Peer::new();
    for (kind, name) in [
        (MessageType::FindAllIfRequest, "RPCAP_MSG_FINDALLIF_REQ"),
        (MessageType::OpenRequest, "RPCAP_MSG_OPEN_REQ"),
        (MessageType::StartCaptureRequest, "RPCAP_MSG_STARTCAP_REQ"),
        (MessageType::UpdateFilterRequest, "RPCAP_MSG_UPDATEFILTER_REQ"),
        (MessageType::StatsRequest, "RPCAP_MSG_STATS_REQ"),
        (MessageType::EndCaptureRequest, "RPCAP_MSG_ENDCAP_REQ"),
        (MessageType::SetSamplingRequest, "RPCAP_MSG_SETSAMPLING_REQ"),
    ] {
        let text = format!("{name} request sent before authentication was completed");
        // A payload that would be a message of its own, were it not consumed.
        let request = message(kind, &[0, 6, 0, 0, 0, 0, 0, 0]);
        peer.refused(&request, ErrorCode::WrongMessage, &text);
    }
    assert!(peer.host.asked.is_empty(), "the program was asked nothing");
    peer.stays();
}

#[test]
fn d3_050_close_before_auth() {
    let mut peer = Peer::new();
    assert_eq!(peer.send(&message(MessageType::Close, &[8; 100])), []);
    let authenticated = false;
    peer.ended(&EndReason::Closed { authenticated });
}
