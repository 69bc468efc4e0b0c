//! Connection and framing.

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, Options, SOON, eventually};
use crate::message as m;
use crate::peer::Peer;

const MESSAGE_TIMEOUT: &[&str] = &["--message-timeout", "1"];
const TOO_SLOW: &str = "session ended: a message was not completed within the time allowed";

/// A time limit of a second was neither ignored nor cut short.
fn about_a_second(since: Instant) {
    let elapsed = since.elapsed();
    let bounds = Duration::from_millis(950)..Duration::from_secs(8);
    assert!(bounds.contains(&elapsed), "{elapsed:?}");
}

/// A peer that sends this and no more is cut off after a second, without a word.
fn incomplete(before: &[u8], bytes: &[u8]) {
    let daemon = Daemon::with_args(MESSAGE_TIMEOUT);
    let mut peer = Peer::connect(&daemon);
    if !before.is_empty() {
        peer.send(before);
        peer.authenticated();
    }
    let since = Instant::now();
    peer.send(bytes);
    peer.end();
    about_a_second(since);
    daemon.logged_once(TOO_SLOW);
    daemon.finish();
}

#[test]
fn d1_001_silence_is_told_and_ended() {
    let daemon = Daemon::with_args(&["--init-timeout", "1"]);
    let since = Instant::now();
    let mut peer = Peer::connect(&daemon);
    assert_eq!(peer.error(2), "The RPCAP initial timeout has expired");
    about_a_second(since);
    peer.end();
    daemon.logged_once("session ended: no authentication within the time allowed");
    daemon.finish();
}

#[test]
fn d1_001_silence_after_auth_is_told_and_ended() {
    let daemon = Daemon::with_args(&["--idle-timeout", "1"]);
    let since = Instant::now();
    let mut peer = Peer::accepted(&daemon);
    assert_eq!(peer.error(14), "The RPCAP runtime timeout has expired");
    about_a_second(since);
    peer.end();
    daemon.logged_once("session ended: no request within the time allowed");
    daemon.finish();
}

#[test]
fn d1_001_requests_before_auth_buy_no_time() {
    let daemon = Daemon::with_args(&["--init-timeout", "1"]);
    let since = Instant::now();
    let mut peer = Peer::connect(&daemon);
    let mut refusals = 0;
    loop {
        assert!(since.elapsed() < SOON, "no end of it");
        peer.send_what_is_taken(&m::msg(m::STATS, &[]));
        let message = peer.read();
        if message.value == 2 {
            break;
        }
        assert_eq!((message.kind, message.value), (m::ERROR, 16));
        refusals += 1;
        // The pace of the peer: not as often as would end it by itself.
        thread::sleep(Duration::from_millis(150));
    }
    assert!(refusals > 1);
    about_a_second(since);
    daemon.finish();
}

#[test]
fn d1_001_a_capture_may_be_silent() {
    let daemon = Daemon::with_args(&["--idle-timeout", "0.2"]);
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&m::Start::default());
    assert_eq!(data.take(24).len(), 24);
    // A few times the limit: nothing is to happen meanwhile.
    thread::sleep(Duration::from_millis(800));
    peer.endcap();
    assert_eq!(peer.error(14), "The RPCAP runtime timeout has expired");
    peer.end();
    daemon.finish();
}

#[test]
fn d1_002_one_byte_and_silence() {
    incomplete(&[], &[0]);
}

#[test]
fn d1_003_seven_bytes_of_a_header_and_silence() {
    incomplete(&[], &m::auth()[..7]);
}

#[test]
fn d1_003_seven_bytes_of_a_header_and_silence_after_auth() {
    incomplete(&m::auth(), &m::msg(m::STATS, &[])[..7]);
}

#[test]
fn d1_004_a_payload_that_lacks_a_byte() {
    incomplete(&[], &m::auth()[..15]);
}

#[test]
fn d1_004_a_payload_that_lacks_a_byte_after_auth() {
    let open = m::open("demo0");
    incomplete(&m::auth(), &open[..open.len() - 1]);
}

#[test]
fn d1_005_ten_thousand_connections_closed_at_once() {
    let daemon = Daemon::with_args(&["--max-sessions", "1000"]);
    let storm = |count| {
        for i in 1..=count {
            let peer = Peer::connect(&daemon);
            if i % 2 == 0 {
                peer.reset();
            }
            // The kernel makes them wait a second that find too many in front of them.
            if i % 100 == 0 {
                Peer::accepted(&daemon);
            }
        }
        eventually("all sessions end", || daemon.threads() <= 2);
    };
    storm(1_000);
    let (uses, rss) = (daemon.uses(), daemon.rss());
    storm(9_000);
    daemon.back_to(uses);
    let growth = daemon.rss().saturating_sub(rss);
    // Some of it is the allocator's; what is kept of each connection would be more.
    assert!(growth < 1_000, "{growth} KiB more");
    assert_eq!(daemon.children(), "");
    daemon.finish();
}

