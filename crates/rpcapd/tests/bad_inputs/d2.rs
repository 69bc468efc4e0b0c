//! The header.

use crate::daemon::{DEVICE, Daemon};
use crate::message as m;
use crate::peer::Peer;

/// Most payload that the daemon takes with any request: a STARTCAP with the longest filter.
const PAYLOAD_MAX: usize = 20 + 8 * 8192;

/// Sends this before AUTH: refused with code 16 and this text, logged, its payload consumed.
fn misplaced_before_auth(messages: &[(Vec<u8>, &str)]) {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    for (bytes, text) in messages {
        peer.send(bytes);
        assert_eq!(peer.error(16), *text);
    }
    peer.authenticate();
    peer.in_sync();
    for (_, text) in messages {
        daemon.logged_once(text);
    }
    daemon.finish();
}

/// Sends this after AUTH: refused with code 16 and this text, logged, and the end.
fn misplaced_after_auth(messages: &[(Vec<u8>, &str)]) {
    let daemon = Daemon::start();
    for (bytes, text) in messages {
        let mut peer = Peer::accepted(&daemon);
        peer.send(bytes);
        assert_eq!(peer.error(16), *text);
        peer.end();
        daemon.logged_once(&format!("session ended: {text}"));
    }
    daemon.finish();
}

fn version_before_auth(version: u8) {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    let mut bytes = m::auth();
    bytes[0] = version;
    peer.send(&bytes);
    let text = "RPCAP version in requests in the authentication phase must be 0";
    assert_eq!(peer.error_of_version(17), (version, text.to_owned()));
    peer.end();
    daemon.logged_once(&format!("the peer speaks protocol version {version}"));
    daemon.finish();
}

#[test]
fn d2_019_version_1_in_auth() {
    version_before_auth(1);
}

#[test]
fn d2_020_version_255_in_auth() {
    version_before_auth(0xff);
}

#[test]
fn d2_021_version_1_after_auth() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.send(&[1, m::STATS, 0, 0, 0, 0, 0, 0]);
    let text = "RPCAP version in message isn't supported by the server";
    assert_eq!(peer.error_of_version(17), (1, text.to_owned()));
    peer.end();
    daemon.logged_once("the peer speaks protocol version 1");
    daemon.finish();
}

#[test]
fn d2_022_type_0_before_auth() {
    misplaced_before_auth(&[(vec![0; 8], "Unknown message type 0")]);
}

#[test]
fn d2_023_type_99_before_auth() {
    misplaced_before_auth(&[(m::msg(99, b"abcd"), "Unknown message type 99")]);
}

#[test]
fn d2_024_unknown_types_after_auth() {
    misplaced_after_auth(&[
        (m::msg(99, b"abcd"), "Unknown message type 99"),
        (m::msg(0, &[]), "Unknown message type 0"),
        (m::msg(255, &[0; 1000]), "Unknown message type 255"),
    ]);
}

const AUTH_REPLY: &str = "Server-to-client message RPCAP_MSG_AUTH_REPLY received from client";
const STARTCAP_REPLY: &str =
    "Server-to-client message RPCAP_MSG_STARTCAP_REPLY received from client";
const PACKET: &str = "Server-to-client message RPCAP_MSG_PACKET received from client";
const UDPSTR: &str = "Server-to-client message RPCAP_MSG_UDPSTR_PACKET received from client";

#[test]
fn d2_025_replies_before_auth() {
    misplaced_before_auth(&[
        (m::msg(0x88, &[0; 8]), AUTH_REPLY),
        (m::msg(0x84, &[]), STARTCAP_REPLY),
    ]);
}

#[test]
fn d2_025_replies_after_auth() {
    misplaced_after_auth(&[
        (m::msg(0x88, &[0; 8]), AUTH_REPLY),
        (m::msg(0x84, &[]), STARTCAP_REPLY),
    ]);
}

#[test]
fn d2_026_packet_before_auth() {
    misplaced_before_auth(&[(m::msg(m::PACKET, &[0; 30]), PACKET)]);
}

#[test]
fn d2_026_packet_after_auth() {
    misplaced_after_auth(&[(m::msg(m::PACKET, &[0; 30]), PACKET)]);
}

#[test]
fn d2_027_udpstr_before_auth() {
    misplaced_before_auth(&[(m::msg(0x6e, &[0; 30]), UDPSTR)]);
}

#[test]
fn d2_027_udpstr_after_auth() {
    misplaced_after_auth(&[(m::msg(0x6e, &[0; 30]), UDPSTR)]);
}

