//! OPEN.

use rpcap_proto::session::EndReason;
use rpcap_proto::wire::{ErrorCode, MessageType};

use crate::peer::{Peer, START};
use crate::support::host::LOOPBACK;
use crate::support::{claiming, hex, message};

const NOTHING_OPEN: &str = "No capture device was specified";

/// OPEN of this name is refused, the stream is still in step, and nothing can be captured then.
fn not_opened(name: &[u8], text: &str) {
    let mut peer = Peer::accepted();
    let open = message(MessageType::OpenRequest, name);
    peer.refused(&open, ErrorCode::Open, text);
    peer.stays();
    peer.refused(&hex(START), ErrorCode::StartCapture, NOTHING_OPEN);
    peer.stays();
}

#[test]
fn d4_051_empty() {
    not_opened(b"", "The device name must not be empty");
}

#[test]
fn d4_052_longest_and_longer() {
    not_opened(&[b'A'; 1024], "No such device");
    not_opened(&[b'A'; 1025], "Source string too long");
    not_opened(&[b'A'; 65_000], "Source string too long");
}

#[test]
fn d4_053_claim_of_4_gib() {
    let mut peer = Peer::accepted();
    let text = "Message payload is too long";
    let open = claiming(3, u32::MAX, &[b'A'; 4000]);
    peer.refused(&open, ErrorCode::Open, text);
    peer.ended(&EndReason::Oversize(u32::MAX));
}

#[test]
fn d4_054_nul() {
    not_opened(b"lo\0junk", "The device name contains a NUL byte");
    not_opened(b"lo\0", "The device name contains a NUL byte");
}

#[test]
fn d4_055_remote_names() {
    let remote = "Source string refers to a remote device";
    not_opened(b"rpcap://127.0.0.1:9/x", remote);
    not_opened(b"rpcaps://127.0.0.1/x", remote);
    not_opened(b"file:///etc/passwd", remote);
    not_opened(b"127.0.0.1/eth0", "No such device");
}

#[test]
fn d4_056_names_that_mean_something_elsewhere() {
    not_opened(b"../../dev/x", "No such device");
    not_opened(b"eth0;id", "No such device");
    not_opened(b"%s%n", "No such device");
    not_opened(b"\xc0\xaflo", "The device name is not UTF-8");
}

#[test]
fn d4_058_a_failed_open_leaves_nothing_open() {
    for bad in [&b"down0"[..], b"", b"lo\0"] {
        let mut peer = Peer::opened();
        let open = message(MessageType::OpenRequest, bad);
        peer.refused_like(&open, ErrorCode::Open, "");
        peer.refused(&hex(START), ErrorCode::StartCapture, NOTHING_OPEN);
        let again = message(MessageType::OpenRequest, LOOPBACK.as_bytes());
        peer.answered(&again, MessageType::OpenReply);
        peer.answered(&hex(START), MessageType::StartCaptureReply);
    }
}
