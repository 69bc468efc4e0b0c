//! The process: its limits, its end, and more than one of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, Options, SOON, command, eventually, free_port, wait};
use crate::message::{self as m, Start};
use crate::peer::Peer;
use crate::savefile;

#[test]
fn no_more_sessions_than_allowed() {
    let daemon = Daemon::with_args(&["--max-sessions", "3"]);
    let mut peers: Vec<_> = (0..3).map(|_| Peer::accepted(&daemon)).collect();
    Peer::connect(&daemon).gone();
    daemon.logged("connection closed: 3 sessions are the limit");
    for peer in &mut peers {
        peer.in_sync();
    }
    // Whoever leaves makes room for another.
    drop(peers.pop());
    daemon.logged("session ended: the peer ended the connection");
    eventually("there is room again", || {
        let mut peer = Peer::connect(&daemon);
        peer.send_what_is_taken(&m::auth());
        peer.next().is_ok_and(|message| message.is_some())
    });
    drop(peers);
    eventually("all sessions end", || daemon.threads() <= 2);
    daemon.finish();
}

#[test]
fn a_refused_peer_that_does_not_close_gives_its_place_back() {
    let daemon = Daemon::with_args(&["--max-sessions", "1"]);
    let mut peer = Peer::connect(&daemon);
    peer.send(&[1, m::AUTH, 0, 0, 0, 0, 0, 0]);
    peer.error_of_version(17);
    assert_eq!(peer.next().unwrap(), None);
    // It stays connected, and even goes on to talk.
    eventually("its place is given back", || {
        let _ = peer.stream.write_all(&m::auth());
        let mut other = Peer::connect(&daemon);
        other.send_what_is_taken(&m::auth());
        other.next().is_ok_and(|message| message.is_some())
    });
    eventually("all sessions end", || daemon.threads() <= 2);
    daemon.finish();
}

/// Sessions in every state, and a signal.
fn ended_by(signal: Signal, name: &str) {
    let mut daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut silent = Peer::connect(&daemon);
    let mut half = Peer::connect(&daemon);
    half.send(&m::auth()[..11]);
    let mut idle = Peer::accepted(&daemon);
    let mut waiting = Peer::opened(&daemon);
    waiting.start(&Start::default());
    let mut capturing = Peer::opened(&daemon);
    let mut data = capturing.capture(&Start::default());
    data.take(2);
    eventually("all sessions run", || daemon.count_logged("session started") == 5);

    let since = Instant::now();
    daemon.end(signal);
    assert!(since.elapsed() < Duration::from_secs(4));
    for peer in [&mut silent, &mut half, &mut idle, &mut waiting, &mut capturing] {
        peer.gone();
    }
    data.rest();
    assert_eq!(daemon.count_logged(&format!("{name}: ending")), 1);
    assert_eq!(daemon.count_logged("session ended: daemon stops"), 5);
    assert!(TcpStream::connect(daemon.address).is_err());
}

#[test]
fn sigterm_ends_it_in_order() {
    ended_by(Signal::SIGTERM, "SIGTERM");
}

#[test]
fn sigint_ends_it_in_order() {
    ended_by(Signal::SIGINT, "SIGINT");
}

/// What a daemon says that cannot start, with exit code 1.
fn fails(args: &[&str]) -> String {
    let mut child = command().args(args).spawn().unwrap();
    let status = wait(&mut child);
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let errors: Vec<_> = said.lines().filter(|l| l.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    errors[0].to_owned()
}

#[test]
fn a_second_daemon_on_the_same_port() {
    let daemon = Daemon::start();
    let port = daemon.address.port().to_string();
    let error = fails(&["-n", "-b", "127.0.0.1", "-p", &port]);
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.contains("-p"), "{error}");
    daemon.finish();
}

#[test]
fn an_address_that_is_not_ours() {
    let error = fails(&["-n", "-b", "192.0.2.1", "-p", "0"]);
    assert!(error.contains("192.0.2.1"), "{error}");
}

#[test]
fn a_port_that_is_free_again_at_once() {
    let port = free_port();
    let mut daemon = Daemon::with(Options { port, ..Options::default() });
    // The daemon ends the connection: it is the daemon's side that lingers in the system.
    let mut peer = Peer::accepted(&daemon);
    daemon.end(Signal::SIGTERM);
    peer.end();
    let second = Daemon::with(Options { port, ..Options::default() });
    assert_eq!(second.address, daemon.address);
    second.finish();
}

/// Whether this host has `::1`. Where everything is required, it must.
fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        assert!(std::env::var_os("RPCAP_REQUIRE_ALL").is_none(), "no IPv6 on this host");
        eprintln!("SKIPPED: no IPv6 on this host");
    }
    has
}

