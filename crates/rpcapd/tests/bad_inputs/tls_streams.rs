//! Encrypted sessions, cut, held back and damaged. Rows of bad inputs that have to hold with TLS as
//! without it have their numbers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustls::version::TLS13;

use crate::d1_tls::Certificate;
use crate::daemon::{Daemon, SOON, eventually};
use crate::message::{self as m, Start};
use crate::peer::{Peer, connect_from, reset};
use crate::savefile;
use crate::streams::session;
use crate::tls_peer::{TlsPeer, VERSIONS, client, last_flight, outgoing};

/// One byte after the other, as slow as that.
const SECOND: Duration = Duration::from_secs(1);

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// A daemon with TLS is well if it serves a client.
fn finish(daemon: Daemon) {
    let mut peer = TlsPeer::opened(&daemon);
    peer.in_sync();
    daemon.finish();
}

#[test]
fn d1_002_a_handshake_cut_at_every_byte() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&["--max-sessions", "1000"]);
    let uses = daemon.uses();
    let mut cut = 0;
    for version in VERSIONS {
        let hello = outgoing(&mut client(version));
        assert!(hello.len() > 100);
        // Half of the peers go away in order.
        for end in 1..hello.len() {
            let mut stream = connect(daemon.address);
            stream.write_all(&hello[..end]).unwrap();
            if end % 2 == 0 {
                reset(stream);
            }
            cut += 1;
        }
        let mut end = 0;
        loop {
            let mut stream = connect(daemon.address);
            let mut tls = client(version);
            let last = last_flight(&mut tls, &mut stream);
            assert!(last.len() > 50);
            if end == last.len() {
                break;
            }
            stream.write_all(&last[..end]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // Whatever the daemon says to that, it is the last.
            let _ = stream.read_to_end(&mut Vec::new());
            end += 1;
            cut += 1;
        }
        // The one with nothing left to say.
        cut += 1;
    }
    daemon.logged_times(cut, "session ended: control connection: ");
    daemon.back_to(uses);
    finish(daemon);
}

#[test]
fn d1_005_a_thousand_greetings_and_no_more() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&["--max-sessions", "1000"]);
    let storm = |count| {
        for i in 0..count {
            let mut stream = connect(daemon.address);
            stream.write_all(&outgoing(&mut client(VERSIONS[i % 2]))).unwrap();
            if i % 3 == 0 {
                reset(stream);
            }
        }
        eventually("all sessions end", || daemon.threads() <= 2);
    };
    storm(200);
    let (uses, rss) = (daemon.uses(), daemon.rss());
    storm(1_000);
    daemon.back_to(uses);
    let growth = daemon.rss().saturating_sub(rss);
    assert!(growth < 2_000, "{growth} KiB more");
    finish(daemon);
}

#[test]
fn d1_007_one_byte_a_second() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&["--init-timeout", "4", "--message-timeout", "3"]);
    let mut other = TlsPeer::opened(&daemon);
    let address = daemon.address;
    thread::scope(|scope| {
        // A handshake has a time for all of it, not for each byte.
        scope.spawn(move || {
            let mut stream = connect(address);
            let since = Instant::now();
            for byte in outgoing(&mut client(&TLS13)) {
                if stream.write_all(&[byte]).is_err() || since.elapsed() > SOON {
                    break;
                }
                // The pace of the peer.
                thread::sleep(SECOND);
            }
            let took = since.elapsed();
            assert!(took > Duration::from_secs(3) && took < Duration::from_secs(9), "{took:?}");
        });
        // Nor does a message, in records of a byte.
        scope.spawn(move || {
            let mut peer = TlsPeer::connect(address, &TLS13);
            let since = Instant::now();
            for byte in m::auth() {
                let record = peer.sealed(&[byte]);
                if peer.stream.write_all(&record).is_err() {
                    break;
                }
                thread::sleep(SECOND);
            }
            let took = since.elapsed();
            assert!(took > Duration::from_secs(2) && took < Duration::from_secs(9), "{took:?}");
        });
        // Nobody else notices.
        for _ in 0..20 {
            let asked = Instant::now();
            other.in_sync();
            TlsPeer::opened(&daemon).in_sync();
            assert!(asked.elapsed() < SECOND, "{:?}", asked.elapsed());
            thread::sleep(Duration::from_millis(200));
        }
    });
    daemon.logged("session ended: no authentication within the time allowed|TLS handshake");
    finish(daemon);
}

#[test]
fn d1_008_a_thousand_handshakes_at_a_time() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&[]);
    let uses = daemon.uses();
    let hello = outgoing(&mut client(&TLS13));
    let half_open: Vec<_> = (0..1_000)
        .map(|i| {
            let mut stream = connect(daemon.address);
            // Those that are turned away may be gone by now.
            let _ = stream.write_all(&hello[..i % hello.len()]);
            stream
        })
        .collect();
    daemon.logged("connection closed: 64 sessions are the limit");
    let (threads, _) = daemon.uses();
    assert!(threads <= uses.0 + 64, "{threads}");
    drop(half_open);
    daemon.back_to(uses);
    finish(daemon);
}

