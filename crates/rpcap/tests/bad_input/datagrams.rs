use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::time::Duration;

use rpcap::client::{CaptureOptions, Transport};
use rpcap::data::{Gauge, Received};
use rpcap_proto::wire::PacketHeader;

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
    let options = CaptureOptions { transport: Transport::Udp, ..CaptureOptions::default() };
    let mut receiver = client.start(&options).unwrap();
    let stopper = receiver.stopper().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
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
