//! During a capture.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, Options, SOON, eventually};
use crate::data::{Data, Packet};
use crate::message::{self as m, Start};
use crate::peer::{Peer, connect_from, reset};
use crate::savefile;

#[test]
fn d7_096_a_data_peer_that_stops_reading() {
    // More than the sockets of both sides hold.
    let daemon = Daemon::with_packets(savefile::packets([64_000; 512], Duration::ZERO));
    let mut peer = Peer::opened(&daemon);
    let rss = daemon.rss();
    let port = peer.start(&Start::default());
    let to = SocketAddr::new(daemon.address.ip(), port);
    let stream = connect_from(to.ip(), to, Some(4096)).unwrap();
    // It goes on until the sockets are full, and no further.
    let mut sent = 0;
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(300) {
        let [.., now] = peer.stats();
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
    }
    assert!(sent < 512, "{sent}");
    let growth = daemon.rss().saturating_sub(rss);
    assert!(growth < 4 * 1024, "{growth} KiB more");
    let asked = Instant::now();
    peer.in_sync();
    Peer::accepted(&daemon).in_sync();
    assert!(asked.elapsed() < Duration::from_secs(3));

    let asked = Instant::now();
    peer.endcap();
    assert!(asked.elapsed() < Duration::from_secs(10));
    let [received, _, dropped, sent] = peer.stats();
    let line = daemon.logged("capture ended");
    assert!(line.contains("balanced=yes"), "{line}");
    assert!(received >= dropped + sent, "{line}");
    drop(stream);
    assert_eq!(peer.capture(&Start::default()).take(512).len(), 512);
    peer.endcap();
    daemon.finish();
}

#[test]
fn d7_096_the_end_of_a_session_whose_data_peer_stops_reading() {
    let daemon = Daemon::with_packets(savefile::packets([64_000; 512], Duration::ZERO));
    let uses = daemon.uses();
    let mut peer = Peer::opened(&daemon);
    let data = peer.capture(&Start::default());
    let since = Instant::now();
    peer.send(&m::msg(m::CLOSE, &[]));
    peer.end();
    daemon.back_to(uses);
    assert!(since.elapsed() < Duration::from_secs(5));
    drop(data);
    daemon.finish();
}

#[test]
fn d7_097_a_data_peer_that_resets() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let uses = daemon.uses();
    let mut data = peer.capture(&Start::default());
    data.take(2);
    reset(data.stream);
    let text = peer.error(9);
    assert!(text.contains("data connection"), "{text}");
    assert!(daemon.logged("capture ended").contains("balanced=yes"));
    peer.in_sync();
    daemon.back_to(uses);
    // It may be ended, or not, before the next one.
    peer.endcap();
    let mut data = peer.capture(&Start::default());
    data.take(2);
    reset(data.stream);
    peer.error(9);
    daemon.logged_times(2, "capture failed peer=");
    peer.capture(&Start::default()).take(2);
    peer.endcap();
    daemon.finish();
}

#[test]
fn d7_097_a_data_peer_that_closes() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::default());
    data.take(2);
    drop(data);
    peer.error(9);
    peer.refused(&m::update(m::ALL), 7);
    peer.endcap();
    peer.refused(&m::msg(m::ENDCAP, &[]), 13);
    daemon.finish();
}

#[test]
fn d7_097_a_data_peer_that_resets_while_nothing_is_captured() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::default());
    data.take(24);
    reset(data.stream);
    peer.in_sync();
    peer.endcap();
    peer.in_sync();
    assert_eq!(peer.capture(&Start::default()).take(24).len(), 24);
    peer.endcap();
    daemon.finish();
}

