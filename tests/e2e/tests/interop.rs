//! libpcap's own programs as clients of our daemon.

use std::collections::BTreeMap;

use e2e::frames::{
    EXPERIMENT, EXPERIMENT_FILTER, assert_frames, frame, frames_of_many_sizes as frames, numbers,
    ours, tagged,
};
use e2e::process::run;
use e2e::{Daemon, Lab, Process, Source, savefile, wait_until};
use nix::sys::signal::Signal;

/// Another type of frames, to be told from the first by a filter.
const OTHER: u16 = 0x88b6;

#[test]
fn tcpdump_captures_with_a_filter() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = Daemon::start(&lab);
    let file = lab.path("out.pcap");
    let mut tcpdump = Process::start(
        lab.peer("tcpdump")
            .args(["-U", "-c", "100", "-i", &daemon.url("b0"), "-w"])
            .arg(&file)
            .arg(EXPERIMENT_FILTER),
    );
    daemon.wait_for_captures(1);
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(1..101);
    for (n, frame) in sent.iter().enumerate() {
        source.send(frame);
        source.send(&tagged(1000 + n as u32, 80, &[], OTHER));
    }
    tcpdump.wait_success();
    let got = savefile::read(&file);
    assert_eq!(got.linktype, 1);
    assert_frames("tcpdump's file", &sent, &got.packets);
    assert_eq!(got.packets.len(), sent.len());
    let ledgers = daemon.finish();
    assert_eq!(ledgers[0].get("received"), 100, "the kernel filters, not the daemon");
}

#[test]
fn tcpdump_captures_without_a_filter() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = Daemon::start(&lab);
    let file = lab.path("out.pcap");
    let mut tcpdump =
        Process::start(lab.peer("tcpdump").args(["-U", "-i", &daemon.url("b0"), "-w"]).arg(&file));
    daemon.wait_for_captures(1);
    let sent = frames(1..101);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    wait_until("all packets are in the file", || {
        numbers(&savefile::read_so_far(&file)).len() >= sent.len()
    });
    tcpdump.signal(Signal::SIGINT);
    tcpdump.wait_success();
    assert_frames("tcpdump's file", &sent, &savefile::read(&file).packets);
    daemon.finish();
}

/// libpcap's client that sets no filter says that its STARTCAP is shorter than it is. The requests
/// that follow are understood, so the stream is where it should be.
#[test]
fn a_client_that_understates_its_startcap_captures_over_tcp_and_udp() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = Daemon::start(&lab);
    for transport in [&[][..], &["-u"]] {
        let file = lab.path("out.pcap");
        let mut client = Process::start(
            lab.peer("rpc-capture")
                .args(transport)
                .args(["-S", "-c", "50", "-t", "60", "-w"])
                .arg(&file)
                .arg(daemon.url("b0")),
        );
        client.wait_for_line("ready linktype=1");
        let sent = frames(1..51);
        Source::new(&lab.net.a, "a0").send_all(&sent);
        client.wait_success();
        client.wait_for_line("stats ps_recv=50 ps_drop=0 ps_ifdrop=0 when=end");
        client.wait_for_line("packets 50 end=count");
        let what = format!("rpc-capture {transport:?}");
        assert_frames(&what, &sent, &savefile::read(&file).packets);
    }
    daemon.finish();
}

/// Interfaces of many kinds: down, without a carrier, with a peer address, with many addresses.
fn furnish(lab: &Lab) {
    lab.net.b.ip_batch(
        "link add down0 type veth peer name down1\n\
         addr add 192.0.2.1/24 brd + dev down0\n\
         link add nocarrier0 type veth peer name nocarrier1\n\
         link set nocarrier0 up\n\
         addr add 198.51.100.1/25 brd 198.51.100.127 dev nocarrier0 label nocarrier0:x\n\
         addr add 198.51.100.2/25 dev nocarrier0\n\
         addr add 203.0.113.1/32 dev nocarrier0\n\
         tuntap add mode tun name tun0\n\
         link set tun0 up\n\
         addr add 10.8.0.1 peer 10.8.0.2 dev tun0\n\
         addr add 10.9.1.1/24 brd + dev b0\n\
         addr add fd09::2/64 dev b0 nodad\n\
         addr add fd08::1 peer fd08::2 dev tun0 nodad\n\
         link set dev down0 alias \"the old printer\"\n",
    );
}

