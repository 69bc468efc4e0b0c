//! The same traffic, sent once, captured four ways: by tcpdump on the host, by libpcap's tcpdump
//! through our daemon, and by our client through our daemon over TCP and over UDP. The packets are
//! the same, byte for byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use e2e::frames::{
    EXPERIMENT, Source, UDP_PORT, assert_frames, assert_same, frame, numbers, ours, send_datagrams,
    tagged,
};
use e2e::{Daemon, Lab, Ledger, Needs, Packet, Process, savefile, wait_until};
use nix::sys::signal::Signal;

/// A cable for large frames, and everything there is.
fn lab() -> Option<Lab> {
    Lab::with(Needs { peers: true, mtu: 9000, ..Needs::default() })
}

/// What the four of them captured, the host's own tcpdump first.
struct Captured {
    packets: Vec<(&'static str, Vec<Packet>)>,
    linktypes: Vec<u32>,
    ledgers: Vec<Ledger>,
}

impl Captured {
    /// Asserts that all are the same as the first.
    #[track_caller]
    fn assert_same(&self) {
        let (_, reference) = &self.packets[0];
        for (who, packets) in &self.packets[1..] {
            let expected = ours(reference);
            let expected = expected.iter().map(|(n, p)| (*n, p.data.as_slice(), p.len));
            assert_same(who, expected, packets);
        }
        assert!(self.linktypes.iter().all(|l| *l == self.linktypes[0]), "{:?}", self.linktypes);
    }
}

/// Has `send` send packets of ours, so many that `device` shows as `count`, and captures them.
#[track_caller]
fn capture(lab: &Lab, device: &str, filter: &str, count: usize, send: impl FnOnce()) -> Captured {
    let daemon = Daemon::start(lab);
    let url = daemon.url(device);
    let who = ["tcpdump on the host", "tcpdump through rpcapd", "rpcap over TCP", "rpcap over UDP"];
    let files = ["local.pcap", "remote.pcap", "tcp.pcapng", "udp.pcap"].map(|name| lab.path(name));

    let mut local = lab.tcpdump();
    // Room for all of it, whoever is slow.
    local.args(["-U", "--nano", "-B", "32768", "-i", device, "-w"]).arg(&files[0]);
    if device == "any" {
        // tcpdump's own choice is another, which RPCAP has no way to ask for.
        local.args(["-y", "LINUX_SLL"]);
    }
    let mut remote = lab.peer("tcpdump");
    remote.args(["-U", "-i", &url, "-w"]).arg(&files[1]);
    let (mut tcp, mut udp) = (lab.rpcap(), lab.rpcap());
    tcp.args(["capture", &url, "-w"]).arg(&files[2]);
    udp.args(["capture", &url, "--udp", "-w"]).arg(&files[3]);
    if !filter.is_empty() {
        local.arg(filter);
        remote.arg(filter);
        tcp.args(["-f", filter]);
        udp.args(["-f", filter]);
    }
    let mut processes = [local, remote, tcp, udp].map(|mut command| Process::start(&mut command));
    processes[0].wait_for_line("listening on");
    for client in &processes[2..] {
        client.wait_for_line("capturing from");
    }
    daemon.wait_for_captures(3);

    send();

    for (who, file) in who.iter().zip(&files) {
        wait_until(&format!("{count} packets in the file of {who}"), || {
            numbers(&savefile::read_so_far(file)).len() >= count
        });
    }
    for process in &mut processes {
        process.signal(Signal::SIGINT);
    }
    for process in &mut processes {
        process.wait_success();
    }
    let files = files.map(|file| savefile::read(&file));
    Captured {
        linktypes: files.iter().map(|f| f.linktype).collect(),
        packets: who.into_iter().zip(files.map(|f| f.packets)).collect(),
        ledgers: daemon.finish(),
    }
}

/// Frames of every kind for a cable with an MTU of 9000.
fn frames() -> Vec<Vec<u8>> {
    let tags: [&[(u16, u16)]; 7] = [
        &[],
        &[(0x8100, 5)],
        // A priority and no VLAN; the highest VLAN with every other bit.
        &[(0x8100, 0xe000)],
        &[(0x8100, 0xfffe)],
        &[(0x88a8, 7)],
        &[(0x88a8, 7), (0x8100, 5)],
        &[(0x8100, 7), (0x8100, 5)],
    ];
    let mut frames = Vec::new();
    for tags in tags {
        for size in [60, 61, 64, 128, 1514, 1518, 9014] {
            frames.push(tagged(frames.len() as u32, size, tags, EXPERIMENT));
        }
    }
    // One tag comes on top of what the MTU allows.
    frames.push(tagged(frames.len() as u32, 9018, &[(0x8100, 5)], EXPERIMENT));
    frames
}

#[test]
fn on_a_veth() {
    let Some(lab) = lab() else { return };
    let frames = frames();
    let source = Source::new(&lab.net.a, "a0");
    let captured = capture(&lab, "b0", "", frames.len(), || source.send_all(&frames));
    for (who, packets) in &captured.packets {
        assert_frames(who, &frames, packets);
    }
    captured.assert_same();
    assert_eq!(captured.linktypes[0], 1);
    for ledger in &captured.ledgers {
        ledger.check_all_sent(frames.len());
    }
}

/// Tags are in the packet when it is sent, and beside it when it is received.
#[test]
fn on_a_veth_in_both_directions() {
    let Some(lab) = lab() else { return };
    let frames = frames();
    let (inward, outward) = (Source::new(&lab.net.a, "a0"), Source::new(&lab.net.b, "b0"));
    let captured = capture(&lab, "b0", "", frames.len(), || {
        for (n, frame) in frames.iter().enumerate() {
            if n % 2 == 0 { &inward } else { &outward }.send(frame);
        }
    });
    captured.assert_same();
    assert_frames("in and out", &frames, &captured.packets[0].1);
    // What goes out is stamped once for all sockets; what comes in, by each.
    let stamps = |packets: &[Packet], unit| -> Vec<(u64, u32)> {
        let outward = ours(packets).into_iter().filter(|(n, _)| n % 2 == 1);
        outward.map(|(_, p)| (p.secs, p.nanos / unit * unit)).collect()
    };
    let local = &captured.packets[0].1;
    assert!(stamps(local, 1).iter().any(|(_, nanos)| nanos % 1000 != 0), "not in nanoseconds");
    for ((who, packets), unit) in captured.packets[1..].iter().zip([1000, 1, 1000]) {
        assert_eq!(stamps(packets, unit), stamps(local, unit), "{who}");
    }
}

#[test]
fn on_any() {
    let Some(lab) = lab() else { return };
    let frames = frames();
    let source = Source::new(&lab.net.a, "a0");
    // What is left of an outer tag is the type of the inner one.
    let filter =
        format!("ether proto {EXPERIMENT:#x} or ether proto 0x8100 or udp port {UDP_PORT}");
    // 20 datagrams over lo: `any` shows them going out and coming in, where libpcap shows them so.
    let datagrams = 1000..1020;
    let captured = capture(&lab, "any", &filter, frames.len() + datagrams.len(), || {
        source.send_all(&frames);
        send_datagrams(&lab.net.b, "127.0.0.1", datagrams, 500);
    });
    captured.assert_same();
    assert_eq!(captured.linktypes[0], 113);
}

#[test]
fn on_lo() {
    let Some(lab) = lab() else { return };
    let frames = frames();
    let source = Source::new(&lab.net.b, "lo");
    let filter =
        format!("ether proto {EXPERIMENT:#x} or ether proto 0x8100 or udp port {UDP_PORT}");
    let datagrams = 1000..1020;
    let count = frames.len() + datagrams.len();
    let captured = capture(&lab, "lo", &filter, count, || {
        source.send_all(&frames);
        send_datagrams(&lab.net.b, "127.0.0.1", datagrams.clone(), 8000);
    });
    captured.assert_same();
    let mut expected: Vec<_> = (0..frames.len() as u32).chain(datagrams).collect();
    let mut got = numbers(&captured.packets[0].1);
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected, "each packet once");
}

