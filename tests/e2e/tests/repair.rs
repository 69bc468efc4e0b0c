//! What a host with offloads sends, captured there, repaired here, and compared with what came out
//! of the wire at the other end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use e2e::frames::{Source, frame};
use e2e::process::run;
use e2e::{Client, Daemon, Lab, Namespace, Needs, Process, Start, savefile, wait_until};
use nix::sys::signal::Signal;
use rpcap_proto::wire::{Checksum, StartFlags};

/// Bytes that are sent.
const SENT: usize = 3_000_000;

/// Behind a bridge in `a` that splits packets, as a switch's port would get them from a card.
fn far_end(lab: &Lab) -> Namespace {
    let far = Namespace::new("far").expect("a namespace");
    lab.net.a.ip_batch(&format!(
        "link add br0 type bridge\nlink add x0 type veth peer name x1\n\
         link set x1 netns {}\nlink set a0 master br0\nlink set x0 master br0\n\
         link set br0 up\nlink set x0 up\n",
        far.name()
    ));
    for offload in ["tso", "gso", "tx"] {
        run(lab.net.a.command("ethtool").args(["-K", "x0", offload, "off"]));
    }
    run(far.command("ethtool").args(["-K", "x1", "gro", "off"]));
    far.ip_batch("link set lo up\nlink set x1 up\naddress add 10.9.0.77/24 dev x1\n");
    far
}

/// Packets whose checksums tshark finds wrong.
fn bad_checksums(file: &std::path::Path) -> usize {
    let mut tshark = Command::new("tshark");
    for protocol in ["ip", "tcp", "udp"] {
        tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    tshark.args(["-Y", "tcp.checksum.status == \"Bad\" || ip.checksum.status == \"Bad\""]);
    run(tshark.arg("-r").arg(file).stderr(Stdio::null())).lines().count()
}

#[test]
fn the_daemon_says_what_was_left_to_the_card() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.b, "b0");
    let socket = lab.net.b.enter(|| UdpSocket::bind("10.9.0.2:0").expect("a socket"));
    let mut client = Client::on_b0(&daemon);
    let filter = "udp dst port 9 or ether proto 0x88b5";
    for (flags, left, ready) in [
        (StartFlags::NANOS, Checksum::NotReady, Checksum::Ready),
        (StartFlags::default(), Checksum::Unknown, Checksum::Unknown),
    ] {
        let data = client.start(&Start { flags, ..Start::filtered(filter) }).expect("STARTCAP");
        socket.send_to(b"its checksum is the card's", "10.9.0.1:9").expect("a datagram");
        data.wait_for(1);
        source.send(&frame(1, 60));
        data.wait_for(2);
        client.end_capture().expect("ENDCAP");
        assert_eq!(data.checksums(), [left, ready]);
        let nanos = data.packets().iter().filter(|p| p.nanos % 1000 != 0).count();
        assert!(nanos == 0 || flags == StartFlags::NANOS);
    }
    daemon.finish();
}

#[test]
fn repaired_packets_are_those_of_the_wire() {
    let needs = Needs { programs: &["tshark", "tcpdump", "ethtool"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let far = far_end(&lab);
    let daemon = Daemon::start(&lab);
    let url = format!("rpcap://{}/b0", daemon.address());
    let filter = "src host 10.9.0.2 and tcp port 5001";
    let capture = |name: &str, repair: &[&str]| {
        let file = lab.path(name);
        let mut command = lab.rpcap();
        command.args(["capture", &url, "-f", filter, "-w"]).arg(&file).args(repair);
        let client = Process::start(&mut command);
        client.wait_for_line("capturing from");
        (client, file)
    };
    let (mut raw, raw_file) = capture("raw.pcapng", &[]);
    let (mut repaired, repaired_file) =
        capture("repaired.pcapng", &["--repair", "checksums,segments"]);
    let wire_file = lab.path("wire.pcap");
    let mut tcpdump = far.command("tcpdump");
    tcpdump.args(["-i", "x1", "-U", "-Z", "root", "-B", "65536", "-w"]).arg(&wire_file).arg(filter);
    let mut wire = Process::start(&mut tcpdump);
    wire.wait_for_line("listening on x1");
    let listener = far.enter(|| TcpListener::bind("10.9.0.77:5001").expect("a port"));
    let bytes: Vec<u8> = (0..SENT).map(|n| (n / 7) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut got = Vec::new();
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.read_to_end(&mut got).expect("reading");
            assert_eq!(got.len(), SENT);
        });
        let mut stream =
            lab.net.b.enter(|| TcpStream::connect("10.9.0.77:5001").expect("connecting"));
        stream.write_all(&bytes).expect("writing");
    });
    let payload = |packets: &[e2e::Packet]| packets.iter().map(|p| p.data.len()).sum::<usize>();
    wait_until("all came", || payload(&savefile::read_so_far(&raw_file)) > SENT);
    wait_until("all came out", || payload(&savefile::read_so_far(&wire_file)) > SENT);
    std::thread::sleep(std::time::Duration::from_millis(300));
    for process in [&mut raw, &mut repaired, &mut wire] {
        process.signal(Signal::SIGINT);
        process.wait_success();
    }
    let read = |file| savefile::read(file).packets;
    let (raw, repaired, wire) = (read(&raw_file), read(&repaired_file), read(&wire_file));
    assert!(raw.iter().any(|p| p.data.len() > 1514), "nothing was left to the card");
    assert!(bad_checksums(&raw_file) > 0, "no checksum was left to the card");
    assert_eq!(bad_checksums(&repaired_file), 0);
    assert_eq!(repaired.len(), wire.len());
    // On its way through two cores a packet may overtake another.
    let sorted = |packets: Vec<e2e::Packet>| {
        let mut data: Vec<_> = packets.into_iter().map(|p| p.data).collect();
        data.sort_unstable();
        data
    };
    let (repaired, wire) = (sorted(repaired), sorted(wire));
    let differing = repaired.iter().zip(&wire).filter(|(ours, theirs)| ours != theirs);
    assert_eq!(differing.count(), 0, "of {} packets", wire.len());
    daemon.finish();
}
