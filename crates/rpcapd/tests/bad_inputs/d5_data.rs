//! STARTCAP and the data connection.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::daemon::{Daemon, SOON, free_port};
use crate::data::Data;
use crate::message::{self as m, Start};
use crate::peer::{Peer, connect_from};

/// A port that nobody listens on, nor can while this is held.
fn closed_port() -> (Socket, u16) {
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = held.local_addr().unwrap().as_socket().unwrap().port();
    (held, port)
}

fn server_open(port: u16) -> Start {
    Start { flags: m::PROMISC | m::SERVEROPEN, port, ..Start::default() }
}

#[test]
fn d5_074_serveropen_to_a_closed_port() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let (_held, port) = closed_port();
    let since = Instant::now();
    let text = peer.refused(&server_open(port).bytes(), 12);
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(since.elapsed() < Duration::from_secs(12));
    daemon.logged_once("request=\"STARTCAP\"");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(peer.start(&server_open(port)), 0);
    assert_eq!(Data::accept(&listener).take(24).len(), 24);
    peer.endcap();
    daemon.finish();
}

#[test]
fn d5_074_serveropen_to_a_port_that_does_not_answer() {
    // Its backlog is full, so the kernel does not answer, as a firewall would not.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _filling = TcpStream::connect(address).unwrap();

    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let since = Instant::now();
    peer.send(&server_open(address.port()).bytes());
    for _ in 0..5 {
        let began = Instant::now();
        Peer::accepted(&daemon).in_sync();
        assert!(began.elapsed() < Duration::from_secs(3));
    }
    peer.error(12);
    let bounds = Duration::from_millis(9_900)..Duration::from_secs(20);
    assert!(bounds.contains(&since.elapsed()), "{:?}", since.elapsed());
    peer.in_sync();
    daemon.logged_once("request=\"STARTCAP\"");
    daemon.finish();
}

#[test]
fn d5_075_the_client_never_opens_the_data_connection() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let uses = daemon.uses();
    let since = Instant::now();
    let port = peer.start(&Start::default());
    for _ in 0..5 {
        let asked = Instant::now();
        peer.in_sync();
        peer.refused(&Start::default().bytes(), 12);
        assert!(asked.elapsed() < Duration::from_secs(3));
    }
    let text = peer.error(9);
    let elapsed = since.elapsed();
    assert!(text.contains("did not open its data connection"), "{text}");
    let bounds = Duration::from_millis(9_900)..Duration::from_secs(20);
    assert!(bounds.contains(&elapsed), "{elapsed:?}");
    daemon.logged_once("capture failed");
    // Whatever was captured meanwhile is accounted for.
    assert_eq!(peer.stats()[3], 0);
    assert!(daemon.logged("capture ended").contains("balanced=yes"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    peer.endcap();
    daemon.back_to(uses);
    assert_eq!(peer.capture(&Start::default()).take(24).len(), 24);
    daemon.finish();
}

#[test]
fn d5_075_endcap_while_the_data_connection_is_waited_for() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let uses = daemon.uses();
    peer.start(&Start::default());
    let since = Instant::now();
    peer.endcap();
    assert!(since.elapsed() < Duration::from_secs(5));
    daemon.back_to(uses);
    assert!(daemon.logged_once("capture ended").contains("balanced=yes"));
    daemon.finish();
}

#[test]
fn d5_075_the_end_of_a_session_that_waits_for_its_data_connection() {
    let daemon = Daemon::start();
    let uses = daemon.uses();
    let mut peer = Peer::opened(&daemon);
    peer.start(&Start::default());
    let since = Instant::now();
    peer.reset();
    daemon.back_to(uses);
    assert!(since.elapsed() < Duration::from_secs(5));
    daemon.finish();
}

#[test]
fn d5_076_a_third_party_on_the_data_port() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let port = peer.start(&Start::default());
    let to = SocketAddr::new(daemon.address.ip(), port);
    for last in 2..5 {
        let stranger = IpAddr::from([127, 0, 0, last]);
        let mut stream = connect_from(stranger, to, None).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "not a byte");
        let line = daemon.logged_once(&format!("from={stranger}:"));
        assert!(line.contains("data connection refused"), "{line}");
    }
    assert_eq!(peer.data(port).take(24).len(), 24);
    peer.endcap();
    daemon.finish();
}

#[test]
fn d5_076_third_parties_that_stay_in_front_of_the_client() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let port = peer.start(&Start::default());
    let to = SocketAddr::new(daemon.address.ip(), port);
    let stranger = IpAddr::from([127, 0, 0, 2]);
    // All that the listener has room for, and more: none may be left in the client's way.
    let strangers: Vec<_> = (0..20).map(|_| connect_from(stranger, to, None).unwrap()).collect();
    assert_eq!(peer.data(port).take(24).len(), 24);
    drop(strangers);
    peer.endcap();
    daemon.finish();
}

#[test]
fn d5_081_a_fixed_data_port_that_is_in_use() {
    let port = free_port();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let daemon = Daemon::with_args(&["--data-port", &port.to_string()]);
    let mut peer = Peer::opened(&daemon);
    let text = peer.refused(&Start::default().bytes(), 12);
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    drop(taken);

    // Another session has it, until its client is there.
    assert_eq!(peer.start(&Start::default()), port);
    let mut other = Peer::opened(&daemon);
    other.refused(&Start::default().bytes(), 12);
    daemon.logged_times(2, "request=\"STARTCAP\"");
    let mut data = peer.data(port);
    assert_eq!(data.take(24).len(), 24);
    assert_eq!(other.capture(&Start::default()).take(24).len(), 24);

    // And again at once, after a capture on the same port.
    peer.endcap();
    assert_eq!(data.rest(), []);
    assert_eq!(peer.start(&Start::default()), port);
    assert_eq!(peer.data(port).take(24).len(), 24);
    daemon.finish();
}

#[test]
fn d5_082_two_thousand_captures() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let mut cycles = |count| {
        for _ in 0..count {
            let mut data = peer.capture(&Start::default());
            assert_eq!(data.take(24).len(), 24);
            peer.endcap();
            assert_eq!(data.rest(), []);
        }
    };
    cycles(200);
    let (uses, rss) = (daemon.uses(), daemon.rss());
    cycles(1_800);
    daemon.back_to(uses);
    let growth = daemon.rss().saturating_sub(rss);
    assert!(growth < 1024, "{growth} KiB more");
    daemon.logged_times(2_000, "balanced=yes");
    daemon.finish();
}

#[test]
fn d5_082_a_hundred_thousand_filters() {
    const AT_A_TIME: usize = 1_000;
    let daemon = Daemon::with_packets(crate::savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let _data = peer.capture(&Start::filtered(m::EVEN));
    let requests = [m::update(m::EVEN), m::update(m::ALL)].concat();
    let requests = requests.repeat(AT_A_TIME / 2);
    let mut rounds = |count| {
        for _ in 0..count {
            peer.stream.write_all(&requests).unwrap();
            for _ in 0..AT_A_TIME {
                assert_eq!(peer.reply(m::UPDATEFILTER), []);
            }
        }
    };
    rounds(10);
    let (uses, rss) = (daemon.uses(), daemon.rss());
    rounds(90);
    daemon.back_to(uses);
    let growth = daemon.rss().saturating_sub(rss);
    assert!(growth < 1024, "{growth} KiB more");
    peer.endcap();
    daemon.finish();
}
