//! `rpcap` as its users run it: against libpcap's daemon and ours, its files in other readers.

use std::path::Path;
use std::process::Stdio;

use e2e::frames::{
    EXPERIMENT_FILTER, Source, assert_frames, frame, frames_of_many_sizes as frames, tagged,
};
use e2e::peer::PeerDaemon;
use e2e::process::run;
use e2e::{Client, Daemon, Lab, Needs, Process, filter, savefile};
use nix::sys::signal::Signal;

/// Starts `rpcap capture` with these arguments, and waits until it captures.
#[track_caller]
fn capture(lab: &Lab, url: &str, arguments: &[&str], file: &Path) -> Process {
    let mut command = lab.rpcap();
    let client = Process::start(command.args(["capture", url]).args(arguments).arg("-w").arg(file));
    client.wait_for_line("capturing from");
    client
}

#[test]
fn captures_from_libpcaps_rpcapd_over_tcp_and_udp() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = PeerDaemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(1..51);
    for (transport, name) in [(&[][..], "a.pcapng"), (&["--udp"], "b.pcapng"), (&[], "c.pcap")] {
        let file = lab.path(name);
        let arguments = [transport, &["-f", EXPERIMENT_FILTER, "-c", "50"]].concat();
        let mut client = capture(&lab, &daemon.url("b0"), &arguments, &file);
        for frame in &sent {
            source.send(frame);
            source.send(&tagged(900, 80, &[], 0x88b6));
        }
        client.wait_success();
        let got = savefile::read(&file);
        assert_eq!(got.linktype, 1);
        assert_frames(&format!("{name} {transport:?}"), &sent, &got.packets);
    }
    // Without a filter, ended by its user.
    let file = lab.path("d.pcapng");
    let mut client = capture(&lab, &daemon.url("b0"), &[], &file);
    source.send_all(&sent);
    e2e::wait_until("all packets are there", || savefile::read_so_far(&file).len() >= sent.len());
    client.signal(Signal::SIGINT);
    client.wait_success();
    assert_frames("without a filter", &sent, &savefile::read(&file).packets);
}

#[test]
fn lists_the_devices_of_libpcaps_rpcapd() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = PeerDaemon::start(&lab);
    let text = run(lab.rpcap().args(["devices", "--json", &daemon.url("")]));
    let devices: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let b0 = devices.as_array().and_then(|d| d.iter().find(|d| d["name"] == "b0"));
    let b0 = b0.unwrap_or_else(|| panic!("no b0 in {text}"));
    assert_eq!(b0["addresses"][0]["address"], "10.9.0.2", "{text}");
    assert_eq!(b0["addresses"][0]["netmask"], "255.255.255.0", "{text}");
}

#[test]
fn lists_the_devices_of_our_rpcapd() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let address = daemon.address().to_string();
    let devices = Client::connect(&daemon).devices().expect("FINDALLIF");
    let table = run(lab.rpcap().args(["devices", &address]));
    let json = run(lab.rpcap().args(["devices", &address, "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let json = json.as_array().expect("a list");
    assert_eq!((json.len(), table.lines().count()), (devices.len(), devices.len() + 1), "{table}");
    for ((device, json), line) in devices.iter().zip(json).zip(table.lines().skip(1)) {
        let name = String::from_utf8_lossy(&device.name);
        assert_eq!(json["name"], *name);
        assert!(line.starts_with(&*name), "{line}");
    }
    let b0 = json.iter().find(|d| d["name"] == "b0").expect("b0");
    assert_eq!((&b0["up"], &b0["loopback"]), (&true.into(), &false.into()));
    assert!(b0.to_string().contains("02:00:00:00:00:0b"), "the hardware address: {b0}");
    daemon.finish();
}

#[test]
fn other_programs_read_its_files() {
    let programs = &["tcpdump", "tshark", "capinfos"];
    let Some(lab) = Lab::with(Needs { programs, ..Needs::default() }) else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(1..41);
    for name in ["out.pcapng", "out.pcap"] {
        let file = lab.path(name);
        let mut client = capture(&lab, &daemon.url("b0"), &["-s", "200"], &file);
        source.send_all(&sent);
        e2e::wait_until("all packets are there", || {
            savefile::read_so_far(&file).len() >= sent.len()
        });
        client.signal(Signal::SIGINT);
        client.wait_success();
        let read = savefile::read(&file);
        assert_eq!(read.statistics, name.ends_with("ng"), "a statistics block in {name}");

        let infos = run(lab.net.b.command("capinfos").args(["-T", "-r", "-c", "-E"]).arg(&file));
        assert!(infos.contains("ether") && infos.contains("\t40"), "{infos}");
        let mut tshark = lab.net.b.command("tshark");
        tshark.args(["-n", "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len", "-r"]);
        let lengths = run(tshark.arg(&file));
        let expected: String =
            sent.iter().map(|f| format!("{}\t{}\n", f.len(), f.len().min(200))).collect();
        assert_eq!(lengths, expected, "tshark reads {name}");
        let text = run(lab.tcpdump().args(["-n", "-r"]).arg(&file));
        // It dumps what it does not know, in lines that are indented.
        let packets = text.lines().filter(|line| !line.starts_with('\t'));
        assert_eq!(packets.count(), 40, "{text}");
    }
    daemon.finish();
}

#[test]
fn streams_to_tcpdump_as_packets_come() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut command = lab.net.b.command("sh");
    let script = "\"$0\" capture \"$1\" -q -w - | tcpdump -Z root -n -l -c 3 -r -";
    command.args(["-c", script]).arg(e2e::programs::program("rpcap")).arg(daemon.url("b0"));
    let mut pipe = Process::start(&mut command);
    daemon.wait_for_captures(1);
    // Each line is there before the next packet is sent.
    for n in 1..=3 {
        source.send(&frame(n, 100));
        pipe.wait_for_lines("0x88b5", n as usize);
    }
    // tcpdump is gone now: rpcap notices when there is more to write, and that is no failure.
    e2e::wait_until("both have ended", || {
        source.send(&frame(4, 100));
        !pipe.is_running()
    });
    pipe.wait_success();
    assert!(!pipe.stderr().contains("rpcap:"), "{}", pipe.stderr());
    daemon.finish();
}

#[test]
fn prints_a_line_for_every_packet() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let mut command = lab.rpcap();
    let mut client = Process::start(command.args(["capture", &daemon.url("b0"), "-c", "20"]));
    client.wait_for_line("capturing from");
    Source::new(&lab.net.a, "a0").send_all(&frames(1..21));
    client.wait_success();
    assert_eq!(client.stdout().lines().count(), 20, "{}", client.said());
    daemon.finish()[0].check_all_sent(20);
}

