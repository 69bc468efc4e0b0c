//! Authentication.

use std::time::{Duration, Instant};

use crate::daemon::{Daemon, Options};
use crate::message as m;
use crate::peer::Peer;

const FAILED: &str = "Authentication failed";
const TOO_SHORT: &str = "Message payload is too short";

/// Each is refused in the same session, with this code and text and a line in the log, and AUTH is
/// still possible.
fn refused(messages: &[Vec<u8>], code: u16, text: &str, log: &str) {
    let daemon = Daemon::with_args(&["--allow-cleartext-passwords"]);
    let mut peer = Peer::connect(&daemon);
    for bytes in messages {
        peer.send(bytes);
        assert_eq!(peer.error(code), text);
    }
    peer.authenticate();
    peer.in_sync();
    daemon.logged_times(messages.len(), log);
    daemon.finish();
}

fn malformed(messages: &[Vec<u8>]) {
    refused(messages, 3, TOO_SHORT, &format!("text={TOO_SHORT:?}"));
}

fn wrong_password(bytes: Vec<u8>) {
    refused(&[bytes], 18, FAILED, "password refused");
}

#[test]
fn d3_035_auth_without_payload() {
    malformed(&[m::msg(m::AUTH, &[])]);
}

#[test]
fn d3_036_auth_cut_short() {
    malformed(&[3, 4, 7].map(|len| m::msg(m::AUTH, &[0; 7][..len])));
}

#[test]
fn d3_037_a_name_of_65535_bytes_that_is_not_there() {
    let since = Instant::now();
    malformed(&[m::auth_claiming(1, 0xffff, 0, &[])]);
    assert!(since.elapsed() < Duration::from_secs(15));
}

#[test]
fn d3_038_strings_longer_than_the_payload() {
    malformed(&[
        m::auth_claiming(1, 4, 5, b"userpass"),
        m::auth_claiming(1, 4, 0xffff, b"userpass"),
        m::auth_claiming(1, 0xffff, 0xffff, &[0x41; 65_000]),
    ]);
}

#[test]
fn d3_039_five_bytes_too_many() {
    wrong_password(m::auth_claiming(1, 4, 4, b"userpass\0\x09\0\0\0"));
}

#[test]
fn d3_039_five_bytes_too_many_for_nobody() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::auth_claiming(0, 0, 0, &[0x41; 5]));
    peer.authenticated();
    peer.in_sync();
    daemon.finish();
}

#[test]
fn d3_040_empty_name_and_password() {
    wrong_password(m::login(b"", b""));
}

#[test]
fn d3_041_a_nul_in_the_name() {
    wrong_password(m::login(b"root\0x", b"secret"));
}

#[test]
fn d3_042_a_name_of_65535_bytes() {
    wrong_password(m::login(&[0x41; 65_535], b"x"));
}

#[test]
fn d3_042_a_name_and_a_password_that_no_request_may_hold() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send_what_is_taken(&m::login(&[0x41; 65_535], &[0x42; 65_535]));
    assert_eq!(peer.error(3), "Message payload is too long");
    peer.gone();
    daemon.logged_once("session ended: a message claims 131078 bytes of payload");
    daemon.finish();
}

#[test]
fn d3_043_unknown_types() {
    let text = "Authentication type not recognized.";
    let messages = [2, 5, 0xffff].map(|kind| m::auth_claiming(kind, 1, 1, b"ab"));
    refused(&messages, 20, text, &format!("text={text:?}"));
}

#[test]
fn d3_044_nobody_where_nobody_may() {
    let daemon = Daemon::with(Options { null_auth: false, ..Options::default() }).guest(None);
    let mut peer = Peer::connect(&daemon);
    let text = "Authentication failed; NULL authentication not permitted.";
    for _ in 0..2 {
        peer.send(&m::auth());
        assert_eq!(peer.error(18), text);
    }
    peer.send(&m::msg(m::FINDALLIF, &[]));
    peer.error(16);
    daemon.logged_times(2, &format!("text={text:?}"));
    daemon.finish();
}

#[test]
fn d3_047_malformed_auths_are_not_taken_for_ever() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send_what_is_taken(&m::msg(m::AUTH, &[]).repeat(100));
    for _ in 0..10 {
        assert_eq!(peer.error(3), TOO_SHORT);
    }
    peer.gone();
    daemon.logged_once("session ended: too many failed authentications");
    daemon.finish();
}

#[test]
fn d3_048_auth_twice() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.send(&m::auth());
    let text = "RPCAP_MSG_AUTH_REQ request sent after authentication was completed";
    assert_eq!(peer.error(16), text);
    peer.end();
    daemon.logged_once(text);
    daemon.finish();
}

#[test]
fn d3_049_no_end_of_requests_before_auth() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    for _ in 0..10 {
        peer.send(&m::msg(m::STATS, &[]));
        peer.error(16);
    }
    peer.end();
    daemon.logged_once("session ended: too many failed authentications");
    daemon.finish();
}

#[test]
fn d3_049_requests_before_auth() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    let requests = [
        (m::FINDALLIF, "FINDALLIF"),
        (m::OPEN, "OPEN"),
        (m::STARTCAP, "STARTCAP"),
        (m::STATS, "STATS"),
        (m::ENDCAP, "ENDCAP"),
        (m::SETSAMPLING, "SETSAMPLING"),
        (m::UPDATEFILTER, "UPDATEFILTER"),
    ]
    .map(|(kind, name)| {
        let text = format!("RPCAP_MSG_{name}_REQ request sent before authentication was completed");
        (kind, text)
    });
    for (kind, text) in &requests {
        // Its payload would be an AUTH, were it not consumed.
        peer.send(&m::msg(*kind, &m::auth()));
        assert_eq!(peer.error(16), *text);
    }
    peer.authenticate();
    peer.in_sync();
    for (_, text) in &requests {
        daemon.logged_once(text);
    }
    daemon.finish();
}

#[test]
fn d3_050_close_with_payload_before_auth() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::msg(m::CLOSE, &[0x41; 100]));
    peer.end();
    daemon.logged_once("session ended: closed by the peer");
    daemon.finish();
}