#[test]
fn d1_006_reset_after_half_a_header() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::auth()[..4]);
    daemon.logged("session started");
    peer.reset();
    let line = daemon.logged_once("session ended: control connection: ");
    assert!(line.contains(" INFO "), "{line}");
    daemon.finish();
}

/// Sends AUTH byte by byte, and sees that nobody else is delayed by that.
fn trickle_auth(args: &[&str], pace: Duration) -> (Daemon, Peer) {
    let daemon = Daemon::with_args(args);
    let mut slow = Peer::connect(&daemon);
    let mut other = Peer::accepted(&daemon);
    let mut slowest = Duration::ZERO;
    let since = Instant::now();
    for byte in m::auth() {
        slow.send_what_is_taken(&[byte]);
        let began = Instant::now();
        other.in_sync();
        Peer::accepted(&daemon);
        slowest = slowest.max(began.elapsed());
        // The pace of the peer.
        thread::sleep(pace);
    }
    // Were others to wait for it, one would have waited for all of it.
    assert!(slowest < since.elapsed() / 2, "{slowest:?}");
    (daemon, slow)
}

#[test]
fn d1_007_auth_byte_by_byte_within_the_deadline() {
    let (daemon, mut slow) = trickle_auth(&[], Duration::from_millis(50));
    slow.authenticated();
    slow.in_sync();
    daemon.finish();
}

#[test]
fn d1_007_auth_byte_by_byte_beyond_the_deadline() {
    let (daemon, mut slow) = trickle_auth(MESSAGE_TIMEOUT, Duration::from_millis(100));
    slow.gone();
    daemon.logged_once(TOO_SLOW);
    daemon.finish();
}

#[test]
fn d1_008_a_thousand_connections_at_a_time() {
    let daemon = Daemon::start();
    let uses = daemon.uses();
    let mut peers: Vec<_> = (0..64).map(|_| Peer::connect(&daemon)).collect();
    let mut extra = Vec::new();
    while peers.len() + extra.len() < 1_000 {
        let mut more: Vec<_> = (0..72).map(|_| Peer::connect(&daemon)).collect();
        for peer in &mut more {
            assert_eq!(peer.next().unwrap(), None);
        }
        // None of them is closed at this end.
        extra.append(&mut more);
    }
    for peer in &mut peers {
        peer.authenticate();
    }
    let (threads, fds) = daemon.uses();
    assert!(threads <= uses.0 + 64 && fds <= uses.1 + 64 * 4, "{fds}");
    // One line a second, however many are turned away.
    daemon.logged("connection closed: 64 sessions are the limit");
    let said = daemon.count_logged("connection closed: 64 sessions are the limit");
    assert!((1..=100).contains(&said), "{said}");
    drop((peers, extra));
    daemon.back_to(uses);
    daemon.finish();
}

/// Strangers who take all places keep others out for ten seconds, not until they are timed out.
#[test]
fn d1_008_places_are_given_up_for_others() {
    let daemon = Daemon::with_args(&["--max-sessions", "8"]);
    let mut accepted = Peer::accepted(&daemon);
    let mut strangers: Vec<_> = (0..7).map(|_| Peer::connect(&daemon)).collect();
    daemon.logged_nth(8, "session started");
    Peer::connect(&daemon).gone();
    thread::sleep(Duration::from_millis(10_500));
    let mut newcomers: Vec<_> = (0..7).map(|_| Peer::accepted(&daemon)).collect();
    for stranger in &mut strangers {
        stranger.gone();
    }
    // Those that were accepted stay.
    Peer::connect(&daemon).gone();
    accepted.in_sync();
    for newcomer in &mut newcomers {
        newcomer.in_sync();
    }
    daemon.logged_times(7, "session ended: no authentication, and others need its place");
    drop((accepted, newcomers));
    eventually("places are free", || daemon.threads() <= 3);
    daemon.finish();
}

/// Those who may not connect hold no place either, however long they leave their connections open.
#[test]
fn d1_008_who_is_not_allowed_keeps_nobody_out() {
    let daemon = Daemon::with_args(&["--max-sessions", "8", "-l", "127.0.0.1"]);
    let stranger = IpAddr::from([127, 0, 0, 2]);
    let since = Instant::now();
    let mut strangers = Vec::new();
    while since.elapsed() < Duration::from_secs(3) {
        let from = strangers.len();
        strangers.extend((0..8).map(|_| Peer::from(stranger, daemon.address)));
        for stranger in &mut strangers[from..] {
            // It is told, or there is no place even for that.
            assert!(stranger.next().unwrap().is_none_or(|said| said.value == 10));
        }
        Peer::accepted(&daemon);
    }
    assert!(strangers.len() > 8, "{}", strangers.len());
    drop(strangers);
    daemon.finish();
}