#[test]
fn d1_017_a_record_for_every_byte() {
    let certificate = Certificate::new();
    for version in VERSIONS {
        let daemon = certificate.daemon(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut peer = TlsPeer::connect(daemon.address, version);
        for byte in session(port).concat() {
            let records = peer.sealed(&[byte]);
            peer.stream.write_all(&records).unwrap();
        }
        let data = listener.accept().unwrap().0;
        let mut data = TlsPeer::greet(data, version);
        let mut replies = Vec::new();
        while let Some(message) = peer.next().unwrap() {
            replies.push(message.kind);
        }
        let reply = |kind| kind | m::REPLY;
        let expected = [
            reply(m::AUTH),
            reply(m::FINDALLIF),
            m::ERROR,
            reply(m::OPEN),
            reply(m::SETSAMPLING),
            reply(m::STARTCAP),
            reply(m::UPDATEFILTER),
            m::ERROR,
            reply(m::STATS),
            reply(m::ENDCAP),
            m::ERROR,
            reply(m::STATS),
        ];
        assert_eq!(replies, expected);
        while let Some(message) = data.next().unwrap() {
            assert_eq!(message.kind, m::PACKET);
        }
        daemon.logged_once("session ended: closed by the peer");
        finish(daemon);
    }
}

#[test]
fn a_reset_at_every_byte() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon_with(savefile::trickle(6_000), &["--max-sessions", "1000"]);
    let uses = daemon.uses();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let messages = session(listener.local_addr().unwrap().port());
    listener.set_nonblocking(true).unwrap();
    let mut taken = Vec::new();
    let mut end = 0;
    loop {
        let mut peer = TlsPeer::connect(daemon.address, VERSIONS[end % 2]);
        let records: Vec<_> = messages.iter().flat_map(|m| peer.sealed(m)).collect();
        if end > records.len() {
            break;
        }
        peer.stream.write_all(&records[..end]).unwrap();
        // Of every other one the daemon has certainly read something.
        if end % 2 == 0 && end >= 64 {
            peer.reply(m::AUTH);
        }
        reset(peer.stream);
        // Data connections are taken, and left alone.
        while let Ok((stream, _)) = listener.accept() {
            taken.push(stream);
        }
        end += 1;
    }
    assert!(end > 500, "{end}");
    drop(taken);
    eventually("all sessions end", || daemon.threads() <= uses.0);
    let sessions = daemon.count_logged("session started");
    daemon.logged_times(sessions, "session ended: control connection: ");
    let captures = daemon.count_logged("capture started");
    assert!(captures > 0);
    daemon.logged_times(captures, "capture ended");
    daemon.back_to(uses);
    finish(daemon);
}

#[test]
fn a_record_damaged_at_every_byte() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&["--message-timeout", "1"]);
    let mut damaged = 0;
    for version in VERSIONS {
        // In front of a record of TLS 1.3 stands what is the same in all, so that it says nothing
        // (RFC 8446 section 5.2); of TLS 1.2 the version.
        let mut at = if version == &TLS13 { 3 } else { 0 };
        loop {
            at += if at == 1 { 2 } else { 0 };
            let mut peer = TlsPeer::connect(daemon.address, version);
            let mut record = peer.sealed(&m::auth());
            let Some(byte) = record.get_mut(at) else { break };
            *byte ^= 1;
            peer.stream.write_all(&record).unwrap();
            // A length that is wrong leaves the record unfinished.
            peer.stream.shutdown(Shutdown::Write).unwrap();
            peer.gone();
            (at, damaged) = (at + 1, damaged + 1);
        }
    }
    assert!(damaged > 70, "{damaged}");
    // And of each version one with nothing left to damage.
    daemon.logged_times(damaged + VERSIONS.len(), "session ended: control connection: ");
    assert_eq!(daemon.count_logged("client accepted"), 0);
    finish(daemon);
}

/// A capture whose data connection the daemon makes to this listener.
fn start(peer: &mut TlsPeer, listener: &TcpListener) {
    let port = listener.local_addr().unwrap().port();
    let start = Start { flags: m::PROMISC | m::SERVEROPEN, port, ..Start::default() };
    peer.send(&start.bytes());
    peer.reply(m::STARTCAP);
}