/// Arguments, and which numbers they accept.
type Choice<'a> = (&'a [&'a str], &'a dyn Fn(u32) -> bool);

#[test]
fn takes_what_it_is_asked_to_take() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let (inward, outward) = (Source::new(&lab.net.a, "a0"), Source::new(&lab.net.b, "b0"));
    let bytecode = run(lab.tcpdump().args(["-y", "EN10MB", "-ddd", EXPERIMENT_FILTER]));
    let cases: [Choice<'_>; 6] = [
        (&["-f", EXPERIMENT_FILTER], &|_| true),
        (&["--filter-bytecode", &bytecode], &|_| true),
        (&["-f", EXPERIMENT_FILTER, "--sample", "1/4"], &|n| n % 4 == 0),
        (&["-f", EXPERIMENT_FILTER, "--inbound"], &|n| n % 2 == 0),
        (&["-f", EXPERIMENT_FILTER, "--outbound"], &|n| n % 2 == 1),
        (&["-f", EXPERIMENT_FILTER, "--no-promisc", "-c", "7"], &|n| n < 7),
    ];
    for (arguments, expected) in cases {
        let file = lab.path("out.pcapng");
        let mut client = capture(&lab, &daemon.url("b0"), arguments, &file);
        for n in 0..20 {
            if n % 2 == 0 { &inward } else { &outward }.send(&frame(n, 100));
            inward.send(&tagged(n, 100, &[], 0x88b6));
        }
        // Ctrl-C leaves nothing behind: what was sent before it is delivered.
        client.signal(Signal::SIGINT);
        client.wait_success();
        let frames: Vec<_> = (0..20).filter(|n| expected(*n)).map(|n| frame(n, 100)).collect();
        let got = savefile::read(&file).packets;
        assert_frames(&format!("{arguments:?}"), &frames, &got);
        assert_eq!(got.len(), frames.len(), "{arguments:?}");
    }
    daemon.finish();
}

#[test]
fn ends_after_the_given_time() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let file = lab.path("out.pcapng");
    let mut client = capture(&lab, &daemon.url("b0"), &["--duration", "300ms"], &file);
    client.wait_success();
    assert!(savefile::read(&file).packets.is_empty());
    daemon.finish();
}

/// Arguments, the exit code, and a part of the line.
type Case<'a> = (&'a [&'a str], i32, &'a str);