/// A header that claims far too much, and some bytes after it: the end, at once, and no room made.
fn oversize(accepted: bool, bytes: &[u8], answer: Option<(u16, &str)>) {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    if accepted {
        peer.authenticate();
    }
    let rss = daemon.rss();
    peer.send_what_is_taken(&[bytes, &[0x41; 4000]].concat());
    if let Some((code, text)) = answer {
        assert_eq!(peer.error(code), text);
    }
    peer.end();
    let growth = daemon.rss().saturating_sub(rss);
    assert!(growth < 4 * 1024, "{growth} KiB more");
    let claimed = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
    daemon.logged_once(&format!("session ended: a message claims {claimed} bytes of payload"));
    daemon.finish();
}

#[test]
fn d2_028_unknown_type_of_4_gib_before_auth() {
    let bytes = m::header(99, u32::MAX);
    oversize(false, &bytes, Some((16, "Unknown message type 99")));
}

#[test]
fn d2_029_auth_of_2_gib() {
    let bytes = m::header(m::AUTH, 0x8000_0000);
    oversize(false, &bytes, Some((3, "Message payload is too long")));
}

#[test]
fn d2_030_stats_of_2_gib() {
    let bytes = m::header(m::STATS, 0x7fff_ffff);
    oversize(true, &bytes, Some((8, "Message payload is too long")));
}

#[test]
fn d2_031_the_value_field_is_ignored() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    let with_value = |mut bytes: Vec<u8>| {
        bytes[2..4].fill(0xff);
        bytes
    };
    peer.send(&with_value(m::auth()));
    peer.authenticated();
    for (request, bytes) in [
        (m::FINDALLIF, m::msg(m::FINDALLIF, &[])),
        (m::OPEN, m::open(DEVICE)),
        (m::SETSAMPLING, m::sampling(0, 0)),
        (m::STARTCAP, m::Start::default().bytes()),
        (m::UPDATEFILTER, m::update(m::ALL)),
        (m::STATS, m::msg(m::STATS, &[])),
        (m::ENDCAP, m::msg(m::ENDCAP, &[])),
    ] {
        peer.send(&with_value(bytes));
        peer.reply(request);
    }
    peer.send(&with_value(m::msg(m::ERROR, b"all is well")));
    peer.in_sync();
    peer.send(&with_value(m::msg(m::CLOSE, &[])));
    peer.end();
    daemon.logged_once("closed by the peer");
    daemon.finish();
}

#[test]
fn d2_032_error_of_4_gib_before_auth() {
    oversize(false, &m::header(m::ERROR, u32::MAX), None);
}

#[test]
fn d2_033_errors_of_any_length_after_auth() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    for len in [0, 1, 255, 256, 257, 5_000, PAYLOAD_MAX] {
        let text: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
        peer.send(&m::msg(m::ERROR, &text));
        peer.in_sync();
        let kept: String = text.iter().take(256).map(|b| char::from(*b)).collect();
        daemon.logged(&format!(" text={kept:?}"));
    }
    daemon.logged_times(7, "peer reports an error");
    daemon.finish();
}

#[test]
fn d2_033_an_error_of_70000_bytes_after_auth() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.send_what_is_taken(&m::msg(m::ERROR, &[b'x'; 70_000]));
    peer.end();
    daemon.logged_once("session ended: a message claims 70000 bytes of payload");
    daemon.finish();
}

/// What could hurt a terminal, a log or a careless program.
const HOSTILE: &[u8] = b"a\x1b[2J\r\nb\0\xff\xc0\xaf%n%s\x7f\xe2\x80\xae\xe2\x80\xa8";
const HARMLESS: &str = r"a\u{1b}[2J\r\nb\0\xff\xc0\xaf%n%s\u{7f}\u{202e}\u{2028}";

#[test]
fn d2_034_hostile_text_is_one_harmless_line() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.send(&m::msg(m::ERROR, HOSTILE));
    peer.in_sync();
    let line = daemon.logged_once("peer reports an error");
    assert!(line.contains(&format!("text={HARMLESS:?}")), "{line}");
    daemon.finish();
}

#[test]
fn d2_034_hostile_text_before_auth_is_one_harmless_line() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::msg(m::ERROR, HOSTILE));
    peer.end();
    let line = daemon.logged_once("the peer reported ");
    assert!(line.contains(&format!("{HARMLESS:?}")), "{line}");
    daemon.finish();
}
