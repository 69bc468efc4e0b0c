//! The ring against a real kernel: what is sent into one end of a veth pair comes out of a capture on the other.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

use capture::{Capture, Direction, Error, Event, LinkType, Options, Stats};
use common::{
    Net, Owned, Sender, at_least, backend, finish, frame, is_libpcap, ledger, long, numbers,
    options, receive, skip,
};

fn open(device: &str) -> Capture {
    capture::open(device, &options()).unwrap()
}

fn bytes(packets: &[Owned]) -> Vec<&[u8]> {
    packets.iter().map(|packet| &packet.data[..]).collect()
}

#[test]
fn bytes_lengths_order_and_time() {
    Net::run(|_| {
        let before =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let mut capture = open("rx0");
        assert_eq!(capture.linktype(), LinkType::ETHERNET);
        assert_eq!(capture.ring_bytes(), 16 << 20);
        assert_eq!(capture.ring_shrunk(), None);
        let sender = Sender::new("tx0");
        let sent: Vec<_> =
            [60, 61, 1514, 9014].iter().zip(0..).map(|(&len, n)| frame(n, len)).collect();
        sent.iter().for_each(|frame| sender.send(frame));
        let got = receive(&mut capture, sent.len());
        assert_eq!(bytes(&got), sent);
        assert!(got.iter().all(|packet| packet.len as usize == packet.data.len()));
        assert!(got.iter().any(|packet| packet.nanos % 1000 != 0), "no nanoseconds");
        let after =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        assert!(got.is_sorted_by_key(|packet| packet.nanos));
        assert!(got[0].nanos >= before && got[3].nanos <= after);
        assert_eq!(finish(&mut capture), []);
        let stats = capture.control().stats().unwrap();
        assert_eq!(stats, Stats { received: 4, ..Stats::default() });
    });
}

#[test]
fn vlan_tags_come_back() {
    Net::run(|_| {
        let mut capture = open("rx0");
        let mut any = open("any");
        let sender = Sender::new("tx0");
        for (n, tag) in [[0x81, 0x00, 0x60, 0x64], [0x88, 0xa8, 0x00, 0x05]].iter().enumerate() {
            let mut tagged = frame(n as u32, 100);
            tagged.splice(12..12, *tag);
            sender.send(&tagged);
            let got = receive(&mut capture, 1);
            assert_eq!(bytes(&got), [&tagged[..]]);
            assert_eq!(got[0].len, 104);
        }
        let got = receive(&mut any, 4);
        // Each is seen leaving tx0, its tag still in the packet, and arriving at rx0, where the kernel takes it off.
        let arrived: Vec<_> = got.iter().filter(|p| p.data[..2] == [0, 1]).collect();
        assert_eq!(arrived.len(), 2);
        assert_eq!(arrived[0].data[14..20], [0x81, 0x00, 0x60, 0x64, 0x88, 0xb5]);
        assert_eq!(arrived[0].len as usize, 16 + 4 + 100 - 14);
        assert_eq!(arrived[0].data[20..], frame(0, 100)[14..]);
    });
}

/// The kernel wants scratch cells written before they are read; the program is valid all the same.
#[test]
fn snaplen_with_and_without_tag() {
    Net::run(|_| {
        for (snaplen, expected) in [(1, 1), (60, 60), (100, 100), (104, 104), (0, 104)] {
            let mut capture = capture::open("rx0", &Options { snaplen, ..options() }).unwrap();
            let sender = Sender::new("tx0");
            let mut tagged = frame(1, 100);
            tagged.splice(12..12, [0x81, 0, 0, 9]);
            sender.send(&tagged);
            sender.send(&frame(2, 100));
            let got = receive(&mut capture, 2);
            // One byte is no place for a tag.
            let length = if snaplen == 1 { 100 } else { 104 };
            let kept = if snaplen == 1 { &frame(1, 1)[..] } else { &tagged[..expected] };
            assert_eq!((&got[0].data[..], got[0].len), (kept, length));
            assert_eq!((&got[1].data[..], got[1].len), (&frame(2, 100)[..expected.min(100)], 100));
        }
    });
}