/// The lines of rpc-devices without what differs for a good reason: the URL before the name, the
/// words around the description, devices that are no network interfaces, and hardware addresses,
/// which libpcap's client leaves out of what a daemon tells it.
fn listing(text: &str) -> Vec<(String, Vec<String>)> {
    let devices = text.lines().map(|line| {
        let mut fields = line.split('\t').map(str::to_owned);
        let name = fields.next().expect("a name");
        let name = name.rsplit_once('/').map_or(name.as_str(), |(_, n)| n).to_owned();
        let _description = fields.next();
        (name, fields.filter(|f| !f.starts_with("family17")).collect())
    });
    let other = ["bluetooth", "nflog", "nfqueue", "dbus-", "usbmon"];
    devices.filter(|(name, _)| !other.iter().any(|o| name.starts_with(o))).collect()
}

#[test]
fn libpcap_lists_our_devices_as_it_lists_them_on_the_host() {
    let Some(lab) = Lab::with_peers() else { return };
    furnish(&lab);
    let daemon = Daemon::start(&lab);
    let local = listing(&run(lab.peer("rpc-devices").arg("rpcap://")));
    let remote = listing(&run(lab.peer("rpc-devices").arg(daemon.url(""))));
    for name in ["any", "lo", "b0", "down0", "nocarrier0", "tun0"] {
        assert!(local.iter().any(|(n, _)| n == name), "{name} is not in {local:#?}");
    }
    assert_eq!(local, remote, "local, remote");
    daemon.finish();
}

#[test]
fn tcpdump_lists_our_devices() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = Daemon::start(&lab);
    let text = run(lab.peer("tcpdump").arg("--list-remote-interfaces").arg(daemon.url("")));
    for name in ["b0", "lo", "any"] {
        assert!(text.contains(&daemon.url(name)), "no {name} in:\n{text}");
    }
    daemon.finish();
}

#[test]
fn a_filter_changed_during_the_capture_leaves_nothing_out_and_lets_nothing_through() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = Daemon::start(&lab);
    let file = lab.path("out.pcap");
    let mut client = Process::start(
        lab.peer("rpc-capture")
            .args(["-f", EXPERIMENT_FILTER, "-F", "30:ether proto 0x88b6", "-c", "100"])
            .args(["-t", "60", "-w"])
            .arg(&file)
            .arg(daemon.url("b0")),
    );
    client.wait_for_line("ready");
    let source = Source::new(&lab.net.a, "a0");
    // Numbers tell the kinds apart: 0 the first filter's, 1 the second's, 2 neither's.
    let kinds = [EXPERIMENT, OTHER, 0x88b7];
    let mut next = 0;
    // Packets flow all the time: before, while and after the filter is changed.
    wait_until("the client has its packets", || {
        for kind in kinds {
            source.send(&tagged(next, 100, &[], kind));
            next += 1;
        }
        !client.is_running()
    });
    client.wait_success();
    client.wait_for_line("filter packets=30");
    let got = numbers(&savefile::read(&file).packets);
    assert_eq!(got.len(), 100);
    let (first, second): (Vec<u32>, Vec<u32>) = got.iter().partition(|n| *n % 3 == 0);
    assert!(second.iter().all(|n| n % 3 == 1), "packets that neither filter accepts: {got:?}");
    assert!(first.len() >= 30 && !second.is_empty(), "{got:?}");
    // Before the change every packet of the first kind, after it every one of the second.
    let (last, start) = (first[first.len() - 1], second[0]);
    assert!(last < start, "the filter was not changed at once: {got:?}");
    // libpcap refuses everything while it changes the filter.
    let gap = e2e::daemon::backend().is_none() && start >= last + 6;
    assert!(!gap, "neither filter was on for a while: {got:?}");
    let every_third =
        |start: u32, count: usize| -> Vec<_> { (start..).step_by(3).take(count).collect() };
    assert_eq!(first, every_third(0, first.len()));
    assert_eq!(second, every_third(start, second.len()));
    daemon.finish();
}

/// The numbers of a line such as `stats ps_recv=1 ps_drop=0`.
fn numbers_of(line: &str) -> BTreeMap<String, u64> {
    let words = line.split_whitespace().filter_map(|w| w.split_once('='));
    words.filter_map(|(k, v)| Some((k.to_owned(), v.parse().ok()?))).collect()
}

#[test]
fn statistics_are_exact_in_the_middle_and_at_the_end() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = Daemon::start(&lab);
    let mut client = Process::start(
        lab.peer("rpc-capture")
            .args(["-S", "-c", "200", "-t", "60", "-f", EXPERIMENT_FILTER])
            .arg(daemon.url("b0")),
    );
    let source = Source::new(&lab.net.a, "a0");
    let at = |when: &str| numbers_of(&client.wait_for_line(&format!("when={when}")));
    let start = at("start");
    for n in 1..=100 {
        source.send(&frame(n, 200));
        source.send(&tagged(n, 200, &[], OTHER));
    }
    let middle = at("middle");
    source.send_all(&frames(101..201));
    let end = at("end");
    for (stats, expected) in [(start, 0), (middle, 100), (end, 200)] {
        assert_eq!((stats["ps_recv"], stats["ps_drop"], stats["ps_ifdrop"]), (expected, 0, 0));
    }
    client.wait_success();
    daemon.finish()[0].check_all_sent(200);
}