#[test]
fn d7_098_garbage_on_the_data_connection() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::default());
    data.take(2);
    let rss = daemon.rss();
    // Nobody reads it, so it is not all taken.
    data.stream.set_nonblocking(true).unwrap();
    let garbage = m::msg(m::CLOSE, &[0xff; 56]);
    let mut taken = 0;
    while taken < 1 << 20 {
        match data.stream.write(&garbage) {
            Ok(n) => taken += n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(taken > 0);
    data.stream.set_nonblocking(false).unwrap();
    assert_eq!(data.take(20).len(), 20);
    peer.in_sync();
    let growth = daemon.rss().saturating_sub(rss);
    assert!(growth < 4 * 1024, "{growth} KiB more");
    peer.endcap();
    peer.in_sync();
    daemon.logged_once("capture ended");
    daemon.finish();
}

/// A socket for datagrams, and a STARTCAP that asks for them.
fn datagrams() -> (UdpSocket, Start) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let start = Start {
        flags: m::PROMISC | m::DGRAM,
        port: socket.local_addr().unwrap().port(),
        ..Start::default()
    };
    (socket, start)
}

fn datagram(socket: &UdpSocket) -> Packet {
    let mut buf = vec![0; 65_536];
    let size = socket.recv(&mut buf).unwrap();
    Packet::from_datagram(&buf[..size])
}

#[test]
fn d7_099_an_unreachable_udp_port() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let (socket, start) = datagrams();
    // It keeps the port, and takes datagrams from nobody but itself.
    socket.connect(socket.local_addr().unwrap()).unwrap();
    peer.start(&start);
    let cpu = daemon.cpu();
    eventually("a hundred packets are captured", || peer.stats()[0] >= 100);
    let cpu = daemon.cpu() - cpu;
    assert!(cpu < Duration::from_millis(700), "{cpu:?} for a second");
    peer.endcap();
    let line = daemon.logged_once("capture ended");
    assert!(line.contains("balanced=yes"), "{line}");
    // They were sent, and what came back was reported to the daemon by later sends.
    let reports = line
        .split_once("unreachable-reports=")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u32>().ok());
    let [received, .., sent] = peer.stats();
    assert_eq!(sent, received);
    assert!(reports > Some(0), "{line}");
    daemon.finish();
}

#[test]
fn d7_099_a_udp_port_that_comes_back() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let (socket, start) = datagrams();
    let address = socket.local_addr().unwrap();
    drop(socket);
    peer.start(&start);
    eventually("packets are captured", || peer.stats()[0] >= 10);
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    assert!(datagram(&socket).npkt > 1);
    peer.endcap();
    daemon.finish();
}

const LARGE: [usize; 7] = [60, 65_515, 65_516, 65_536, 131_072, 262_144, 60];

#[test]
fn d7_100_packets_larger_than_64_kib() {
    let daemon = Daemon::with_packets(savefile::packets(LARGE, Duration::ZERO));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::default());
    // That the length is that of the message, all 32 bits, is checked as it is read.
    for (packet, size) in data.take(LARGE.len()).iter().zip(LARGE) {
        assert_eq!((packet.data.len(), packet.len as usize), (size, size));
        let first = packet.npkt - 1;
        assert!((first..).zip(&packet.data).all(|(n, byte)| n as u8 == *byte));
    }
    peer.endcap();
    assert_eq!(data.rest(), []);
    assert_eq!(peer.stats(), [7, 0, 0, 7]);
    daemon.finish();
}

#[test]
fn d7_101_packets_too_large_for_a_datagram() {
    // Few enough for the smallest receive buffer.
    let sizes = [60, 65_480, 262_144, 60];
    let daemon = Daemon::with_packets(savefile::packets(sizes, Duration::ZERO));
    let mut peer = Peer::opened(&daemon);
    let (socket, start) = datagrams();
    peer.start(&start);
    for (npkt, size) in (1..).zip(sizes) {
        let packet = datagram(&socket);
        // What does not fit is cut off, as a snaplen does, and said by the length that it had.
        let caplen = size.min(65_479);
        assert_eq!((packet.npkt, packet.data.len(), packet.len as usize), (npkt, caplen, size));
    }
    peer.endcap();
    assert_eq!(peer.stats(), [4, 0, 0, 4]);
    let line = daemon.logged_once("capture ended");
    assert!(line.contains("cut=2 "), "{line}");
    assert!(line.contains("balanced=yes"), "{line}");
    daemon.finish();
}