#[test]
fn d5_075_a_data_connection_that_never_greets() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&[]);
    let mut peer = TlsPeer::opened(&daemon);
    let uses = daemon.uses();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let since = Instant::now();
    start(&mut peer, &listener);
    let silent = listener.accept().unwrap().0;
    peer.in_sync();
    let text = peer.error(9);
    let took = since.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(18), "{took:?}: {text}");
    assert!(text.contains("data connection"), "{text}");
    peer.in_sync();
    daemon.back_to(uses);
    // One who says a part, and one who says something else; then one who greets.
    for says in [&outgoing(&mut client(&TLS13))[..40], b"GET / HTTP/1.0\r\n\r\n"] {
        start(&mut peer, &listener);
        let mut data = listener.accept().unwrap().0;
        data.write_all(says).unwrap();
        data.shutdown(Shutdown::Write).unwrap();
        peer.error(9);
        drop(data);
    }
    start(&mut peer, &listener);
    let mut data = TlsPeer::greet(listener.accept().unwrap().0, &TLS13);
    assert_eq!(data.next().unwrap().unwrap().kind, m::PACKET);
    peer.endcap();
    daemon.logged_times(3, "capture failed");
    drop(silent);
    finish(daemon);
}

#[test]
fn a_session_that_ends_while_its_data_connection_greets() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&[]);
    let uses = daemon.uses();
    let mut peer = TlsPeer::opened(&daemon);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    start(&mut peer, &listener);
    let _silent = listener.accept().unwrap().0;
    let since = Instant::now();
    peer.endcap();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    start(&mut peer, &listener);
    let _silent = (_silent, listener.accept().unwrap().0);
    let since = Instant::now();
    peer.send(&m::msg(m::CLOSE, &[]));
    peer.gone();
    daemon.back_to(uses);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    finish(daemon);
}

#[test]
fn d7_096_an_encrypted_data_peer_that_stops_reading() {
    let certificate = Certificate::new();
    // More than the sockets of both sides hold.
    let daemon = certificate.daemon_with(savefile::packets([64_000; 512], Duration::ZERO), &[]);
    let mut peer = TlsPeer::opened(&daemon);
    let rss = daemon.rss();
    peer.send(&Start::default().bytes());
    let payload = peer.reply(m::STARTCAP);
    let port = u16::from_be_bytes([payload[4], payload[5]]);
    let to = (daemon.address.ip(), port).into();
    let data = TlsPeer::greet(connect_from(daemon.address.ip(), to, Some(4096)).unwrap(), &TLS13);
    let (mut sent, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        let now = peer.in_sync();
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
    }
    assert!(sent < 512, "{sent}");
    let growth = daemon.rss().saturating_sub(rss);
    assert!(growth < 6 * 1024, "{growth} KiB more");
    let asked = Instant::now();
    TlsPeer::opened(&daemon).in_sync();
    assert!(asked.elapsed() < Duration::from_secs(3));
    let asked = Instant::now();
    peer.endcap();
    assert!(asked.elapsed() < Duration::from_secs(10));
    let line = daemon.logged("capture ended");
    assert!(line.contains("balanced=yes"), "{line}");
    drop(data);
    finish(daemon);
}

#[test]
fn d7_097_an_encrypted_data_peer_that_resets_or_talks() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon_with(savefile::trickle(6_000), &[]);
    let mut peer = TlsPeer::opened(&daemon);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    start(&mut peer, &listener);
    let mut data = TlsPeer::greet(listener.accept().unwrap().0, &TLS13);
    data.next().unwrap().unwrap();
    reset(data.stream);
    peer.error(9);
    // What a client says there is nobody's business, encrypted or not.
    start(&mut peer, &listener);
    let mut data = TlsPeer::greet(listener.accept().unwrap().0, &TLS13);
    data.next().unwrap().unwrap();
    data.send(&[0x5a; 100_000]);
    data.stream.write_all(&[0x5a; 100_000]).unwrap();
    data.next().unwrap().unwrap();
    peer.in_sync();
    peer.endcap();
    daemon.logged_once("capture failed");
    finish(daemon);
}

#[test]
fn a_reload_under_load_leaves_sessions_their_certificate() {
    let certificate = Certificate::new();
    let config = certificate.file("rpcapd.toml");
    std::fs::write(&config, "").unwrap();
    let args = ["-f", config.to_str().unwrap()];
    let daemon = certificate.daemon_with(savefile::trickle(6_000), &args);
    let mut peer = TlsPeer::opened(&daemon);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    start(&mut peer, &listener);
    let mut data = TlsPeer::greet(listener.accept().unwrap().0, &TLS13);
    let before = peer.tls.peer_certificates().unwrap().to_vec();
    certificate.renew();
    daemon.signal(Signal::SIGHUP);
    daemon.logged_once("configuration read again");
    let mut newcomer = TlsPeer::opened(&daemon);
    assert_ne!(newcomer.tls.peer_certificates().unwrap(), before);
    newcomer.in_sync();
    for _ in 0..20 {
        data.next().unwrap().unwrap();
    }
    peer.endcap();
    let mut rest = 0;
    while data.next().unwrap().is_some() {
        rest += 1;
    }
    assert_eq!(peer.in_sync(), 20 + rest);
    drop(Peer::connect(&daemon));
    finish(daemon);
}
