//! The daemon calls collectors.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::frames::{
    Source, assert_frames, frame, frames, frames_of_many_sizes, number, ours, tagged,
};
use e2e::{Client, Collector, Daemon, Lab, Namespace, Process, Start, savefile, wait_until};
use rpcap_proto::udpstr::Unpacker;
use rpcap_proto::wire::StartFlags;

/// Captures from `b0` and expects these frames, whole, and none of the daemon's own.
#[track_caller]
fn captures(lab: &Lab, client: &mut Client, start: &Start) {
    assert_eq!(client.open("b0"), Ok(1));
    let data = client.start(start).expect("a capture");
    let sent = frames_of_many_sizes(1..200);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    // Neighbours look for each other while data flows over the cable.
    wait_until("all frames came", || ours(&data.packets()).len() == sent.len());
    client.end_capture().expect("the end of a capture");
    let packets = data.packets();
    assert_frames("what came", &sent, &packets);
    let foreign = |p: &&savefile::Packet| !matches!(p.data[12..14], [0x08, 0x06] | [0x86, 0xdd]);
    assert_eq!(packets.iter().filter(foreign).count(), sent.len(), "none of the daemon's own");
}

#[test]
fn a_collector_captures_over_tcp_and_udp() {
    let Some(lab) = Lab::new() else { return };
    lab.net.a.ip("addr add fd09::1/64 dev a0 nodad");
    lab.net.b.ip("addr add fd09::2/64 dev b0 nodad");
    for ip in ["10.9.0.1", "fd09::1"] {
        let collector = Collector::new(&lab.net.a, ip);
        let daemon = Daemon::calling(&lab, &["-a", &collector.active()]);
        let mut client = collector.accept();
        captures(&lab, &mut client, &Start::default());
        assert_eq!(client.open("b0"), Ok(1));
        datagrams_are_udpstr(&lab, &mut client, ip);
        client.close();
        daemon.finish();
    }
}

/// With nothing said on either side, as ExtraHop's sensors expect it; and the client that asks is
/// told where datagrams come from.
#[track_caller]
fn datagrams_are_udpstr(lab: &Lab, client: &mut Client, ip: &str) {
    let source = Source::new(&lab.net.a, "a0");
    for offered in [0, StartFlags::SOURCE_PORT.0] {
        let socket = lab.net.a.enter(|| UdpSocket::bind((ip, 0)).expect("a port for data"));
        socket.set_read_timeout(Some(e2e::PATIENCE)).expect("a timeout");
        let port = socket.local_addr().expect("its address").port();
        let flags = StartFlags(StartFlags::DATAGRAM.0 | offered);
        let reply = client.request_start(&Start { flags, ..Start::default() }, port);
        let reply = reply.expect("a capture");
        assert_eq!(reply.extensions, offered, "nothing is confirmed that was not offered");
        source.send(&frame(7, 100));
        let mut datagram = [0; 2048];
        let (size, from) = socket.recv_from(&mut datagram).expect("a datagram");
        let mut numbers = Vec::new();
        let mut unpacker = Unpacker::new(262_144);
        unpacker.datagram(&datagram[..size], |_, data| numbers.extend(number(data)));
        assert_eq!(numbers, [7]);
        assert_eq!(reply.port, if offered == 0 { 0 } else { from.port() });
        client.end_capture().expect("the end of a capture");
    }
}

#[test]
fn libpcaps_client_accepts_the_daemon() {
    let Some(lab) = Lab::with_peers() else { return };
    let file = lab.path("out.pcap");
    let mut client = Process::start(
        lab.peer("rpc-capture")
            .args(["-A", "2003", "-c", "50", "-t", "60", "-S", "-w"])
            .arg(&file)
            .arg("rpcap://127.0.0.1/b0"),
    );
    let daemon = Daemon::calling(&lab, &["-a", "127.0.0.1"]);
    client.wait_for_line("accepted host=127.0.0.1");
    client.wait_for_line("ready linktype=1");
    let sent = frames(1..51);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    assert_frames("libpcap's file", &sent, &savefile::read(&file).packets);
    daemon.wait_for_ledgers(1)[0].check_all_sent(50);
    daemon.finish();
}

