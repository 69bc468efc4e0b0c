use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpcap_proto::udpstr::Packer;
use rpcap_proto::wire::PacketHeader;

use super::*;
use crate::collector::flow::Flow;
use crate::output::{Queue, Route};

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn from(port: u16) -> SocketAddr {
    (A, port).into()
}

fn flow(stream: u32) -> Arc<Flow> {
    Arc::new(Flow::new(stream, 262_144, A, Route::new([Arc::new(Queue::new(1 << 20))])))
}

/// The datagrams of a stream of packets, one in each.
fn stream(count: u32) -> Vec<Vec<u8>> {
    let mut packer = Packer::new(256).unwrap();
    for npkt in 1..=count {
        packer.push(&PacketHeader { npkt, ..PacketHeader::default() }, &[7; 20]);
        packer.flush();
    }
    let batch = packer.flushed();
    (0..batch.datagrams()).map(|n| batch.datagram(n).unwrap().bytes.to_vec()).collect()
}

fn end(board: &mut Switchboard, flow: &Arc<Flow>) -> u64 {
    let received = board.command(Command::End(Arc::clone(flow)), Instant::now());
    received.map_or(0, |r| r.packets)
}

fn tell(board: &mut Switchboard, command: Command) {
    assert!(board.command(command, Instant::now()).is_none());
}

#[test]
fn a_datagram_belongs_to_its_source_and_to_nobody_else() {
    let mut board = Switchboard::default();
    let (one, two) = (flow(1), flow(2));
    tell(&mut board, Command::Bind(from(1000), Arc::clone(&one)));
    tell(&mut board, Command::Bind(from(2000), Arc::clone(&two)));
    for datagram in stream(5) {
        board.datagram(from(1000), &datagram);
        // IPv4 in IPv6's clothes.
        board.datagram("[::ffff:192.0.2.1]:2000".parse().unwrap(), &datagram);
        board.datagram(from(3000), &datagram);
        board.datagram("198.51.100.1:1000".parse().unwrap(), &datagram);
    }
    board.look(Instant::now());
    assert_eq!((one.gauge.packets(), two.gauge.packets()), (5, 5));
    assert_eq!(board.strangers(), Strangers { unknown: 10, late: 0 });
    assert_eq!((end(&mut board, &one), end(&mut board, &two)), (5, 5));
    // What comes late is no stranger's.
    board.datagram(from(1000), &stream(1)[0]);
    assert_eq!(board.strangers(), Strangers { unknown: 10, late: 1 });
    assert_eq!(end(&mut board, &one), 0);
}

#[test]
fn datagrams_that_overtake_the_reply_are_kept() {
    let mut board = Switchboard::default();
    let capture = flow(1);
    tell(&mut board, Command::Await(A));
    let datagrams = stream(6);
    for datagram in &datagrams[..4] {
        board.datagram(from(1000), datagram);
    }
    board.datagram(from(9), &datagrams[0]);
    assert_eq!(board.strangers(), Strangers::default());
    tell(&mut board, Command::Bind(from(1000), Arc::clone(&capture)));
    for datagram in &datagrams[4..] {
        board.datagram(from(1000), datagram);
    }
    tell(&mut board, Command::Settle(A, Started::Well));
    assert_eq!(end(&mut board, &capture), 6);
    assert_eq!(board.strangers(), Strangers { unknown: 1, late: 0 });
}

#[test]
fn what_is_kept_is_bounded() {
    let mut board = Switchboard::default();
    tell(&mut board, Command::Await(A));
    let datagram = vec![0; 1000];
    for _ in 0..1000 {
        board.datagram(from(1000), &datagram);
    }
    assert_eq!(board.strangers().unknown, 1000 - 256 * 1024 / 1000);
    for n in 0..1000u32 {
        let ip = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        tell(&mut board, Command::Await(ip));
        for _ in 0..10 {
            board.datagram((ip, 1).into(), &datagram);
        }
    }
    // Four megabytes in all.
    let kept = 11_000 - board.strangers().unknown;
    assert!(kept <= 4 * 1024 * 1024 / 1000, "{kept}");
}

#[test]
fn the_first_datagram_tells_where_a_silent_daemon_sends_from() {
    let mut board = Switchboard::default();
    let (first, second) = (flow(1), flow(2));
    tell(&mut board, Command::Learn(Arc::clone(&first)));
    board.datagram(from(500), b"what is no datagram of a capture");
    let datagrams = stream(3);
    for datagram in &datagrams {
        board.datagram(from(1000), datagram);
        board.datagram(from(2000), datagram);
    }
    assert_eq!(first.source(), Some(from(1000)));
    assert_eq!(board.strangers().unknown, 4);
    assert_eq!(end(&mut board, &first), 3);
    // The next capture does not take what the last one sent late for its own.
    tell(&mut board, Command::Learn(Arc::clone(&second)));
    board.datagram(from(1000), &datagrams[0]);
    assert_eq!(second.source(), None);
    for datagram in &datagrams {
        board.datagram(from(3000), datagram);
    }
    assert_eq!(end(&mut board, &second), 3);
}