#[test]
fn ledger_adds_up_when_the_ring_overflows() {
    Net::run(|_| {
        for filter in [vec![], long(at_least(20_000, 65535))] {
            let options = Options { ring_bytes: 1, filter, ..options() };
            let mut capture = capture::open("rx0", &options).unwrap();
            // libpcap does not tell what it made of it.
            let granted = if is_libpcap() { 1 } else { 1 << 20 };
            assert_eq!(capture.ring_bytes(), granted);
            assert_eq!(capture::ring_bytes(&options), granted);
            let control = capture.control();
            let load = thread::spawn({
                let sender = Sender::new("tx0");
                let frame = frame(30_000, 1514);
                move || (0..20_000).for_each(|_| sender.send(&frame))
            });
            let mut handed_out = 0;
            // Too slow on purpose, and stopped in the middle of it.
            for _ in 0..5 {
                if let Event::Block(mut block) =
                    capture.next(Some(Duration::from_millis(50))).unwrap()
                {
                    handed_out += block.packets().count();
                    thread::sleep(Duration::from_millis(5));
                }
            }
            let start = Instant::now();
            handed_out += finish(&mut capture).len();
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
            let stats = control.stats().unwrap();
            ledger(stats, handed_out);
            assert!(stats.dropped > 0, "{stats:?}");
            load.join().unwrap();
            assert_eq!(control.stats().unwrap(), stats, "counted after the end");
            assert!(matches!(capture.next(None).unwrap(), Event::Ended));
        }
    });
}

#[test]
fn packets_that_are_not_walked_are_counted() {
    Net::run(|_| {
        let mut capture = open("rx0");
        let sender = Sender::new("tx0");
        (0..10).for_each(|n| sender.send(&frame(n, 64)));
        thread::sleep(Duration::from_millis(50));
        let Event::Block(mut block) = capture.next(None).unwrap() else { panic!("no block") };
        let first: Vec<_> = block.packets().take(2).collect();
        // Two at a time, from one block.
        assert_eq!(first.iter().map(|p| p.data.len()).sum::<usize>(), 128);
        assert_eq!(block.packets().next().unwrap().data[17], 2);
        let unread = block.left();
        drop(block);
        assert_eq!(capture.control().stats().unwrap().unread, u64::from(unread));
        let rest = finish(&mut capture).len();
        let stats = capture.control().stats().unwrap();
        assert_eq!(stats.received, 10);
        assert!(stats.unread > 0);
        ledger(stats, 3 + rest);
    });
}

#[test]
fn a_control_outlives_its_capture() {
    Net::run(|_| {
        let mut capture = open("rx0");
        Sender::new("tx0").send(&frame(0, 64));
        receive(&mut capture, 1);
        let control = capture.control();
        drop(capture);
        assert_eq!(control.stats().unwrap().received, 1);
        control.set_filter(&[]).unwrap();
        control.stop();
        control.wake();
        assert_eq!(control.stats().unwrap().received, 1);
    });
}

