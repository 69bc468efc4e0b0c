use std::net::{SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::time::Duration;

use rpcap::client::{CaptureOptions, Client, Transport};
use rpcap::data::{Gauge, Received};
use rpcap_proto::wire::{PacketHeader, StartFlags};

use super::common::*;

#[cfg(target_os = "linux")]
#[test]
fn d8_114_datagrams_that_are_not_the_daemons_or_no_packets() {
    let mut client = client(|d| {
        let to = d.start_udp();
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        // All of 127.0.0.0/8 is this host.
        let foreign = UdpSocket::bind("127.0.0.2:0").unwrap();
        foreign.send_to(&packet(1, b"forged"), to).unwrap();
        for len in 0..8 {
            own.send_to(&packet(1, b"x")[..len], to).unwrap();
        }
        for index in [0u16, 7, 8, 30, 0xfffe] {
            let mut datagram = vec![0, 110];
            datagram.extend_from_slice(&index.to_be_bytes());
            datagram.resize(30, 0);
            own.send_to(&datagram, to).unwrap();
        }
        // No number of theirs is believed.
        own.send_to(&udpstr(0, 8, &[])[..8], to).unwrap();
        own.send_to(&packet(1, b"one")[..30], to).unwrap();
        own.send_to(&packet(1, b"one"), to).unwrap();
        own.send_to(&packet(1, b"one"), to).unwrap();
        own.send_to(&packet(4, b"four"), to).unwrap();
        own.send_to(&packet(3, b"three"), to).unwrap();
    });
    client.open("e0").unwrap();
    let options = CaptureOptions { transport: Transport::Udp, ..CaptureOptions::default() };
    let mut receiver = client.start(&options).unwrap();
    let stopper = receiver.stopper().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        stopper.drain();
    });
    let mut seen = Vec::new();
    let mut sink = |_: &PacketHeader, data: &[u8]| {
        seen.push(data.to_vec());
        ControlFlow::Continue(())
    };
    let (received, error) = receiver.run(&mut sink, &Gauge::default());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(seen, [&b"one"[..], b"four", b"three"]);
    assert_eq!((received.foreign, received.malformed), (1, 9));
    assert_eq!((received.udpstr.received, received.udpstr.malformed), (6, 6));
    assert_eq!((received.duplicates, received.gaps()), (1, 1));
}

/// What a client that wants to know the daemon's port receives, if the daemon says these
/// extensions and `port` of itself, and `send` then sends: from the daemon's socket, from another
/// one of the same host, to the client.
fn from_ports(
    extensions: u16,
    port: Option<u16>,
    send: fn(own: &UdpSocket, other: &UdpSocket, to: SocketAddr),
) -> (Received, Vec<u32>) {
    let mut client = client(move |d| {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = port.unwrap_or(own.local_addr().unwrap().port());
        let to = d.start_udp_saying(port, extensions);
        send(&own, &other, to);
    });
    client.open("e0").unwrap();
    let flags = StartFlags::UDPSTR | StartFlags::SOURCE_PORT;
    receive(client, flags, Duration::from_millis(300))
}

#[test]
fn d8_114_the_first_datagram_of_a_capture_tells_the_daemons_port() {
    // What a daemon says without having confirmed that it does is nothing.
    for (extensions, port) in [(0, Some(0)), (0, Some(9)), (0x0100, Some(9)), (0x0200, Some(0))] {
        let (received, seen) = from_ports(extensions, port, |own, other, to| {
            // No packet: it tells nothing.
            other.send_to(&packet(1, b"forged")[..20], to).unwrap();
            other.send_to(&udpstr(0, 9_999, b"forged"), to).unwrap();
            own.send_to(&packet(1, b"one"), to).unwrap();
            other.send_to(&packet(2, b"forged"), to).unwrap();
            other.send_to(&udpstr(0, 8, &packet(7, b"forged")[8..]), to).unwrap();
            own.send_to(&packet(3, b"three"), to).unwrap();
        });
        assert_eq!(seen, [1, 3]);
        assert_eq!((received.foreign, received.malformed, received.udpstr.malformed), (2, 1, 1));
    }
}