#[test]
fn every_collector_has_its_own_interface() {
    let Some(lab) = Lab::new() else { return };
    let collector = Collector::new(&lab.net.b, "127.0.0.1");
    let place = collector.active();
    let daemon = Daemon::calling(
        &lab,
        &["-a", &format!("{place},ifname=b0"), "-a", &format!("{place},ifaddr=10.20.0.0/16")],
    );
    let (mut one, mut other) = (collector.accept(), collector.accept());
    if !one.devices().unwrap()[0].description.ends_with(MARK) {
        std::mem::swap(&mut one, &mut other);
    }
    let first = one.devices().unwrap().remove(0);
    assert_eq!((first.name.as_slice(), first.description.as_slice()), (&b"b0"[..], MARK));
    let refused = one.open("lo").unwrap_err();
    assert_eq!(refused.code, 6);
    assert_eq!(refused.text, "can only open preselected interface 'b0'");
    captures(&lab, &mut one, &Start::default());

    // There is no such address yet: nothing can be opened, nothing is marked.
    assert!(other.devices().unwrap().iter().all(|d| !d.description.ends_with(MARK)));
    let refused = other.open("lo").unwrap_err();
    assert_eq!(refused.text, "can only open preselected interface 'ifaddr=10.20.0.0/16'");
    daemon.process.wait_for_line("no interface matches the preselection");
    // It comes, on one interface and then on another.
    for (device, elsewhere) in [("lo", "b0"), ("b0", "lo")] {
        lab.net.b.ip(&format!("addr add 10.20.3.4/16 dev {device}"));
        let first = other.devices().unwrap().remove(0);
        assert_eq!(
            (first.name.as_slice(), first.description.as_slice()),
            (device.as_bytes(), MARK)
        );
        assert!(other.open(elsewhere).is_err());
        assert_eq!(other.open(device), Ok(1));
        lab.net.b.ip(&format!("addr del 10.20.3.4/16 dev {device}"));
    }
    daemon.finish();
}

/// What an interface without a description is described as.
const MARK: &[u8] = b";preselected";

#[test]
fn a_preselection_holds_in_passive_mode_too() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start_with(&lab, &["-n", "-i", "b0"]);
    let mut client = Client::connect(&daemon);
    assert_eq!(client.devices().unwrap()[0].name, b"b0");
    let refused = client.open("lo").unwrap_err();
    assert_eq!(refused.text, "can only open preselected interface 'b0'");
    assert_eq!(client.open("b0"), Ok(1));
    client.close();
    daemon.finish();
}

#[test]
fn who_dismisses_the_daemon_is_not_called_again() {
    let Some(lab) = Lab::new() else { return };
    let collector = Collector::new(&lab.net.b, "127.0.0.1");
    let daemon = Daemon::calling(&lab, &["-a", &collector.active()]);
    collector.accept().close();
    daemon.process.wait_for_line("dismissed by the collector");
    // Longer than the first pause.
    assert_eq!(collector.refuse_for(Duration::from_secs(3)), 0);
    daemon.finish();

    let daemon = Daemon::calling(&lab, &["--reconnect-after-close", "-a", &collector.active()]);
    collector.accept().close();
    collector.accept().close();
    daemon.finish();
}

#[test]
fn who_accepts_and_closes_is_called_less_and_less() {
    let Some(lab) = Lab::new() else { return };
    let collector = Collector::new(&lab.net.b, "127.0.0.1");
    let daemon = Daemon::calling(&lab, &["-a", &collector.active()]);
    // At once, then after 1, 2 and 4 s, or up to half as long again.
    let calls = collector.refuse_for(Duration::from_secs(8));
    assert!((2..=4).contains(&calls), "{calls} calls");
    let since = daemon.process.lines("session ended").len();
    // A session that was more than that makes it as it was at first.
    drop(collector.accept());
    wait_until("the session ends", || daemon.process.lines("session ended").len() > since);
    let began = Instant::now();
    drop(collector.accept());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    daemon.finish();
}

/// A file of `/etc` that only programs in one namespace see.
struct Hosts(PathBuf);

impl Hosts {
    fn new(namespace: &Namespace, text: &str) -> Self {
        let directory = PathBuf::from("/etc/netns").join(namespace.name());
        fs::create_dir_all(&directory).expect("a directory for a namespace's files");
        let hosts = Self(directory);
        hosts.write(text);
        hosts
    }