#[test]
fn ipv6_for_control_and_data() {
    if !has_ipv6() {
        return;
    }
    let daemon = Daemon::with(Options { bind: "::1", ..Options::default() });
    let mut peer = Peer::opened(&daemon);
    assert_eq!(peer.capture(&Start::default()).take(24).len(), 24);
    peer.endcap();

    let listener = TcpListener::bind("[::1]:0").unwrap();
    let start = Start {
        flags: m::SERVEROPEN,
        port: listener.local_addr().unwrap().port(),
        ..Start::default()
    };
    assert_eq!(peer.start(&start), 0);
    let mut data = crate::data::Data::accept(&listener);
    assert_eq!(data.take(24).len(), 24);
    peer.endcap();

    let socket = UdpSocket::bind("[::1]:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let start =
        Start { flags: m::DGRAM, port: socket.local_addr().unwrap().port(), ..Start::default() };
    assert_eq!(peer.start(&start), 0);
    let mut buf = [0; 2048];
    for _ in 0..24 {
        socket.recv(&mut buf).unwrap();
    }
    peer.endcap();
    daemon.finish();
}

#[test]
fn ipv6_is_on_the_list_or_not() {
    if !has_ipv6() {
        return;
    }
    let friendly =
        Daemon::with(Options { bind: "::1", args: &["-l", "::1/128"], ..Options::default() });
    Peer::accepted(&friendly).in_sync();
    friendly.finish();
    let hostile = Daemon::with(Options {
        bind: "::1",
        args: &["-l", "127.0.0.0/8,fd00::/8"],
        ..Options::default()
    })
    .guest(None);
    Peer::connect(&hostile).error(10);
    hostile.finish();
}

/// A peer that asks for far more than the sockets hold, and takes nothing of it.
fn greedy(daemon: &Daemon) -> Peer {
    let mut peer = Peer::with_small_buffer(daemon);
    peer.authenticate();
    peer.stream.set_nonblocking(true).unwrap();
    let requests = m::msg(m::FINDALLIF, &[]).repeat(1_000);
    // The daemon does not read what it cannot answer.
    while peer.stream.write(&requests).is_ok() {}
    peer
}

#[test]
fn a_peer_that_takes_no_replies_delays_nobody_and_is_ended() {
    let daemon = Daemon::start();
    let uses = daemon.uses();
    let since = Instant::now();
    let greedy = greedy(&daemon);
    let ended = "session ended: control connection: ";
    let mut slowest = Duration::ZERO;
    while daemon.count_logged(ended) == 0 {
        let began = Instant::now();
        Peer::accepted(&daemon).in_sync();
        slowest = slowest.max(began.elapsed());
        assert!(since.elapsed() < 2 * SOON);
        // The pace of the others.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    assert!(since.elapsed() > Duration::from_secs(9));
    daemon.logged_once(ended);
    daemon.back_to(uses);
    drop(greedy);
    daemon.finish();
}

#[test]
fn sigterm_does_not_wait_for_a_peer_that_takes_no_replies() {
    let mut daemon = Daemon::start();
    let _greedy = greedy(&daemon);
    let since = Instant::now();
    daemon.end(Signal::SIGTERM);
    assert!(since.elapsed() < Duration::from_secs(9));
}

#[test]
fn few_descriptors_are_survived() {
    const LIMIT: u32 = 48;
    let daemon = Daemon::with(Options { descriptors: Some(LIMIT), ..Options::default() });
    let uses = daemon.uses();
    let mut first = Peer::opened(&daemon);
    let peers: Vec<_> = (0..60).map(|_| Peer::connect(&daemon)).collect();
    daemon.logged("Too many open files");
    // Who is in is served, as far as it takes no descriptor; what does is refused.
    first.in_sync();
    first.refused(&Start::default().bytes(), 12);
    let cpu = daemon.cpu();
    let since = Instant::now();
    eventually("half a second", || since.elapsed() > Duration::from_millis(500));
    let cpu = daemon.cpu() - cpu;
    assert!(cpu < Duration::from_millis(250), "{cpu:?}");
    drop(peers);
    // Those that wait to be accepted take descriptors once they are: they come before this one.
    eventually("strangers are served again", || {
        let mut peer = Peer::connect(&daemon);
        peer.send_what_is_taken(&m::auth());
        matches!(peer.next(), Ok(Some(reply)) if reply.kind == m::AUTH | m::REPLY)
    });
    eventually("all but one session end", || daemon.threads() <= uses.0 + 1);
    assert_eq!(first.capture(&Start::default()).take(24).len(), 24);
    first.endcap();
    drop(first);
    daemon.back_to(uses);
    daemon.finish();
}

#[test]
fn a_session_without_fault_warns_of_nothing() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    assert_eq!(peer.capture(&Start::default()).take(24).len(), 24);
    peer.endcap();
    peer.send(&m::msg(m::CLOSE, &[]));
    peer.end();
    daemon.logged_once("session ended: closed by the peer");
    // Of the host, and not of the session.
    let of_host = daemon.count_logged("there is no user rpcapd");
    assert_eq!(daemon.count_logged(" WARN | ERROR "), of_host);
    daemon.finish();
}
