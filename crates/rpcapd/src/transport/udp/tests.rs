use super::*;
use crate::ledger::Taken;
use crate::transport::{Framer, Messages, Threads, UdpStream};
use rpcap_proto::udpstr::Unpacker;
use rpcap_proto::wire::{PacketHeader, PacketMessage};

fn options() -> Options {
    Options {
        send_buffer: 8 << 20,
        blocking: false,
        dry_run: false,
        fragments: false,
        threads: Threads::One(None),
        nice: (None, None),
        queue_bytes: 64_000_000,
        queue_packets: 65_536,
    }
}

struct Sending {
    sink: UdpSink,
    peer: UdpSocket,
    counters: Arc<Counters>,
    aborted: Arc<AtomicBool>,
}

fn pair() -> Sending {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&peer).set_recv_buffer_size(4 << 20).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(peer.local_addr().unwrap()).unwrap();
    let counters = Arc::new(Counters::default());
    let ready = Ready::new(socket, &options()).unwrap();
    let aborted = Arc::default();
    let sink = UdpSink::new(ready, Arc::clone(&counters), Arc::clone(&aborted));
    Sending { sink, peer, counters, aborted }
}

fn push(framer: &mut impl Framer, npkt: u32, size: usize) {
    let len = size as u32;
    let header = PacketHeader { caplen: len, len, npkt, ..PacketHeader::default() };
    framer.push(header, &vec![npkt as u8; size], &mut Taken::default());
}

fn batch(framer: &mut impl Framer) -> Batch {
    std::mem::take(framer.batch())
}

#[test]
fn one_message_in_each_datagram() {
    let Sending { mut sink, peer, counters, .. } = pair();
    let sizes = [0usize, 60, 60, 60, 50, 1514, 9000, 65_479];
    let mut messages = Messages::new(false);
    messages.limit(sink.datagram_limit());
    for (i, size) in sizes.iter().enumerate() {
        push(&mut messages, i as u32 + 1, *size);
    }
    sink.send(&mut batch(&mut messages));
    let mut buf = vec![0; 65_536];
    for (i, size) in sizes.iter().enumerate() {
        let n = peer.recv(&mut buf).unwrap();
        let message = PacketMessage::read(&buf[..n], 262_144).unwrap().unwrap();
        assert_eq!((message.size, message.data.len()), (n, *size));
        assert_eq!(message.header.npkt, i as u32 + 1);
    }
    let sent = counters.counts().sent;
    assert_eq!((sent.packets, sent.datagrams), (8, 8));
}

/// Sends packets of these sizes as udpstr and unpacks them again.
fn there_and_back(segmentation: bool, sizes: &[usize]) {
    let Sending { mut sink, peer, counters, .. } = pair();
    sink.way.segmentation &= segmentation;
    let mut framer = UdpStream::new(1472).unwrap();
    for (i, size) in sizes.iter().enumerate() {
        push(&mut framer, i as u32 + 1, *size);
    }
    sink.send(&mut batch(&mut framer));
    let mut unpacker = Unpacker::new(262_144);
    let mut got = Vec::new();
    let mut buf = vec![0; 65_536];
    while got.len() < sizes.len() {
        let n = peer.recv(&mut buf).unwrap();
        assert!(n <= 1472);
        unpacker.datagram(&buf[..n], |header, data| {
            assert!(data.iter().all(|b| *b == header.npkt as u8));
            got.push(data.len());
        });
    }
    assert_eq!(got, sizes);
    let sent = counters.counts().sent;
    assert_eq!((sent.packets, sent.unsent()), (sizes.len() as u64, 0));
    assert_eq!(sent.datagrams, unpacker.counts().taken);
}

#[test]
fn udpstr_in_runs_of_every_shape() {
    let mixed: Vec<usize> = (0..600).map(|i| (i * 7919) % 1514).collect();
    for segmentation in [true, false] {
        there_and_back(segmentation, &[64; 500]);
        there_and_back(segmentation, &[160; 500]);
        there_and_back(segmentation, &mixed);
        there_and_back(segmentation, &[50_000, 10, 0, 40_000]);
    }
}

#[test]
fn d7_099_an_unreachable_port_is_counted_and_does_not_spin() {
    let Sending { mut sink, peer, counters, .. } = pair();
    drop(peer);
    let mut messages = Messages::new(false);
    for npkt in 1..=1000 {
        push(&mut messages, npkt, 60);
        sink.send(&mut batch(&mut messages));
    }
    let sent = counters.counts().sent;
    assert_eq!(sent.packets + sent.unsent(), 1000);
    assert!(sent.reports > 0);
}

#[test]
fn a_datagram_that_the_path_does_not_take_is_counted_and_shrinks_the_limit() {
    let Sending { mut sink, peer, counters, .. } = pair();
    let mut datagrams = Batch::default();
    for size in [70_000, 60] {
        datagrams.extend(&vec![7; size]);
        datagrams.close(3, false);
    }
    sink.send(&mut datagrams);
    let sent = counters.counts().sent;
    assert_eq!((sent.too_large, sent.packets, sent.datagrams), (3, 3, 1));
    assert!(sink.datagram_limit() <= PAYLOAD_MAX);
    assert_eq!(peer.recv(&mut [0; 100]).unwrap(), 60);
}

#[test]
fn what_waits_when_a_capture_is_aborted_is_counted_and_not_sent() {
    let Sending { mut sink, peer, counters, aborted } = pair();
    let mut framer = UdpStream::new(1472).unwrap();
    let mut npkt = 0;
    let mut send = |sink: &mut UdpSink| {
        for _ in 0..100 {
            npkt += 1;
            push(&mut framer, npkt, 1000);
        }
        sink.send(&mut batch(&mut framer));
        counters.counts().sent
    };
    let before = send(&mut sink);
    assert_eq!((before.packets, before.closed), (100, 0));
    aborted.store(true, Relaxed);
    let after = send(&mut sink);
    assert_eq!((after.packets, after.closed), (100, 100));
    peer.set_nonblocking(true).unwrap();
    let datagrams = std::iter::from_fn(|| peer.recv(&mut [0; 2000]).ok()).count() as u64;
    assert_eq!(datagrams, before.datagrams);
}

#[test]
fn packets_in_several_datagrams_are_counted_once() {
    let datagram = |packets, continues| Datagram { bytes: &[], packets, continues };
    // Two packets, the beginning of a third, its middle, its end with two others.
    let row = [datagram(2, true), datagram(0, true), datagram(3, true), datagram(1, false)];
    for missing in 0..1u32 << row.len() {
        let mut tally = Tally::default();
        let (mut whole, mut lost) = (0, 0);
        for (i, datagram) in row.iter().enumerate() {
            if missing & 1 << i == 0 {
                let (w, l) = tally.sent(datagram);
                (whole, lost) = (whole + w, lost + l);
            } else {
                lost += tally.missing(datagram);
            }
        }
        let touches = |mask: u32| missing & mask != 0;
        // Each packet by the datagrams that it is in.
        let packets = [1, 1, 0b111, 0b100, 0b100, 0b1100];
        let expected = packets.into_iter().filter(|mask| touches(*mask)).count() as u64;
        assert_eq!((whole, lost), (6 - expected, expected), "{missing:b}");
    }
}
