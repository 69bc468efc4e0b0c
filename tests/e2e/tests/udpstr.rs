//! What the daemon sends as udpstr, over cables of several sizes, read by a decoder that was
//! written apart from it.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::process::run;
use e2e::programs::{program, workspace};
use e2e::{Client, Daemon, Lab, Namespace, Needs, Source, Start, frames, savefile, wait_until};
use rpcap_proto::udpstr::Unpacker;
use rpcap_proto::wire::{PacketMessage, StartFlags};

const UDP: StartFlags = StartFlags::DATAGRAM;
const UDPSTR: StartFlags = StartFlags(StartFlags::DATAGRAM.0 | StartFlags::UDPSTR.0);

/// When nothing has come for so long, nothing is on its way.
const QUIET: Duration = Duration::from_millis(400);

fn golden(name: &str) -> PathBuf {
    workspace().join("tests/golden").join(name)
}

fn golden_frames() -> Vec<Vec<u8>> {
    savefile::read(&golden("frames.pcap")).packets.into_iter().map(|p| p.data).collect()
}

/// A daemon on `b0`'s addresses, so that its data leaves by the cable that it captures from.
fn daemon(lab: &Lab, arguments: &[&str]) -> Daemon {
    let mut command = lab.net.b.command(program("rpcapd"));
    command.args(["-n", "-b", "10.9.0.2", "-p", "0"]).args(arguments);
    Daemon::run(lab, &mut command, 1)
}

/// A client in `a`, and the socket that datagrams are to come to.
fn client(lab: &Lab, daemon: &Daemon, flags: StartFlags, filter: &str) -> (Client, UdpSocket, u16) {
    let mut client = Client::connect_from(&lab.net.a, daemon.address());
    client.open("b0").expect("opening b0");
    let socket = lab.net.a.enter(|| UdpSocket::bind("10.9.0.1:0").expect("a UDP socket"));
    let socket_ref = socket2::SockRef::from(&socket);
    socket_ref.set_recv_buffer_size(64 << 20).expect("a receive buffer");
    socket.set_read_timeout(Some(QUIET)).expect("a timeout");
    let port = socket.local_addr().expect("its address").port();
    let start = Start { flags, timeout_ms: 10, ..Start::filtered(filter) };
    let extensions = client.request_start(&start, port).expect("STARTCAP").extensions;
    (client, socket, extensions)
}

/// Everything that comes until nothing does for a while.
fn receive(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut buf = vec![0; 65_536];
    while let Ok(n) = socket.recv(&mut buf) {
        datagrams.push(buf[..n].to_vec());
    }
    datagrams
}

/// Reads datagrams with the reference decoder, and compares their packets with the golden frames.
#[track_caller]
fn reference(lab: &Lab, datagrams: &[Vec<u8>]) -> String {
    let file = lab.path("sent.dgrams");
    let mut bytes = Vec::new();
    for datagram in datagrams {
        bytes.extend_from_slice(&(datagram.len() as u32).to_le_bytes());
        bytes.extend_from_slice(datagram);
    }
    fs::write(&file, bytes).expect("writing a file");
    let mut python = Command::new("python3");
    run(python.arg(golden("udpstr_ref.py")).arg(&file).arg(golden("frames.pcap")))
}

/// A counter of the kernel's, such as `Ip.FragCreates`.
fn kernel_counter(namespace: &Namespace, name: &str) -> u64 {
    let text = namespace.enter(|| {
        let thread = "/proc/thread-self/net";
        let read = |file| fs::read_to_string(format!("{thread}/{file}")).expect("counters");
        (read("snmp"), read("snmp6"))
    });
    if let Some(line) = text.1.lines().find_map(|line| line.strip_prefix(name)) {
        return line.trim().parse().expect("a number");
    }
    let (group, counter) = name.split_once('.').expect("Group.Counter");
    let mut lines = text.0.lines().filter(|line| line.starts_with(&format!("{group}:")));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let at = names.split(' ').position(|n| n == counter).expect("the counter");
    values.split(' ').nth(at).expect("its value").parse().expect("a number")
}

/// Has the ends of the cable not ask for each other's address: such questions are foreign packets.
fn know_each_other(lab: &Lab) {
    lab.net.a.ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:0b nud permanent dev a0");
    lab.net.b.ip("neigh replace 10.9.0.1 lladdr 02:00:00:00:00:0a nud permanent dev b0");
}