#[test]
fn every_failure_has_one_line_and_its_exit_code() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let closed = Daemon::start_with(&lab, &[]);
    let elsewhere = Daemon::start_with(&lab, &["-n", "-l", "192.0.2.1"]);
    let b0 = daemon.url("b0");
    let nobody = "rpcap://127.0.0.1:1/b0";
    let (closed_b0, elsewhere_b0) = (closed.url("b0"), elsewhere.url("b0"));
    let (no_device, full) = (daemon.url("nothere0"), lab.path("no/such/directory.pcapng"));
    let full = full.to_string_lossy();
    let cases: [Case<'_>; 12] = [
        (&["capture", nobody], 3, "127.0.0.1"),
        (&["devices", "127.0.0.1:1"], 3, "127.0.0.1"),
        (&["devices", "no-such-host.invalid"], 3, "no-such-host.invalid"),
        (&["capture", &closed_b0], 4, "NULL authentication not permitted"),
        (&["capture", &elsewhere_b0], 4, "not in the allowed host list"),
        (&["capture", &no_device], 5, "nothere0"),
        (&["capture", &b0, "-f", "tcp prot 80"], 6, "filter"),
        (&["capture", &b0, "--filter-bytecode", "1\n0 0 0 0\n"], 6, ""),
        (&["capture", &b0, "-w", &full], 8, "directory.pcapng"),
        (&["capture", &b0, "-w", "/dev/full"], 8, "/dev/full"),
        (&["capture"], 2, ""),
        (&["capture", &b0, "-c", "0"], 2, ""),
    ];
    for (arguments, code, text) in cases {
        let mut client = Process::start(lab.rpcap().args(arguments));
        let status = client.wait();
        let said = client.stderr();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
        if code != 2 {
            assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        }
    }
    let source = Source::new(&lab.net.a, "a0");
    // A capture that the daemon ends.
    let file = lab.path("out.pcapng");
    let mut client = capture(&lab, &b0, &["-f", EXPERIMENT_FILTER], &file);
    source.send_all(&frames(1..11));
    lab.net.b.ip("link set b0 down");
    assert_eq!(client.wait().code(), Some(7), "{}", client.said());
    let ledger = daemon.wait_for_ledgers(1).remove(0);
    ledger.check_all_sent(savefile::read(&file).packets.len());
    // A daemon that dies.
    lab.net.b.ip("link set b0 up");
    lab.net.b.wait_for_carrier("b0");
    let mut client = capture(&lab, &b0, &[], &file);
    daemon.process.signal(Signal::SIGKILL);
    let code = client.wait().code();
    assert!(matches!(code, Some(3 | 7)), "{code:?}: {}", client.said());
    savefile::read(&file);
    closed.finish();
    elsewhere.finish();
}

/// A daemon refuses a host at once: before, while or after the client says who it is.
#[test]
fn a_refused_host_is_told_so_whoever_is_faster() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start_with(&lab, &["-n", "-l", "192.0.2.1"]);
    for round in 1..=60 {
        let mut client = Process::start(lab.rpcap().args(["capture", &daemon.url("b0")]));
        let code = client.wait().code();
        assert_eq!(code, Some(4), "round {round}: {}", client.said());
    }
    daemon.finish();
}

#[test]
fn captures_over_ipv6() {
    let Some(lab) = Lab::new() else { return };
    let mut command = lab.net.b.command(e2e::programs::program("rpcapd"));
    let daemon = Daemon::run(&lab, command.args(["-n", "-b", "::1", "-p", "0"]), 1);
    let url = format!("rpcap://[::1]:{}/b0", daemon.addresses[0].port());
    let sent = frames(1..31);
    for transport in [&["-c", "30"][..], &["-c", "30", "--udp"]] {
        let file = lab.path("out.pcapng");
        let mut client = capture(&lab, &url, transport, &file);
        Source::new(&lab.net.a, "a0").send_all(&sent);
        client.wait_success();
        assert_frames(&format!("{transport:?}"), &sent, &savefile::read(&file).packets);
    }
    daemon.finish();
}

#[test]
fn its_ledger_is_the_daemons() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let file = lab.path("out.pcapng");
    let mut client = capture(&lab, &daemon.url("b0"), &["-f", EXPERIMENT_FILTER], &file);
    let sent = frames(1..124);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.signal(Signal::SIGINT);
    client.wait_success();
    assert!(client.stderr().contains("123 packets written"), "{}", client.said());
    let line = daemon.process.wait_for_line("capture started");
    let filter = filter::compile(EXPERIMENT_FILTER).len();
    assert!(line.contains(&format!("filter={filter} ")), "{line}");
    daemon.finish()[0].check_all_sent(123);
}

#[test]
fn the_demonstration_works_with_and_without_an_interface() {
    let Some(lab) = Lab::new() else { return };
    for (arguments, name) in [(&[][..], "live.pcapng"), (&["--replay"], "replay.pcapng")] {
        let file = lab.path(name);
        let mut command = lab.rpcap();
        command.args(["demo", "-o"]).arg(&file).args(arguments).stdout(Stdio::piped());
        let mut demo = Process::start(&mut command);
        demo.wait_success();
        assert!(!savefile::read(&file).packets.is_empty(), "{name}:\n{}", demo.said());
    }
}
