//! Packets that come out of a virtual interface, or as mirrored traffic.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::frames::{
    EXPERIMENT, Source, assert_frames, frame, frames, frames_of_many_sizes, numbers, ours, tagged,
};
use e2e::process::run;
use e2e::programs::program;
use e2e::savefile::{read, read_so_far};
use e2e::{Daemon, Lab, Listener, Namespace, Needs, Process, wait_until};
use nix::sys::signal::Signal;

/// A policy that writes files, and gives packets of these interfaces to `to` as well.
fn policy(interfaces: &str, to: &str) -> String {
    format!(
        "[output.files]\ndirectory = \"captures\"\nmerged = true\n\n\
         [output.live]\nto = \"{to}\"\n\n\
         [[agent]]\ninterfaces = [{interfaces}]\noutput = [\"files\", \"live\"]\n"
    )
}

/// Gives `b` another interface, `c0`, that what is sent over `c1` comes to.
#[track_caller]
fn another_interface(lab: &Lab) {
    lab.net.b.ip_batch(
        "link add c0 type veth peer name c1\n\
         link set c0 addrgenmode none\nlink set c1 addrgenmode none\n\
         link set c0 up\nlink set c1 up\n",
    );
}

/// A tcpdump that reads `device` into a file.
#[track_caller]
fn tcpdump(lab: &Lab, namespace: &Namespace, device: &str, name: &str) -> (Process, PathBuf) {
    let file = lab.path(name);
    let mut command = namespace.command("tcpdump");
    command.args(["-Z", "root", "-U", "-n", "-i", device, "-w"]).arg(&file);
    let process = Process::start(&mut command);
    process.wait_for_line("listening on ");
    (process, file)
}

#[track_caller]
fn arrive(what: &str, file: &Path, count: usize) {
    wait_until(what, || ours(&read_so_far(file)).len() == count);
}

/// Ends a reader, whose file is complete then.
#[track_caller]
fn leave(mut reader: Process) {
    reader.signal(Signal::SIGINT);
    reader.wait_success();
}

/// What became of an interface's packets in the live output.
#[track_caller]
fn fate(listener: &mut Listener) -> Vec<(u64, u64, u64)> {
    listener.process.signal(Signal::SIGTERM);
    listener.process.wait_success();
    let word = |line: &str, key: &str| {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(key));
        value.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no {key} in {line}"))
    };
    assert!(listener.process.lines("balanced=no").is_empty(), "{}", listener.process.said());
    let lines = listener.process.lines("output=live ");
    lines
        .iter()
        .map(|l| (word(l, "given="), word(l, "written="), word(l, "not-written=")))
        .collect()
}