#[track_caller]
fn golden_over_the_cable(cable: u32, arguments: &[&str], longest: usize) {
    let needs = Needs { mtu: cable, programs: &["python3"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    know_each_other(&lab);
    let daemon = daemon(&lab, arguments);
    let frames = golden_frames();
    let (mut client, socket, extensions) = client(&lab, &daemon, UDP, "");
    assert_eq!(extensions, 0, "not offered, not confirmed");
    let source = Source::new(&lab.net.a, "a0");
    let mut datagrams = Vec::new();
    // In portions that any receive buffer holds.
    for portion in frames.chunks(500) {
        source.send_all(portion);
        datagrams.extend(receive(&socket));
    }
    client.end_capture().expect("ENDCAP");
    assert!(receive(&socket).is_empty(), "nothing waits for the end");
    let said = reference(&lab, &datagrams);
    assert!(said.contains(&frames.len().to_string()), "{said}");
    assert_eq!(datagrams.iter().map(Vec::len).max(), Some(longest));
    assert_eq!(kernel_counter(&lab.net.b, "Ip.FragCreates"), 0, "no fragments");
    client.close();
    let ledgers = daemon.finish();
    let ledger = &ledgers[0];
    ledger.check_all_sent(frames.len());
    assert_eq!(ledger.get("datagrams"), datagrams.len() as u64);
    let bytes: usize = datagrams.iter().map(Vec::len).sum();
    assert_eq!(ledger.get("bytes"), bytes as u64);
}

#[test]
fn golden_frames_in_500_bytes() {
    golden_over_the_cable(1500, &["-t", "500"], 500);
}

#[test]
fn golden_frames_in_1472_bytes() {
    golden_over_the_cable(1500, &["-t", "1472"], 1472);
}

#[test]
fn golden_frames_in_what_a_small_cable_takes_of_8972_bytes() {
    golden_over_the_cable(1500, &["-t", "8972"], 1472);
}

#[test]
fn golden_frames_in_8972_bytes() {
    golden_over_the_cable(9000, &["-t", "8972"], 8972);
}

#[test]
fn golden_frames_in_1472_bytes_by_two_threads() {
    golden_over_the_cable(9000, &["-t", "1472", "-c", "-1,-1"], 1472);
}

#[test]
fn golden_frames_by_two_threads_on_cores_of_their_own_with_a_short_queue() {
    golden_over_the_cable(
        1500,
        &["-t", "1472", "-c", "0,0", "-e", "5,10", "-k", "8", "-m", "1"],
        1472,
    );
}

#[test]
fn golden_frames_blocking() {
    golden_over_the_cable(1500, &["-t", "1472", "-g", "-u", "16384"], 1472);
}

/// The lengths of the packets in datagrams of PACKET messages, and those that they had.
fn messages(datagrams: &[Vec<u8>]) -> Vec<(usize, u32)> {
    let read = |bytes: &Vec<u8>| {
        let message = PacketMessage::read(bytes, 262_144).expect("a message").expect("all of it");
        (message.data.len(), message.header.len)
    };
    datagrams.iter().map(read).collect()
}

/// The numbers of the frames in udpstr datagrams.
fn numbers(datagrams: &[Vec<u8>]) -> Vec<u32> {
    let mut unpacker = Unpacker::new(262_144);
    let mut numbers = Vec::new();
    for datagram in datagrams {
        unpacker.datagram(datagram, |_, data| numbers.extend(frames::number(data)));
    }
    unpacker.finish(|_, data| numbers.extend(frames::number(data)));
    numbers
}

#[test]
fn udpstr_is_for_those_who_ask_or_are_said_to_take_it() {
    let Some(lab) = Lab::new() else { return };
    know_each_other(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let cases: [(&[&str], StartFlags, bool); 6] = [
        (&[], UDP, false),
        (&[], UDPSTR, true),
        (&["-t", "0"], UDP, false),
        (&["-t", "0"], UDPSTR, false),
        (&["-t", "600"], UDP, true),
        (&["-t", "600"], UDPSTR, true),
    ];
    for (arguments, flags, expected) in cases {
        let daemon = daemon(&lab, arguments);
        let (mut client, socket, extensions) = client(&lab, &daemon, flags, "");
        let confirmed = if expected && flags == UDPSTR { 0x0100 } else { 0 };
        assert_eq!(extensions, confirmed, "{arguments:?} {flags:?}");
        source.send(&frames::frame(7, 100));
        let datagrams = receive(&socket);
        assert_eq!(datagrams.len(), 1);
        assert_eq!(datagrams[0][1], if expected { 110 } else { 7 }, "{arguments:?} {flags:?}");
        client.end_capture().expect("ENDCAP");
        daemon.finish();
    }
    // Over TCP it is never udpstr, whoever asks.
    let daemon = daemon(&lab, &["-t", "1472"]);
    let mut client = Client::connect_from(&lab.net.a, daemon.address());
    client.open("b0").expect("opening b0");
    let start = Start { flags: StartFlags::UDPSTR, ..Start::default() };
    assert_eq!(client.request_start(&start, 0).expect("STARTCAP").extensions, 0);
    daemon.finish();
}

#[test]
fn what_classic_datagrams_cannot_carry_is_cut_or_if_allowed_sent_in_fragments() {
    let Some(lab) = Lab::new() else { return };
    know_each_other(&lab);
    let source = Source::new(&lab.net.a, "a0");
    for (arguments, carried) in [(&[][..], 1444), (&["--allow-fragments"], 1514)] {
        let daemon = daemon(&lab, arguments);
        let (mut client, socket, _) = client(&lab, &daemon, UDP, "");
        for number in 0..10 {
            source.send(&frames::frame(number, if number % 2 == 0 { 1514 } else { 200 }));
        }
        let got = messages(&receive(&socket));
        let expected: Vec<_> = [(carried, 1514), (200, 200)].into_iter().cycle().take(10).collect();
        assert_eq!(got, expected, "{arguments:?}");
        let fragments = kernel_counter(&lab.net.b, "Ip.FragCreates");
        client.end_capture().expect("ENDCAP");
        let ledger = &daemon.finish()[0];
        ledger.check_all_sent(10);
        if arguments.is_empty() {
            assert_eq!((fragments, ledger.get("cut")), (0, 5));
        } else {
            assert_eq!((fragments, ledger.get("cut")), (10, 0));
        }
    }
}

/// A second cable, within `b`, for what is captured: `c0` sends to `c1`.
fn inner_cable(lab: &Lab) -> Source {
    lab.net.b.ip_batch(
        "link add c0 type veth peer name c1\n\
         link set c0 addrgenmode none\n\
         link set c1 addrgenmode none\n\
         link set c0 up\n\
         link set c1 up\n",
    );
    lab.net.b.wait_for_carrier("c1");
    Source::new(&lab.net.b, "c0")
}

/// A capture of `c1`, whose datagrams go to `to` in `namespace`.
fn capture_inner(namespace: &Namespace, daemon: &Daemon, to: &str) -> (Client, UdpSocket) {
    let mut client = Client::connect_from(namespace, daemon.address());
    client.open("c1").expect("opening c1");
    let socket = namespace.enter(|| UdpSocket::bind((to, 0)).expect("a UDP socket"));
    socket.set_read_timeout(Some(QUIET)).expect("a timeout");
    let port = socket.local_addr().expect("its address").port();
    let start = Start { flags: UDPSTR, timeout_ms: 10, ..Start::default() };
    client.request_start(&start, port).expect("STARTCAP");
    (client, socket)
}

/// Somewhere on the way a cable takes less than the first one does.
#[track_caller]
fn narrow_path(far: &str, near: &str, headers: usize) {
    let Some(lab) = Lab::new() else { return };
    let source = inner_cable(&lab);
    let client_side = Namespace::new("far").expect("a namespace");
    let far_name = client_side.name();
    lab.net.a.ip_batch(&format!(
        "link add r0 mtu 1300 type veth peer name f0 mtu 1300 netns {far_name}\n\
         addr add 10.8.0.1/24 dev r0\n\
         addr add fd08::1/64 dev r0 nodad\n\
         addr add fd09::1/64 dev a0 nodad\n\
         addr add fe80::a/64 dev a0 nodad\n\
         link set r0 up\n",
    ));
    run(lab.net.a.command("sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]));
    run(lab.net.a.command("sysctl").args(["-q", "-w", "net.ipv6.conf.all.forwarding=1"]));
    client_side.ip_batch(
        "addr add 10.8.0.2/24 dev f0\n\
         addr add fd08::2/64 dev f0 nodad\n\
         link set f0 up\n\
         route add default via 10.8.0.1\n\
         route add default via fd08::1\n",
    );
    client_side.wait_for_carrier("f0");
    lab.net.a.wait_for_carrier("r0");
    lab.net.b.ip_batch(
        "addr add fd09::2/64 dev b0 nodad\n\
         addr add fe80::b/64 dev b0 nodad\n\
         route add 10.8.0.0/24 via 10.9.0.1\n\
         route add fd08::/64 via fd09::1\n",
    );
    let mut command = lab.net.b.command(program("rpcapd"));
    command.args(["-n", "-b", near, "-p", "0"]);
    let daemon = Daemon::run(&lab, &mut command, 1);
    let (mut client, socket) = capture_inner(&client_side, &daemon, far);
    let mut came = Vec::new();
    let mut sent = 0;
    wait_until("a portion arrives whole", || {
        let before = sent;
        for _ in 0..50 {
            source.send(&frames::frame(sent, 1000));
            sent += 1;
        }
        came.extend(receive(&socket));
        let numbers = numbers(&came);
        (before..sent).all(|n| numbers.contains(&n))
    });
    assert_eq!(came.iter().map(Vec::len).max(), Some(1300 - headers));
    for (namespace, name) in [(&lab.net.b, "b"), (&lab.net.a, "the router")] {
        for counter in ["Ip.FragCreates", "Ip6FragCreates"] {
            assert_eq!(kernel_counter(namespace, counter), 0, "{counter} in {name}");
        }
    }
    client.end_capture().expect("ENDCAP");
    let said = daemon.process.said();
    assert!(said.contains(&format!("limit={}", 1300 - headers)), "{said}");
    let ledger = &daemon.finish()[0];
    ledger.check();
    assert_eq!(ledger.get("received"), u64::from(sent));
}

#[test]
fn datagrams_follow_the_path_over_ipv4() {
    narrow_path("10.8.0.2", "10.9.0.2", 28);
}

#[test]
fn datagrams_follow_the_path_over_ipv6() {
    narrow_path("fd08::2", "fd09::2", 48);
}

#[test]
fn an_interface_that_takes_less_from_now_on_costs_no_more_than_a_batch() {
    let Some(lab) = Lab::new() else { return };
    let source = inner_cable(&lab);
    let daemon = daemon(&lab, &["-t", "1472"]);
    let (mut client, socket) = capture_inner(&lab.net.a, &daemon, "10.9.0.1");
    source.send(&frames::frame(0, 1514));
    assert_eq!(receive(&socket)[0].len(), 1472);
    lab.net.b.ip("link set b0 mtu 1000");
    for number in 1..=3 {
        source.send(&frames::frame(number, 1514));
        std::thread::sleep(Duration::from_millis(50));
    }
    let datagrams = receive(&socket);
    assert_eq!(numbers(&datagrams).last(), Some(&3));
    assert_eq!(datagrams.iter().map(Vec::len).max(), Some(972));
    assert_eq!(kernel_counter(&lab.net.b, "Ip.FragCreates"), 0);
    client.end_capture().expect("ENDCAP");
    let ledger = &daemon.finish()[0];
    ledger.check();
    assert!(ledger.get("unsent-too-large") <= 1, "{ledger:?}");
}

/// A daemon whose sends fail as told, by strace's hand (`inject=`, strace(1)).
fn failing_daemon(lab: &Lab, inject: &str, arguments: &[&str]) -> Daemon {
    let mut command = lab.net.b.command("strace");
    // -D: the daemon is the process that we started, not strace.
    command.args(["-D", "-f", "-qq", "-o"]).arg(lab.path("strace"));
    command.args(["-e", "trace=sendmmsg", "-e", inject]);
    command.arg(program("rpcapd")).args(["-n", "-b", "10.9.0.2", "-p", "0"]).args(arguments);
    // In the place of a call that fails, strace puts one that there is not, and that no list has.
    command.args(["--sandbox", "off"]);
    Daemon::run(lab, &mut command, 1)
}

#[track_caller]
fn with_failing_sends(inject: &str, said: &str, sent: u64, cause: &str) {
    let Some(lab) = Lab::with(Needs { programs: &["strace"], ..Needs::default() }) else { return };
    know_each_other(&lab);
    let daemon = failing_daemon(&lab, inject, &["-t", "1472", "-S"]);
    let (mut client, socket, _) = client(&lab, &daemon, UDP, "");
    let source = Source::new(&lab.net.a, "a0");
    let mut datagrams = Vec::new();
    // So that there are several sends.
    for number in 0..10 {
        source.send(&frames::frame(number, 1200));
        source.send(&frames::frame(1000 + number, 1200));
        wait_until("the packets are on their way", || {
            client.stats().expect("STATS").received == 2 * (number + 1)
        });
        std::thread::sleep(Duration::from_millis(30));
    }
    datagrams.extend(receive(&socket));
    client.stats().expect("STATS");
    client.end_capture().expect("ENDCAP");
    let log = daemon.process.said();
    assert!(log.contains(said), "{log}");
    assert_eq!(numbers(&datagrams).len() as u64, sent, "{log}");
    let ledger = &daemon.finish()[0];
    ledger.check();
    assert_eq!((ledger.get("received"), ledger.get("sent")), (20, sent), "{ledger:?}");
    assert_eq!(ledger.get(cause), 20 - sent, "{ledger:?}");
}

#[test]
fn where_segmentation_is_refused_datagrams_go_one_by_one_and_none_is_lost() {
    with_failing_sends(
        "inject=sendmmsg:error=EIO:when=2",
        "no segmentation offload",
        20,
        "unsent-refused",
    );
}

#[test]
fn a_host_without_room_for_a_moment_costs_nothing() {
    with_failing_sends("inject=sendmmsg:error=ENOBUFS:when=2..20", "udpstr=true", 20, "unsent");
}

#[test]
fn a_full_socket_is_waited_for() {
    with_failing_sends("inject=sendmmsg:error=EAGAIN:when=2..20", "udpstr=true", 20, "unsent");
}

#[test]
fn reports_about_earlier_datagrams_cost_nothing() {
    let inject = "inject=sendmmsg:error=ECONNREFUSED:when=2..4";
    with_failing_sends(inject, "unreachable-reports=3 ", 20, "unsent");
}

#[test]
fn datagrams_that_are_refused_cost_their_packets_and_no_others() {
    // The second block: one run of two datagrams, in which two packets are. Then the third.
    let inject = "inject=sendmmsg:error=EPERM:when=2..3";
    with_failing_sends(inject, "datagrams are not sent", 18, "unsent-refused");
}

#[test]
fn a_dry_run_counts_and_sends_nothing_and_statistics_are_logged() {
    let Some(lab) = Lab::new() else { return };
    know_each_other(&lab);
    let daemon = daemon(&lab, &["-t", "1472", "-y", "-S"]);
    let (mut client, socket, _) = client(&lab, &daemon, UDP, "");
    let source = Source::new(&lab.net.a, "a0");
    for (from, in_all) in [(0, 30), (30, 60)] {
        source.send_all(&frames::frames(from..from + 30));
        wait_until("the packets are captured", || {
            client.stats().expect("STATS").received == in_all
        });
    }
    assert!(receive(&socket).is_empty());
    client.end_capture().expect("ENDCAP");
    let said = daemon.process.said();
    assert!(said.contains("statistics in all: received=60"), "{said}");
    assert!(said.contains("statistics since asked before: received=30"), "{said}");
    let ledger = &daemon.finish()[0];
    ledger.check();
    assert_eq!((ledger.get("sent"), ledger.get("unsent-dry-run")), (0, 60));
}

#[test]
fn the_last_packet_does_not_wait_for_another() {
    let Some(lab) = Lab::new() else { return };
    know_each_other(&lab);
    for threads in ["single", "-1,-1"] {
        let daemon = daemon(&lab, &["-t", "1472", "-c", threads]);
        let (mut client, socket, _) = client(&lab, &daemon, UDP, "");
        let source = Source::new(&lab.net.a, "a0");
        for number in 0..5 {
            source.send(&frames::frame(number, 100));
            let mut buf = [0; 2000];
            let n = socket.recv(&mut buf).expect("a datagram before long");
            assert_eq!(n, 8 + 20 + 100);
        }
        client.end_capture().expect("ENDCAP");
        daemon.finish()[0].check_all_sent(5);
    }
}