#[test]
fn what_is_missing_is_given_up_after_a_while() {
    let mut board = Switchboard::default();
    let capture = flow(1);
    tell(&mut board, Command::Bind(from(1000), Arc::clone(&capture)));
    let mut datagrams = stream(4);
    datagrams.remove(1);
    for datagram in datagrams {
        board.datagram(from(1000), &datagram);
    }
    let now = Instant::now();
    let left = board.look(now).expect("it waits for the second");
    assert_eq!(capture.gauge.packets(), 1);
    assert_eq!(board.look(now + left), None);
    assert_eq!((capture.gauge.packets(), capture.gauge.gaps()), (3, 1));
}

#[test]
fn outputs_that_no_capture_has_any_more_are_let_go() {
    let mut board = Switchboard::default();
    let queues: Vec<_> = (0..3).map(|_| Arc::new(Queue::new(1 << 20))).collect();
    // Two captures have the same output.
    let mut flows = Vec::new();
    for (port, queue) in (1000..).zip([0, 1, 2, 1]) {
        let route = Route::new([Arc::clone(&queues[queue])]);
        let flow = Arc::new(Flow::new(port.into(), 262_144, A, route));
        tell(&mut board, Command::Bind(from(port), Arc::clone(&flow)));
        board.datagram(from(port), &stream(1)[0]);
        flows.push(flow);
    }
    let mut given = Vec::new();
    for ended in [0, 1, 3, 2] {
        assert_eq!(end(&mut board, &flows[ended]), 1);
        given.push(queues.iter().map(|q| q.bytes() > 0).collect::<Vec<_>>());
    }
    // What came went to the output that it was for, wherever that stood.
    let (one, two) = ([true, false, false], [true, true, false]);
    assert_eq!(given, [one, two, two, [true; 3]]);
    drop(flows);
    assert!(queues.iter().all(|queue| Arc::strong_count(queue) == 1));
}

fn ports() -> Arc<Ports> {
    Arc::new(Ports::bind("127.0.0.1:0".parse().unwrap(), 2, Arc::default()).unwrap())
}

#[test]
fn a_port_is_shared_by_the_threads_of_one_collector_only() {
    let ports = ports();
    let address = ([127, 0, 0, 1], ports.port()).into();
    for threads in [1, 2] {
        let error = Ports::bind(address, threads, Arc::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

fn local_flow(stream: u32) -> Arc<Flow> {
    let route = Route::new([Arc::new(Queue::new(1 << 20))]);
    Arc::new(Flow::new(stream, 262_144, [127, 0, 0, 1].into(), route))
}

async fn came(flow: &Flow, packets: u64) {
    for _ in 0..1000 {
        if flow.gauge.packets() >= packets {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} of {packets} packets came", flow.gauge.packets());
}

#[tokio::test]
async fn captures_of_one_host_that_cannot_be_told_apart_have_ports_of_their_own() {
    let (ports, local) = (ports(), "127.0.0.1:0".parse().unwrap());
    let (a, b, c) = (local_flow(1), local_flow(2), local_flow(3));
    // Two at once, neither of which says where its datagrams come from.
    let mut first = ports.reserve(Arc::clone(&a), local, Port::Common).unwrap();
    let mut second = ports.reserve(Arc::clone(&b), local, Port::Common).unwrap();
    assert_eq!((first.port(), second.port()), (ports.port(), ports.port()));
    assert!(first.started(None).is_err() && second.started(None).is_err());
    drop((first, second));
    let mut first = ports.reserve(Arc::clone(&a), local, Port::Own).unwrap();
    let mut second = ports.reserve(Arc::clone(&b), local, Port::Own).unwrap();
    assert!(first.port() != ports.port() && second.port() != first.port());
    assert!(first.started(None).is_ok() && second.started(None).is_ok());
    for (reserved, count) in [(&first, 3), (&second, 5)] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for datagram in stream(count) {
            socket.send_to(&datagram, ("127.0.0.1", reserved.port())).unwrap();
        }
    }
    came(&a, 3).await;
    came(&b, 5).await;
    assert_eq!((first.end().await.packets, second.end().await.packets), (3, 5));

    // One that says so has the common port, even while another one is waited for.
    let d = local_flow(4);
    let mut silent = ports.reserve(Arc::clone(&d), local, Port::Common).unwrap();
    silent.started(None).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut third = ports.reserve(Arc::clone(&c), local, Port::Common).unwrap();
    for datagram in stream(4) {
        socket.send_to(&datagram, ("127.0.0.1", third.port())).unwrap();
    }
    third.started(Some(socket.local_addr().unwrap())).unwrap();
    came(&c, 4).await;
    assert_eq!(third.end().await.packets, 4);
    assert_eq!(d.source(), None, "told by nobody so far");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in stream(2) {
        socket.send_to(&datagram, ("127.0.0.1", silent.port())).unwrap();
    }
    came(&d, 2).await;
    assert_eq!(silent.end().await.packets, 2);
}