/// libpcap's client sends 0, whatever its user asked for: that is no sampling.
#[test]
fn libpcaps_request_for_sampling_delivers_everything() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = Daemon::start(&lab);
    for sampling in ["1/2", "1000"] {
        let file = lab.path("out.pcap");
        let mut client = Process::start(
            lab.peer("rpc-capture")
                .args(["-m", sampling, "-c", "40", "-t", "60", "-w"])
                .arg(&file)
                .args(["-f", EXPERIMENT_FILTER, &daemon.url("b0")]),
        );
        client.wait_for_line("ready");
        let sent = frames(1..41);
        Source::new(&lab.net.a, "a0").send_all(&sent);
        client.wait_success();
        assert_frames(sampling, &sent, &savefile::read(&file).packets);
    }
    daemon.finish();
}

#[test]
fn clients_that_may_not_enter_are_told_why() {
    let Some(lab) = Lab::with_peers() else { return };
    let open = Daemon::start(&lab);
    let closed = Daemon::start_with(&lab, &[]);
    let elsewhere = Daemon::start_with(&lab, &["-n", "-l", "192.0.2.1"]);
    let password = ["-U", "bob", "-P", "pw"];
    for (daemon, arguments, expected) in [
        (&open, &password[..], "Authentication failed"),
        (&closed, &password, "Authentication failed"),
        (&closed, &[], "NULL authentication not permitted"),
        (&elsewhere, &[], "not in the allowed host list"),
    ] {
        for (program, device) in [("rpc-capture", "b0"), ("rpc-devices", "")] {
            let mut command = lab.peer(program);
            let mut client = Process::start(command.args(arguments).arg(daemon.url(device)));
            let status = client.wait();
            assert!(!status.success(), "{program} {arguments:?} got in");
            assert!(client.stderr().contains(expected), "{program}: {}", client.said());
        }
    }
    for daemon in [open, closed, elsewhere] {
        assert!(daemon.finish().is_empty());
    }
}

#[test]
fn ipv6_clients_capture_over_tcp_and_udp() {
    let Some(lab) = Lab::with_peers() else { return };
    // All addresses of both families, one port.
    let mut command = lab.net.b.command(e2e::programs::program("rpcapd"));
    let daemon = Daemon::run(&lab, command.args(["-n", "-p", "0"]), 2);
    assert_eq!(daemon.addresses[0].port(), daemon.addresses[1].port());
    let url = format!("rpcap://[::1]:{}/b0", daemon.addresses[0].port());
    for transport in [&[][..], &["-u"]] {
        let file = lab.path("out.pcap");
        let mut client = Process::start(
            lab.peer("rpc-capture")
                .args(transport)
                .args(["-c", "20", "-t", "60", "-f", EXPERIMENT_FILTER, "-w"])
                .arg(&file)
                .arg(&url),
        );
        client.wait_for_line("ready");
        let sent = frames(1..21);
        Source::new(&lab.net.a, "a0").send_all(&sent);
        client.wait_success();
        let what = format!("IPv6 {transport:?}");
        assert_frames(&what, &sent, &savefile::read(&file).packets);
    }
    daemon.finish();
}

/// Every other client of the same daemon gets its packets while one of them is stopped.
#[test]
fn a_client_that_stands_still_delays_nobody() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = Daemon::start(&lab);
    let (still, moving) = (lab.path("still.pcap"), lab.path("moving.pcap"));
    let start = |file: &std::path::Path| {
        Process::start(
            lab.peer("rpc-capture")
                .args(["-c", "50", "-t", "60", "-f", EXPERIMENT_FILTER, "-w"])
                .arg(file)
                .arg(daemon.url("b0")),
        )
    };
    let (mut first, mut second) = (start(&still), start(&moving));
    first.wait_for_line("ready");
    second.wait_for_line("ready");
    first.signal(Signal::SIGSTOP);
    let sent = frames(1..51);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    second.wait_success();
    assert_frames("the client that runs", &sent, &savefile::read(&moving).packets);
    first.signal(Signal::SIGCONT);
    first.wait_success();
    let late = savefile::read(&still).packets;
    assert_frames("the client that was stopped", &sent, &late);
    assert_eq!(ours(&late).len(), 50);
    daemon.finish();
}