/// Segmentation is left to the card, so what is captured is larger than what the cable carries.
#[test]
fn packets_above_the_mtu_are_whole() {
    let needs = Needs { peers: true, ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let daemon = Daemon::start(&lab);
    let files = ["local.pcap", "remote.pcap", "tcp.pcapng"].map(|name| lab.path(name));
    let filter = "tcp port 7777";
    let (mut local, mut remote, mut tcp) = (lab.tcpdump(), lab.peer("tcpdump"), lab.rpcap());
    // Room for all of it, whoever is slow.
    local.args(["-U", "-B", "32768", "-i", "b0", "-w"]).arg(&files[0]).arg(filter);
    remote.args(["-U", "-i", &daemon.url("b0"), "-w"]).arg(&files[1]).arg(filter);
    tcp.args(["capture", &daemon.url("b0"), "-f", filter, "-w"]).arg(&files[2]);
    let mut processes = [local, remote, tcp].map(|mut command| Process::start(&mut command));
    processes[0].wait_for_line("listening on");
    daemon.wait_for_captures(2);

    let listener = lab.net.b.enter(|| TcpListener::bind("10.9.0.2:7777").expect("a listener"));
    let mut sender = lab.net.a.enter(|| TcpStream::connect("10.9.0.2:7777").expect("connecting"));
    let (mut receiver, _) = listener.accept().expect("a connection");
    let writer = std::thread::spawn(move || {
        sender.write_all(&vec![0x42; 4 << 20]).expect("sending");
    });
    let mut received = Vec::new();
    receiver.read_to_end(&mut received).expect("receiving");
    writer.join().expect("the sender");
    drop(receiver);

    // Both ends have said goodbye, and the last one was answered.
    let fins = |packets: &[Packet]| packets.iter().filter(|p| p.data[47] & 1 != 0).count();
    wait_until("the end of the connection is in the files", || {
        files.iter().all(|file| fins(&savefile::read_so_far(file)) == 2)
    });
    for process in &mut processes {
        process.signal(Signal::SIGINT);
        process.wait_success();
    }
    let files = files.map(|file| savefile::read(&file).packets);
    let largest = files[0].iter().map(|p| p.data.len()).max();
    assert!(largest > Some(1514), "no packet above the MTU: {largest:?}");
    // A local capture may end before the very last acknowledgement, as may ours.
    let end = files.iter().map(Vec::len).min().unwrap_or(0);
    assert!(files.iter().all(|f| f.len() <= end + 1));
    let content = |packets: &[Packet]| -> Vec<_> {
        let mut all: Vec<_> = packets[..end].iter().map(|p| (p.len, p.data.clone())).collect();
        // Two processors deliver the two directions in no order that all would agree on.
        all.sort_unstable();
        all
    };
    let reference = content(&files[0]);
    for (who, packets) in ["tcpdump through rpcapd", "rpcap"].iter().zip(&files[1..]) {
        assert!(content(packets) == reference, "{who}: other packets than tcpdump on the host");
    }
    for ledger in daemon.finish() {
        assert_eq!((ledger.get("dropped"), ledger.get("unsent")), (0, 0), "{ledger:?}");
    }
}

/// What the comparison rests on: a difference is seen.
#[test]
#[should_panic(expected = "packet 3")]
fn a_difference_would_be_seen() {
    let mut packet = Packet { secs: 0, nanos: 0, len: 60, data: frame(3, 60) };
    packet.data[59] ^= 1;
    assert_frames("a test", &[frame(3, 60)], &[packet]);
}
