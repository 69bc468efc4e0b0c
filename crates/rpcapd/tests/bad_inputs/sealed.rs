//! UDP data connections of clients with TLS: sealed, or not at all.

use std::net::UdpSocket;

use rpcap_proto::sealed::{self, Cipher, Opener, Secret};
use rustls::version::{TLS12, TLS13};

use crate::d1_tls::Certificate;
use crate::daemon::{Daemon, SOON};
use crate::message::{self as m, Start};
use crate::peer::Peer;
use crate::tls_peer::TlsPeer;

const UDPSTR: u16 = 0x0100;
const SOURCE_PORT: u16 = 0x0200;
const SEALED: u16 = 0x0400;

/// A port for datagrams, and a STARTCAP that asks for them there.
fn datagrams(flags: u16) -> (UdpSocket, Start) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, Start { flags, port, ..Start::default() })
}

fn datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let size = socket.recv(&mut buffer).unwrap();
    buffer.truncate(size);
    buffer
}

/// What the client takes from its end of TLS for a capture.
fn opener(peer: &TlsPeer, capture: u32) -> Opener {
    let suite = peer.tls.negotiated_cipher_suite().unwrap().suite();
    let context = sealed::exporter_context(capture);
    let secret =
        peer.tls.export_keying_material([0; 32], sealed::EXPORTER_LABEL, Some(&context)).unwrap();
    Opener::new(Secret::new(secret), Cipher::of_suite(suite.into()).unwrap())
}

fn opened(daemon: &Daemon, version: &'static rustls::SupportedProtocolVersion) -> TlsPeer {
    let mut peer = TlsPeer::connect(daemon.address, version);
    peer.send(&m::auth());
    peer.reply(m::AUTH);
    peer.send(&m::open(crate::daemon::DEVICE));
    peer.reply(m::OPEN);
    peer
}

#[test]
fn each_capture_is_sealed_with_its_own_secret() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&[]);
    let mut peer = opened(&daemon, &TLS13);
    for capture in 0..3 {
        // One that fails in between has none.
        let (_, refused) = datagrams(m::DGRAM | UDPSTR);
        peer.send(&refused.bytes());
        peer.error(12);
        let (socket, start) = datagrams(m::DGRAM | UDPSTR | SOURCE_PORT | SEALED);
        peer.send(&start.bytes());
        let reply = peer.reply(m::STARTCAP);
        assert_eq!(reply[6..], (UDPSTR | SOURCE_PORT | SEALED).to_be_bytes());
        let first = datagram(&socket);
        for other in (0..4).filter(|other| *other != capture) {
            assert!(opener(&peer, other).open(&first).is_err(), "{capture} {other}");
        }
        let mut opener = opener(&peer, capture);
        let plain = opener.open(&first).unwrap();
        assert_eq!(plain[..8], [0, 110, 0, 8, 0, 0, 0, 0]);
        peer.endcap();
    }
    daemon.logged_times(3, "balanced=yes");
    daemon.finish();
}

#[test]
fn with_tls_datagrams_are_sealed_or_refused() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&[]);
    let mut peer = opened(&daemon, &TLS13);
    for flags in [0, UDPSTR, SEALED, UDPSTR | SOURCE_PORT, SEALED | SOURCE_PORT] {
        let (_, start) = datagrams(m::DGRAM | flags);
        peer.send(&start.bytes());
        assert_eq!(peer.error(12), "UDP data connections are not encrypted: use TCP");
    }
    // By TCP the bit means nothing.
    let start = Start { flags: UDPSTR | SEALED, ..Start::default() };
    peer.send(&start.bytes());
    assert_eq!(peer.reply(m::STARTCAP)[6..], [0, 0]);
    peer.endcap();

    let mut peer = opened(&daemon, &TLS12);
    let (_, start) = datagrams(m::DGRAM | UDPSTR | SEALED);
    peer.send(&start.bytes());
    assert!(peer.error(12).contains("TLS 1.3 only"));
    daemon.finish();

    let daemon = certificate.daemon(&["-t", "0"]);
    let mut peer = opened(&daemon, &TLS13);
    let (_, start) = datagrams(m::DGRAM | UDPSTR | SEALED);
    peer.send(&start.bytes());
    assert!(peer.error(12).contains("encrypted as udpstr only"));
    daemon.finish();
}

#[test]
fn a_sealed_datagram_keeps_to_the_limit() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&["-t", "600"]);
    let mut peer = opened(&daemon, &TLS13);
    let (socket, start) = datagrams(m::DGRAM | UDPSTR | SEALED);
    peer.send(&start.bytes());
    peer.reply(m::STARTCAP);
    let mut opener = opener(&peer, 0);
    let mut longest = 0;
    while longest < 600 {
        let datagram = datagram(&socket);
        assert!(datagram.len() <= 600);
        opener.open(&datagram).unwrap();
        longest = longest.max(datagram.len());
    }
    peer.endcap();
    daemon.finish();
}

#[test]
fn without_tls_the_bit_means_nothing() {
    let daemon = Daemon::with_packets(crate::savefile::burst(24));
    let mut peer = Peer::opened(&daemon);
    let (socket, start) = datagrams(m::DGRAM | UDPSTR | SEALED);
    peer.send(&start.bytes());
    assert_eq!(peer.reply(m::STARTCAP)[6..], UDPSTR.to_be_bytes());
    assert_eq!(datagram(&socket)[..2], [0, 110]);
    peer.endcap();
    daemon.finish();
}