    fn write(&self, text: &str) {
        fs::write(self.0.join("hosts"), text).expect("a file of hosts");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn d9_122_a_collector_that_moves_is_found_again() {
    let Some(lab) = Lab::new() else { return };
    // The first address leads nowhere, the second is refused.
    let hosts = Hosts::new(&lab.net.b, "127.0.0.9 collector.test\n127.0.0.8 collector.test\n");
    let port = Collector::new(&lab.net.b, "127.0.0.1").address().port();
    let daemon = Daemon::calling(&lab, &["-a", &format!("collector.test,{port}")]);
    let said = daemon.process.wait_for_line("not reached, trying on");
    assert!(said.contains("127.0.0.9") && said.contains("127.0.0.8"), "{said}");
    hosts.write("127.0.0.9 collector.test\n127.0.0.1 collector.test\n");
    let place = SocketAddr::from(([127, 0, 0, 1], port));
    let collector = Collector::at(&lab.net.b, place);
    captures(&lab, &mut collector.accept(), &Start::default());
    drop(collector);
    // It restarts, at another address.
    hosts.write("10.9.0.1 collector.test\n");
    let collector = Collector::at(&lab.net.a, ([10, 9, 0, 1], port).into());
    captures(&lab, &mut collector.accept(), &Start::default());
    daemon.finish();
}

#[test]
fn a_dead_path_ends_the_session_within_a_minute() {
    let Some(lab) = Lab::new() else { return };
    let collector = Collector::new(&lab.net.a, "10.9.0.1");
    let daemon = Daemon::calling(&lab, &["-a", &collector.active()]);
    let mut client = collector.accept();
    captures(&lab, &mut client, &Start::default());
    assert_eq!(client.open("b0"), Ok(1));
    let _data = client.start(&Start::default()).expect("a capture");
    // No cable goes down at the daemon's end: nobody tells it.
    lab.net.a.ip("addr del 10.9.0.1/24 dev a0");
    let cut = Instant::now();
    while daemon.process.lines("session ended").is_empty() {
        assert!(cut.elapsed() < Duration::from_secs(65), "the session goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
    daemon.wait_for_ledgers(2);
    lab.net.a.ip("addr add 10.9.0.1/24 dev a0");
    captures(&lab, &mut collector.accept(), &Start::default());
    daemon.finish();
}

#[test]
fn clients_see_and_open_what_the_operator_allows() {
    let Some(lab) = Lab::new() else { return };
    lab.net.b.ip("link add b1 type veth peer name b2");
    let daemon = Daemon::start_with(&lab, &["-n", "--devices", "b?,!b2"]);
    let mut client = Client::connect(&daemon);
    let names: Vec<_> = client.devices().unwrap().into_iter().map(|d| d.name).collect();
    assert_eq!(names.iter().filter(|n| **n == b"b0" || **n == b"b1").count(), 2);
    assert_eq!(names.len(), 2, "{names:?}");
    for hidden in ["b2", "lo", "any"] {
        let refused = client.open(hidden).unwrap_err();
        assert!(refused.text.contains("No such device exists"), "{refused}");
    }
    client.close();
    daemon.finish();
}

#[test]
fn clients_get_no_more_than_the_operator_lets_them() {
    let Some(lab) = Lab::new() else { return };
    let ceiling = ["--filter", "ether proto 0x88b5", "--snaplen", "70"];
    let daemon = Daemon::start_with(&lab, &[&["-n"][..], &ceiling].concat());
    let mut client = Client::on_b0(&daemon);
    let data = client.start(&Start::default()).expect("a capture");
    let source = Source::new(&lab.net.a, "a0");
    let other = |n| tagged(n, 100, &[], 0x88b6);
    let packets = |from: u32| {
        for n in from..from + 10 {
            source.send(&other(n));
            source.send(&frame(n, 100));
        }
        data.wait_for_number(from + 9);
    };
    packets(1);
    // Neither does another filter lift it.
    client.set_filter(&e2e::filter::everything()).expect("a filter");
    packets(11);
    client.set_filter(&e2e::filter::compile("greater 90")).expect("a filter");
    packets(21);
    let got = data.packets();
    assert_eq!(got.len(), 30);
    assert!(got.iter().all(|p| p.data.len() == 70 && p.data[12..14] == [0x88, 0xb5]));
    client.end_capture().expect("the end of a capture");
    client.close();
    daemon.finish();
}

#[test]
fn signals_end_calls_in_every_state() {
    let Some(lab) = Lab::new() else { return };
    let collector = Collector::new(&lab.net.b, "127.0.0.1");
    // One serves, one refuses, one does not answer.
    lab.net.b.ip("route add blackhole 192.0.2.1");
    lab.net.b.ip("neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev b0");
    let daemon = Daemon::calling(
        &lab,
        &["-a", &collector.active(), "-a", "127.0.0.3,1", "-a", "10.9.0.77", "-a", "192.0.2.1"],
    );
    let mut client = collector.accept();
    assert_eq!(client.open("b0"), Ok(1));
    let _data = client.start(&Start::default()).expect("a capture");
    daemon.process.wait_for_lines("not reached", 2);
    daemon.finish();
}