/// Neither does who connects without end keep the daemon from its own.
#[test]
fn d1_008_the_end_is_heeded_during_a_flood() {
    let daemon = Daemon::with_args(&["--max-sessions", "64"]).guest(None);
    let (address, flooding) = (daemon.address, Arc::new(AtomicBool::new(true)));
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let flooding = Arc::clone(&flooding);
            thread::spawn(move || {
                while flooding.load(Relaxed) {
                    // It fails once nobody listens.
                    drop(TcpStream::connect(address));
                }
            })
        })
        .collect();
    daemon.logged("session started");
    thread::sleep(Duration::from_millis(500));
    daemon.finish();
    flooding.store(false, Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
}

#[test]
fn d1_009_http() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send(b"GET / HTTP/1.0\r\n\r\n");
    let text = "RPCAP version in requests in the authentication phase must be 0";
    assert_eq!(peer.error_of_version(17), (0x47, text.to_owned()));
    peer.end();
    daemon.logged_once("session ended: the peer speaks protocol version 71");
    daemon.finish();
}

/// What a TLS client understands as "no".
const ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

fn tls(bytes: &[u8]) {
    use std::io::Read;
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send(bytes);
    let mut answer = Vec::new();
    peer.stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, ALERT);
    daemon.logged_once("session ended: the peer wants TLS");
    daemon.finish();
}

#[test]
fn d1_010_tls_client_hello() {
    let hello = [0x41; 512];
    let record = [&[22, 3, 1, 2, 5, 1, 0, 2, 1, 3, 3][..], &hello].concat();
    tls(&record);
}

#[test]
fn d1_011_tls_record_of_65535_bytes_and_silence() {
    tls(&[22, 3, 1, 0xff, 0xff]);
}

#[test]
fn d1_011_half_a_tls_record_header_and_silence() {
    incomplete(&[], &[22, 3, 1]);
}

#[test]
fn d1_014_a_stranger_is_refused_before_it_says_anything() {
    let friend = IpAddr::from([127, 0, 0, 2]);
    let daemon = Daemon::with_args(&["-l", "127.0.0.2,192.0.2.0/24"]).guest(Some(friend));
    let mut peer = Peer::connect(&daemon);
    let text = "The host is not in the allowed host list. Connection refused.";
    assert_eq!(peer.error(10), text);
    peer.end();
    daemon.logged_once("refused: not on the list of allowed hosts");
    assert_eq!(daemon.count_logged("session started"), 0);
    let mut peer = Peer::from(friend, daemon.address);
    peer.authenticate();
    peer.in_sync();
    daemon.finish();
}

#[test]
fn d1_014_a_stranger_is_refused_whatever_it_says() {
    let friend = IpAddr::from([127, 0, 0, 2]);
    let daemon = Daemon::with_args(&["-l", "127.0.0.2"]).guest(Some(friend));
    let mut peer = Peer::connect(&daemon);
    peer.send_what_is_taken(&[m::auth(), m::msg(m::FINDALLIF, &[])].concat());
    peer.error(10);
    peer.gone();
    daemon.finish();
}

#[test]
fn d1_015_a_list_of_unknown_names_allows_nobody() {
    let daemon = Daemon::with_args(&["-l", "no-such-host.invalid"]).guest(None);
    for source in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)] {
        let mut peer = Peer::from(source.into(), daemon.address);
        peer.error(10);
        peer.end();
    }
    daemon.finish();
}

#[test]
fn d1_016_two_messages_in_one_segment() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    peer.send(&[m::auth(), m::msg(m::FINDALLIF, &[])].concat());
    peer.authenticated();
    assert!(!peer.reply(m::FINDALLIF).is_empty());
    peer.send(&[m::msg(m::STATS, &[]), m::open("demo0")].concat());
    peer.stats_reply();
    assert_eq!(peer.reply(m::OPEN).len(), 8);
    daemon.finish();
}

#[test]
fn d1_017_one_byte_in_a_segment() {
    let daemon = Daemon::start();
    let mut peer = Peer::connect(&daemon);
    for byte in m::auth() {
        peer.send(&[byte]);
    }
    peer.authenticated();
    for byte in m::open("demo0") {
        peer.send(&[byte]);
    }
    assert_eq!(peer.reply(m::OPEN).len(), 8);
    daemon.finish();
}

#[test]
fn d1_018_half_closed_after_a_request() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.send(&m::msg(m::STATS, &[]));
    peer.half_close();
    assert_eq!(peer.stats_reply(), [0; 4]);
    peer.end();
    daemon.logged_once("session ended: the peer ended the connection");
    daemon.finish();
}

#[test]
fn d1_018_half_closed_during_a_capture() {
    let daemon =
        Daemon::with(Options { packets: crate::savefile::trickle(6_000), ..Options::default() });
    let uses = daemon.uses();
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&m::Start::default());
    data.take(3);
    peer.half_close();
    peer.end();
    data.rest();
    daemon.logged_once("capture ended");
    daemon.back_to(uses);
    daemon.finish();
}