#[test]
fn d7_101_a_snaplen_that_fits_a_datagram() {
    let daemon = Daemon::with_packets(savefile::packets(LARGE, Duration::ZERO));
    let mut peer = Peer::opened(&daemon);
    let (socket, start) = datagrams();
    peer.start(&Start { snaplen: 1_000, ..start });
    for size in LARGE {
        let packet = datagram(&socket);
        assert_eq!(packet.data.len(), size.min(1_000));
        assert_eq!(packet.len as usize, size);
    }
    peer.endcap();
    daemon.finish();
}

/// The same as an interface that goes down, as far as a savefile can: it ends within a packet.
#[test]
fn d7_102_a_savefile_that_is_damaged() {
    let mut damaged = savefile::bytes(&savefile::burst(10));
    damaged.pop();
    let daemon = Daemon::with(Options { devices: &[("damaged0", damaged)], ..Options::default() });
    let mut peer = Peer::accepted(&daemon);
    for _ in 0..2 {
        peer.send(&m::open("damaged0"));
        assert_eq!(peer.reply(m::OPEN).len(), 8);
        let mut data = peer.capture(&Start::default());
        // What came before the damage is delivered.
        assert_eq!(data.rest().len(), 9);
        let text = peer.error(9);
        assert!(text.contains("damaged0"), "{text}");
        assert_eq!(peer.stats(), [9, 0, 0, 9]);
        peer.endcap();
    }
    daemon.logged_times(2, "capture failed");
    peer.open();
    assert_eq!(peer.capture(&Start::default()).take(24).len(), 24);
    peer.endcap();
    daemon.logged_times(3, "balanced=yes");
    daemon.finish();
}

#[test]
fn d7_103_the_control_connection_is_kept_alive() {
    /// "timer_active" of `/proc/net/tcp`: neither retransmission nor probe, which is keepalive.
    const KEEPALIVE: &str = "02:";
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::default());
    data.take(2);
    let ends = [daemon.address, peer.stream.local_addr().unwrap()]
        .map(|a| format!("0100007F:{:04X}", a.port()));
    // Hours would show the same; the kernel knows now. After data, another timer comes first.
    eventually("the keepalive timer runs", || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1..3] == ends && fields[5].starts_with(KEEPALIVE)
        })
    });
    peer.endcap();
    daemon.finish();
}

#[test]
fn d7_104_signals_during_a_capture() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::default());
    for signal in
        [Signal::SIGHUP, Signal::SIGCHLD, Signal::SIGSTOP, Signal::SIGPIPE, Signal::SIGWINCH]
    {
        daemon.signal(signal);
        // A request that is on its way while the signal comes, and one answer to it.
        peer.send(&m::msg(m::STATS, &[]));
        if signal == Signal::SIGSTOP {
            daemon.signal(Signal::SIGCONT);
        }
        peer.stats_reply();
        assert_eq!(data.take(5).len(), 5);
    }
    daemon.logged_once("SIGHUP: ");
    peer.refused(&m::open("nope0"), 6);
    daemon.finish();
}

#[test]
fn d7_104_sigterm_during_captures() {
    let mut daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut tcp = Peer::opened(&daemon);
    let mut data = tcp.capture(&Start::default());
    let mut reverse = Peer::opened(&daemon);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    reverse.start(&Start {
        flags: m::PROMISC | m::SERVEROPEN,
        port: listener.local_addr().unwrap().port(),
        ..Start::default()
    });
    let mut reverse_data = Data::accept(&listener);
    let (socket, start) = datagrams();
    let mut udp = Peer::opened(&daemon);
    udp.start(&start);
    let mut waiting = Peer::opened(&daemon);
    waiting.start(&Start::default());
    data.take(3);
    reverse_data.take(3);
    datagram(&socket);

    let since = Instant::now();
    daemon.end(Signal::SIGTERM);
    assert!(since.elapsed() < Duration::from_secs(4));
    // Whole packets until the end, and no word in between.
    data.rest();
    reverse_data.rest();
    for peer in [&mut tcp, &mut reverse, &mut udp, &mut waiting] {
        peer.end();
    }
    assert_eq!(daemon.count_logged("capture ended"), 4);
    assert_eq!(daemon.count_logged("balanced=yes"), 4);
    assert_eq!(daemon.count_logged("session ended: daemon stops"), 4);
}