#[test]
fn tcpdump_and_tshark_see_on_the_interface_what_is_in_the_file() {
    let needs = Needs { programs: &["tcpdump", "tshark"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let policy = policy("\"b0\"", "interface:rpcap0");
    let mut listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let (first, first_file) = tcpdump(&lab, &lab.net.b, "rpcap0", "first.pcap");
    let tshark_file = lab.path("tshark.pcapng");
    let mut command = lab.net.b.command("tshark");
    let tshark = Process::start(command.args(["-q", "-n", "-i", "rpcap0", "-w"]).arg(&tshark_file));
    tshark.wait_for_line("Capturing on ");
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);

    // It says that it captures a moment before it does.
    let source = Source::new(&lab.net.a, "a0");
    let mut probes = 0;
    wait_until("tshark captures", || {
        source.send(&frame(9_000, 60));
        probes += 1;
        ours(&read_so_far(&tshark_file)).len() > 2
    });
    let mut sent = frames_of_many_sizes(1..400);
    sent.push(tagged(400, 200, &[(0x8100, 5)], EXPERIMENT));
    sent.push(tagged(401, 1514, &[(0x88a8, 5), (0x8100, 6)], EXPERIMENT));
    source.send_all(&sent);
    wait_until("the files have all", || listener.count_so_far() == sent.len() + probes);
    arrive("tcpdump has all", &first_file, sent.len() + probes);
    wait_until("tshark has all", || {
        numbers(&read_so_far(&tshark_file)).iter().filter(|n| **n < 9_000).count() == sent.len()
    });
    leave(first);
    leave(tshark);
    let without_probes = |file: &Path| {
        let mut packets = read(file).packets;
        packets.retain(|p| numbers(std::slice::from_ref(p)) != [9_000]);
        packets
    };
    assert_frames("tcpdump", &sent, &without_probes(&first_file));
    assert_frames("tshark", &sent, &without_probes(&tshark_file));

    // Nobody is there for these.
    source.send_all(&frames(500..600));
    wait_until("the files have these", || listener.count_so_far() == sent.len() + probes + 100);
    let (second, second_file) = tcpdump(&lab, &lab.net.b, "rpcap0", "second.pcap");
    source.send_all(&frames(600..700));
    arrive("another reader has what comes now", &second_file, 100);
    let everything = sent.len() + probes + 200;
    wait_until("the files have all", || listener.count_so_far() == everything);

    let all = everything as u64;
    assert_eq!(fate(&mut listener), [(all, all, 0)]);
    second.wait_for_line("rpcap0");
    assert_frames("another reader", &frames(600..700), &read_so_far(&second_file));
    // Not even the host itself has spoken there.
    assert_eq!(read_so_far(&second_file).len(), 100);
    let links = lab.net.b.ip("link show");
    assert!(!links.contains("rpcap0"), "{links}");
    daemon.finish();
}

#[test]
fn packets_of_several_agents_come_out_of_one_interface() {
    let Some(lab) = Lab::new() else { return };
    another_interface(&lab);
    let policy = policy("\"b0\", \"c0\"", "interface:rpcap0");
    let mut listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let (reader, file) = tcpdump(&lab, &lab.net.b, "rpcap0", "merged.pcap");
    let place = listener.active();
    let daemons = [Daemon::calling(&lab, &["-a", &place]), Daemon::calling(&lab, &["-a", &place])];
    listener.wait_for_captures(2);
    let (first, second) = (frames(1..200), frames(1000..1300));
    Source::new(&lab.net.a, "a0").send_all(&first);
    Source::new(&lab.net.b, "c1").send_all(&second);
    let all = [first, second].concat();
    arrive("the reader has all", &file, all.len());
    assert_eq!(fate(&mut listener), [(199, 199, 0), (300, 300, 0)]);
    assert_frames("both agents", &all, &read_so_far(&file));
    drop(reader);
    for daemon in daemons {
        daemon.finish();
    }
}

/// A collector without any rights, for whom somebody has made the interface.
#[test]
fn an_interface_that_was_made_beforehand_needs_no_rights_and_stays() {
    let needs =
        Needs { programs: &["tcpdump", "setpriv", "unshare"], mtu: 9000, ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    // A node that everybody may write to, as udev makes it.
    let node = lab.path("tun");
    run(std::process::Command::new("mknod")
        .args(["-m", "666"])
        .arg(&node)
        .args(["c", "10", "200"]));
    let rpcap = e2e::lab::for_every_user(&lab, &program("rpcap"));
    std::fs::write(lab.path("policy.toml"), policy("\"b0\"", "interface:rpcap0")).expect("writing");
    let collector = || {
        let mut command = lab.net.b.command("unshare");
        command.args(["-m", "sh", "-c"]).arg(format!(
            "mount --bind {} /dev/net/tun && \
             exec setpriv --reuid 65534 --regid 65534 --clear-groups {} listen {} \
             --bind 127.0.0.1 --port 0 --data-port 0",
            node.display(),
            rpcap.display(),
            lab.path("policy.toml").display()
        ));
        command
    };
    let refused = |why: &str| {
        let mut process = Process::start(&mut collector());
        assert!(!process.wait().success());
        let said = process.said();
        assert!(said.contains(why), "{said}");
    };
    refused("cannot make a TAP interface");
    refused("CAP_NET_ADMIN");
    lab.net.b.ip("link add rpcap0 type veth peer name other0");
    refused("it is no TAP interface");
    lab.net.b.ip("link del rpcap0");
    lab.net.b.ip("tuntap add dev rpcap0 mode tap user 65534");
    refused("the interface is down: ip link set dev rpcap0 up");
    lab.net.b.ip_batch("link set dev rpcap0 arp off addrgenmode none\nlink set dev rpcap0 up\n");

    let mut listener = Listener::run(&lab, &mut collector());
    refused("another program has it");
    let (reader, file) = tcpdump(&lab, &lab.net.b, "rpcap0", "reader.pcap");
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let source = Source::new(&lab.net.a, "a0");
    // The interface's MTU is 1500.
    let long: Vec<_> = (1000..1010).map(|n| frame(n, 1523)).collect();
    let longest = tagged(1, 1522, &[(0x88a8, 5), (0x8100, 6)], EXPERIMENT);
    source.send_all(&long);
    source.send(&longest);
    arrive("the reader has what fits", &file, 1);
    wait_until("the files have all", || listener.count_so_far() == 11);
    lab.net.b.ip("link set dev rpcap0 down");
    source.send_all(&frames(2..12));
    wait_until("the files have more", || listener.count_so_far() == 21);
    listener.process.wait_for_line("the interface is down; receiving goes on");
    lab.net.b.ip("link set dev rpcap0 up");

    assert_eq!(fate(&mut listener), [(21, 1, 20)]);
    assert_frames("what fits", &[longest], &read_so_far(&file));
    let long = listener.process.lines("a packet of 1523 bytes is longer than the 1522");
    assert_eq!(long.len(), 1, "{}", listener.process.said());
    listener.process.wait_for_line("10 not written, as too long; 10 not written, as refused");
    assert!(lab.net.b.ip("link show").contains("rpcap0"), "it is not ours to remove");
    drop(reader);
    daemon.finish();
}

/// A broadcast frame with a UDP datagram from `a` to this address, port 4000.
fn broadcast(to: [u8; 4]) -> Vec<u8> {
    let mut ip = [0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 0, 0, 0, 0];
    ip[16..].copy_from_slice(&to);
    let word = |w: &[u8]| u32::from(u16::from_be_bytes([w[0], w[1]]));
    let sum: u32 = ip.chunks(2).map(word).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let udp = [0x13, 0x88, 0x0f, 0xa0, 0, 12, 0, 0, 1, 2, 3, 4];
    [&[0xff; 6][..], &e2e::net::MAC_A, &[8, 0], &ip, &udp, &[0; 14]].concat()
}

#[test]
fn the_host_itself_does_not_listen_to_what_comes_out() {
    let Some(lab) = Lab::new() else { return };
    // The agent is elsewhere: here its interface would hear the same.
    lab.net.a.ip_batch(
        "link add c0 type veth peer name c1\n\
         link set c0 addrgenmode none\nlink set c1 addrgenmode none\n\
         link set c0 up\nlink set c1 up\n",
    );
    let frames = [broadcast([255; 4]), broadcast([10, 9, 0, 2]), broadcast([224, 0, 0, 1])];
    let socket = lab.net.b.enter(|| UdpSocket::bind("0.0.0.0:4000").expect("a socket"));
    let heard = || {
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        std::iter::from_fn(|| socket.recv(&mut [0; 100]).ok()).count()
    };
    // They are such that it listens to them elsewhere.
    Source::new(&lab.net.a, "a0").send_all(&frames);
    assert_eq!(heard(), frames.len());

    let policy = policy("\"c0\"", "interface:rpcap0");
    let listener = Listener::start(&lab, &lab.net.b, "10.9.0.2", &policy);
    let (reader, file) = tcpdump(&lab, &lab.net.b, "rpcap0", "reader.pcap");
    let mut command = lab.net.a.command(program("rpcapd"));
    let daemon = Daemon::run(&lab, command.args(["-n", "-v", "-a", &listener.active()]), 0);
    listener.wait_for_captures(1);
    Source::new(&lab.net.a, "c1").send_all(&frames);
    wait_until("the reader has them", || read_so_far(&file).len() == frames.len());
    assert_eq!(heard(), 0);
    drop(reader);
    listener.finish();
    daemon.finish();
}

/// A conversation over UDP from `a` to `b`.
#[track_caller]
fn talk(lab: &Lab, packets: usize) {
    let far = lab.net.b.enter(|| UdpSocket::bind("10.9.0.2:4000").expect("a socket"));
    let near = lab.net.a.enter(|| UdpSocket::bind("10.9.0.1:5000").expect("a socket"));
    let mut buffer = [0; 100];
    for _ in 0..packets / 2 {
        near.send_to(&[1; 50], "10.9.0.2:4000").expect("sending");
        far.recv(&mut buffer).expect("receiving");
        far.send_to(&[2; 50], "10.9.0.1:5000").expect("sending");
        near.recv(&mut buffer).expect("receiving");
    }
}

#[test]
fn softflowd_and_argus_make_flow_records_of_it() {
    let programs = ["softflowd", "softflowctl", "nfcapd", "nfdump", "argus", "ra"];
    let Some(lab) = Lab::with(Needs { programs: &programs, ..Needs::default() }) else { return };
    let policy = policy("\"b0\"", "interface:rpcap0")
        .replace("output = [", "filter = \"udp port 4000\"\noutput = [");
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let (flows, argus_file) = (lab.path("flows"), lab.path("argus.out"));
    std::fs::create_dir(&flows).expect("a directory");
    let mut command = lab.net.b.command("nfcapd");
    let mut nfcapd =
        Process::start(command.args(["-p", "9995", "-b", "127.0.0.1", "-w"]).arg(&flows));
    nfcapd.wait_for_line("Startup");
    let mut command = lab.net.b.command("softflowd");
    command.args(["-D", "-v", "9", "-i", "rpcap0", "-n", "127.0.0.1:9995", "-p"]);
    command.arg(lab.path("softflowd.pid")).arg("-c").arg(lab.path("softflowd.ctl"));
    let mut softflowd = Process::start(&mut command);
    softflowd.wait_for_line("starting data collection");
    let mut command = lab.net.b.command("argus");
    let mut argus = Process::start(
        command.args(["-X", "-F", "/dev/null", "-i", "rpcap0", "-P", "0", "-w"]).arg(&argus_file),
    );
    wait_until("argus has begun its file", || argus_file.exists());
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    // softflowd looks at packets once a block of its ring is full.
    talk(&lab, 4000);
    softflowd.wait_for_line("ADD FLOW");
    wait_until("the files have all", || {
        let files = listener.files();
        files.iter().map(|f| read_so_far(f).len()).sum::<usize>() == 4000
    });
    let mut control = std::process::Command::new("softflowctl");
    run(control.arg("-c").arg(lab.path("softflowd.ctl")).arg("shutdown"));
    softflowd.wait();
    argus.signal(Signal::SIGTERM);
    argus.wait();
    nfcapd.signal(Signal::SIGTERM);
    nfcapd.wait();
    let nfdump = run(std::process::Command::new("nfdump").arg("-R").arg(&flows).args([
        "-q",
        "-N",
        "-o",
        "fmt:%sa %sp %da %dp %pkt",
    ]));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for way in ["10.9.0.1 5000 10.9.0.2 4000 ", "10.9.0.2 4000 10.9.0.1 5000 "] {
        let counts = nfdump.lines().map(words);
        let counts = counts.filter_map(|l| l.strip_prefix(way).and_then(|n| n.parse::<u64>().ok()));
        let packets: u64 = counts.sum();
        assert!((1000..=2000).contains(&packets), "{nfdump}");
    }
    let ra = run(std::process::Command::new("ra")
        .args(["-n", "-c", ",", "-r"])
        .arg(&argus_file)
        .args(["-s", "saddr", "sport", "daddr", "dport", "pkts", "-", "udp"]));
    assert!(ra.lines().any(|l| l.trim() == "10.9.0.1,5000,10.9.0.2,4000,4000"), "{ra}");
    listener.finish();
    daemon.finish();
}

/// The kernel's own VXLAN device in another namespace, over a cable that takes full frames in
/// fragments only.
#[test]
fn the_kernels_vxlan_device_takes_mirrored_packets() {
    let Some(lab) = Lab::new() else { return };
    another_interface(&lab);
    lab.net.a.ip_batch(
        "link add vx0 type vxlan id 42 dstport 4789 dev a0 nolearning\n\
         link set vx0 addrgenmode none\nlink set vx0 up\n\
         link add vx1 type vxlan id 43 dstport 4789 dev a0 nolearning\n\
         link set vx1 addrgenmode none\nlink set vx1 up\n",
    );
    let (reader, file) = tcpdump(&lab, &lab.net.a, "vx0", "vx0.pcap");
    let (stranger, other_file) = tcpdump(&lab, &lab.net.a, "vx1", "vx1.pcap");
    // The cable carries the mirrored packets themselves.
    let policy = policy("\"c0\"", "vxlan:10.9.0.1,vni=42");
    let mut listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let mut sent = frames_of_many_sizes(1..400);
    sent.push(frame(400, 1514));
    sent.push(tagged(401, 200, &[(0x8100, 5)], EXPERIMENT));
    Source::new(&lab.net.b, "c1").send_all(&sent);
    arrive("all come out of the device", &file, sent.len());
    let all = sent.len() as u64;
    assert_eq!(fate(&mut listener), [(all, all, 0)]);
    assert_frames("the device", &sent, &read_so_far(&file));
    let fragments = listener.process.lines("go in IP fragments");
    assert_eq!(fragments.len(), 1, "{}", listener.process.said());
    leave(stranger);
    assert_eq!(read(&other_file).packets.len(), 0, "another network's device has nothing");
    drop(reader);
    daemon.finish();
}

#[test]
fn a_host_that_takes_no_mirrored_packets_is_said_once_and_counted() {
    let Some(lab) = Lab::new() else { return };
    another_interface(&lab);
    let policy = policy("\"c0\"", "vxlan:10.9.0.1");
    let mut listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let source = Source::new(&lab.net.b, "c1");
    let mut sent = 0;
    wait_until("the collector has noticed", || {
        source.send(&frame(sent, 100));
        sent += 1;
        !listener.process.lines("nobody takes VXLAN there").is_empty()
    });
    source.send_all(&frames(sent..sent + 100));
    sent += 100;
    wait_until("the files have all", || listener.count_so_far() == sent as usize);
    let [(given, written, not_written)] = fate(&mut listener)[..] else { panic!("one agent") };
    assert_eq!((given, written + not_written), (sent.into(), sent.into()));
    assert!(not_written > 0);
    assert_eq!(listener.process.lines("nobody takes VXLAN there").len(), 1);
    daemon.finish();
}