#[test]
fn promiscuous_mode_undoes_itself() {
    Net::run(|_| {
        // sysfs shows the namespace that mounted it; ask netlink.
        let promiscuity = || {
            let output = Command::new("ip").args(["-d", "link", "show", "rx0"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().contains("promiscuity 1")
        };
        let options = Options { promisc: true, ..options() };
        let capture = capture::open("rx0", &options).unwrap();
        let control = capture.control();
        assert!(promiscuity());
        drop(capture);
        // What other tests start while libpcap opens a socket inherits it, and ends soon.
        let end = Instant::now() + Duration::from_secs(if is_libpcap() { 5 } else { 0 });
        while promiscuity() {
            assert!(Instant::now() < end);
        }
        drop(control);
        // Not for `any`, and not an error.
        drop(capture::open("any", &options).unwrap());
    });
}

#[test]
fn interface_down_gone_and_never_there() {
    Net::run(|net| {
        assert!(matches!(capture::open("nosuch0", &options()), Err(Error::NoSuchDevice { .. })));
        assert!(matches!(capture::linktype("nosuch0", backend()), Err(Error::NoSuchDevice { .. })));

        let mut capture = open("rx0");
        Sender::new("tx0").send(&frame(7, 64));
        thread::sleep(Duration::from_millis(50));
        net.exec("ip link set rx0 down");
        // What was captured before comes first.
        assert_eq!(numbers(&receive(&mut capture, 1)), [7]);
        let error = capture.next(Some(Duration::from_secs(2))).unwrap_err();
        assert!(matches!(error, Error::InterfaceDown { .. }), "{error}");
        assert_eq!(error.to_string(), "rx0: the interface is down");
        // Told once; no packets, and no busy loop.
        assert!(matches!(capture.next(Some(Duration::from_millis(30))).unwrap(), Event::Timeout));
        assert!(matches!(capture::open("rx0", &options()), Err(Error::InterfaceDown { .. })));
        assert_eq!(finish(&mut capture), []);
        ledger(capture.control().stats().unwrap(), 1);
        drop(capture);

        net.exec("ip link set rx0 up");
        let mut capture = open("rx0");
        net.exec("ip link del rx0");
        let error = capture.next(Some(Duration::from_secs(2))).unwrap_err();
        assert!(matches!(error, Error::InterfaceGone { .. }), "{error}");
        assert_eq!(finish(&mut capture), []);
    });
}

#[test]
fn loopback_shows_each_packet_once() {
    Net::run(|_| {
        let mut lo = open("lo");
        let mut any = open("any");
        let mut out =
            capture::open("lo", &Options { direction: Direction::Out, ..options() }).unwrap();
        assert_eq!(lo.linktype(), LinkType::ETHERNET);
        assert_eq!(any.linktype(), LinkType::LINUX_SLL);
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        for n in 0..5u8 {
            from.send_to(&[n; 30], to.local_addr().unwrap()).unwrap();
        }
        let got = receive(&mut lo, 5);
        assert_eq!(
            got.iter().map(|p| *p.data.last().unwrap()).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        let cooked = receive(&mut any, 5);
        let header = [0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
        for (cooked, whole) in cooked.iter().zip(&got) {
            assert_eq!(cooked.data, [&header[..], &whole.data[14..]].concat());
            assert_eq!(cooked.len, whole.len + 2);
        }
        for capture in [&mut lo, &mut any, &mut out] {
            assert_eq!(finish(capture), []);
        }
        assert_eq!(lo.control().stats().unwrap().received, 5);
        assert_eq!(any.control().stats().unwrap().received, 5);
        assert_eq!(out.control().stats().unwrap().received, 0);
    });
}

#[test]
fn directions() {
    Net::run(|_| {
        let with = |direction| capture::open("rx0", &Options { direction, ..options() }).unwrap();
        let mut captures = [Direction::Both, Direction::In, Direction::Out].map(with);
        Sender::new("tx0").send(&frame(1, 64));
        Sender::new("rx0").send(&frame(2, 64));
        for (capture, expected) in captures.iter_mut().zip([&[1, 2][..], &[1], &[2]]) {
            let mut got = receive(capture, expected.len());
            got.extend(finish(capture));
            assert_eq!(numbers(&got), expected);
            assert_eq!(capture.control().stats().unwrap().received, expected.len() as u64);
        }
    });
}

/// Filters of cooked captures, in the kernel where it knows the field and in user space where it does not.
#[test]
fn segmentation_offload_gives_packets_larger_than_the_mtu() {
    Net::run(|net| {
        net.exec("ip link set lo mtu 1500");
        let mut capture = open("lo");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let reader = thread::spawn(move || server.read_to_end(&mut Vec::new()).unwrap());
        client.write_all(&[7; 100_000]).unwrap();
        drop(client);
        assert_eq!(reader.join().unwrap(), 100_000);
        let got = finish(&mut capture);
        let largest = got.iter().max_by_key(|packet| packet.len).unwrap();
        if largest.len <= 1514 {
            skip("this kernel does not offload segmentation on lo");
            return;
        }
        assert!(got.iter().all(|packet| packet.len as usize == packet.data.len()));
    });
}

#[test]
fn other_threads_wake_and_stop_a_waiting_one() {
    Net::run(|_| {
        let mut capture = open("rx0");
        assert!(matches!(capture.next(Some(Duration::ZERO)).unwrap(), Event::Timeout));
        let control = capture.control();
        control.wake();
        control.wake();
        assert!(matches!(capture.next(None).unwrap(), Event::Woken));
        let start = Instant::now();
        assert!(matches!(capture.next(Some(Duration::from_millis(40))).unwrap(), Event::Timeout));
        assert!(start.elapsed() >= Duration::from_millis(40));
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            control.wake();
            thread::sleep(Duration::from_millis(30));
            control.stop();
        });
        assert!(matches!(capture.next(None).unwrap(), Event::Woken));
        assert!(matches!(capture.next(None).unwrap(), Event::Ended));
        other.join().unwrap();
    });
}

const TOO_LARGE: usize = 512 << 20;

#[test]
fn a_ring_that_does_not_fit_shrinks() {
    Net::run(|_| {
        // Address space is memory that can be made short without hurting anyone else.
        let status = Command::new("sh")
            .args(["-c", "ulimit -v 400000; exec \"$0\" --exact in_little_memory --ignored"])
            .arg(std::env::current_exe().unwrap())
            .status()
            .unwrap();
        assert!(status.success());
    });
}

#[test]
#[ignore = "a_ring_that_does_not_fit_shrinks runs it, in an address space that is too small"]
fn in_little_memory() {
    let options = Options { ring_bytes: TOO_LARGE, ..options() };
    let mut capture = capture::open("rx0", &options).unwrap();
    assert_eq!(capture.ring_shrunk(), Some(TOO_LARGE));
    assert!(capture.ring_bytes() < TOO_LARGE && capture.ring_bytes() >= 16 << 20);
    Sender::new("tx0").send(&frame(1, 64));
    assert_eq!(numbers(&receive(&mut capture, 1)), [1]);
}