#[test]
fn d8_114_a_daemon_that_tells_its_port_is_heard_from_there_only() {
    let (received, seen) = from_ports(0x0200, None, |own, other, to| {
        other.send_to(&packet(1, b"forged"), to).unwrap();
        other.send_to(b"", to).unwrap();
        own.send_to(&packet(1, b"one"), to).unwrap();
        other.send_to(&packet(2, b"forged"), to).unwrap();
    });
    assert_eq!(seen, [1]);
    assert_eq!((received.foreign, received.malformed, received.gaps()), (3, 0, 0));
}

#[test]
fn d8_114_a_port_that_was_not_asked_for_is_not_believed() {
    let mut client = client(|d| {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = d.start_udp_saying(9, 0x0200);
        own.send_to(&packet(1, b"one"), to).unwrap();
    });
    client.open("e0").unwrap();
    let (received, seen) = receive(client, StartFlags::UDPSTR, Duration::from_millis(300));
    assert_eq!((seen, received.foreign), (vec![1], 0));
}

/// Captures by UDP until `time` has passed.
fn receive(mut client: Client, flags: StartFlags, time: Duration) -> (Received, Vec<u32>) {
    let options = CaptureOptions { transport: Transport::Udp, flags, ..CaptureOptions::default() };
    let mut receiver = client.start(&options).unwrap();
    let stopper = receiver.stopper().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(time);
        stopper.drain();
    });
    let mut seen = Vec::new();
    let mut sink = |header: &PacketHeader, _: &[u8]| {
        seen.push(header.npkt);
        ControlFlow::Continue(())
    };
    let (received, error) = receiver.run(&mut sink, &Gauge::default());
    assert!(error.is_none(), "{error:?}");
    (received, seen)
}

/// What a client receives of these datagrams, with a pause for each `None`.
fn datagrams(script: Vec<Option<Vec<u8>>>) -> (Received, Vec<u32>) {
    let mut client = client(move |d| {
        let to = d.start_udp();
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        for step in script {
            match step {
                Some(datagram) => drop(own.send_to(&datagram, to).unwrap()),
                None => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    });
    client.open("e0").unwrap();
    receive(client, StartFlags::default(), Duration::from_millis(500))
}

/// A udpstr datagram of one packet.
fn single(seqno: u32) -> Option<Vec<u8>> {
    Some(udpstr(seqno, 8, &packet(seqno + 1, b"data")[8..]))
}

#[test]
fn d8_115_loss_duplicates_and_reordering_cost_only_what_was_lost() {
    let whole = packet(3, &[7; 100])[8..].to_vec();
    let (received, seen) = datagrams(vec![
        single(0),
        single(1),
        single(1),
        // Packet 3 in two parts, the second of which comes first.
        Some(udpstr(3, 0xffff, &whole[50..])),
        Some(udpstr(2, 8, &whole[..50])),
        // 4 never comes, but the start of packet 6 does, and its end does not.
        Some(udpstr(5, 8, &[&packet(5, b"five")[8..], &packet(6, &[1; 99])[8..70]].concat())),
        single(7),
    ]);
    assert_eq!(seen, [1, 2, 3, 5, 8]);
    let u = received.udpstr;
    assert_eq!((u.lost, u.duplicates, u.reordered, u.broken, u.malformed), (2, 1, 1, 1, 0));
    assert_eq!((received.packets, received.gaps(), received.last_number), (5, 3, 8));
}

#[test]
fn d8_115_nothing_waits_for_more_traffic() {
    let (received, seen) = datagrams(vec![single(0), single(2), None, single(1), single(3)]);
    // What comes after a pause is too late: the wait was over long before.
    assert_eq!(seen, [1, 3, 4]);
    assert_eq!((received.udpstr.lost, received.udpstr.late), (1, 1));
}

#[test]
fn d8_115_the_framing_is_told_by_each_datagram() {
    let (received, seen) = datagrams(vec![single(0), Some(packet(2, b"two")), single(1)]);
    assert_eq!(seen, [1, 2]);
    assert_eq!((received.duplicates, received.udpstr.taken), (1, 2));
}
