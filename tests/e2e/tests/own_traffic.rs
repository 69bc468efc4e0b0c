//! Forwarding over the interface that is captured: exactly the foreign packets are forwarded.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use e2e::daemon::Daemon;
use e2e::frames::{Source, frame, number, numbers, tagged};
use e2e::lab::{Lab, Needs};
use e2e::process::Process;
use e2e::programs::program;
use e2e::relay::Vlan;
use e2e::savefile;

/// Frames that are not the daemon's, some of them tagged.
fn foreign() -> Vec<Vec<u8>> {
    let tag = [(0x8100, 5)];
    (0..40).map(|n| tagged(n, 100, if n % 4 == 0 { &tag } else { &[] }, 0x88b5)).collect()
}

/// A daemon on all of `b`'s addresses, which comes to be known by `a` as `host`.
fn daemon(lab: &Lab, arguments: &[&str]) -> Daemon {
    let mut command = lab.net.b.command(program("rpcapd"));
    command.args(["-n", "-p", "0"]).args(arguments);
    Daemon::run(lab, &mut command, 2)
}

/// Captures from `device` over the cable that `b0` is at the end of, while the foreign frames come;
/// what came, apart from neighbours who look for each other.
#[track_caller]
fn capture_over_the_cable(
    lab: &Lab,
    host: &str,
    port: u16,
    device: &str,
    more: &[&str],
) -> Vec<u32> {
    let file = lab.path("over-the-cable.pcapng");
    let mut command = lab.net.a.command(program("rpcap"));
    command.arg("capture").arg(format!("rpcap://{host}:{port}/{device}"));
    command.args(["--duration", "1s", "-w"]).arg(&file).args(more);
    let mut client = Process::start(&mut command);
    client.wait_for_line("capturing from");
    Source::new(&lab.net.a, "a0").send_all(&foreign());
    client.wait_success();
    foreign_numbers(&file, device)
}

#[track_caller]
fn foreign_numbers(file: &Path, device: &str) -> Vec<u32> {
    // Where the type of what follows is, without a tag.
    let kind_at = if device == "any" { 14 } else { 12 };
    let is_foreign = |data: &[u8]| {
        let tag = if data[kind_at..kind_at + 2] == [0x81, 0x00] { 4 } else { 0 };
        let network = &data[kind_at + tag..];
        match network[..2] {
            // ARP, ICMPv6 and multicast reports: neighbours look for each other.
            [0x08, 0x06] => false,
            [0x86, 0xdd] => ![0, 58].contains(&network[2 + 6]),
            _ => true,
        }
    };
    let packets: Vec<_> =
        savefile::read(file).packets.into_iter().filter(|p| is_foreign(&p.data)).collect();
    let got = if device == "any" {
        packets.iter().map(|p| u32::try_from(p.data.len()).unwrap_or(0)).collect()
    } else {
        numbers(&packets)
    };
    let others: Vec<_> = packets.iter().filter(|p| number(&p.data).is_none()).collect();
    assert!(device == "any" || others.is_empty(), "not foreign: {others:02x?}");
    got
}

#[test]
fn over_the_captured_interface_exactly_the_foreign_packets_come() {
    let Some(lab) = Lab::new() else { return };
    lab.net.a.ip("addr add fd09::1/64 dev a0 nodad");
    lab.net.b.ip("addr add fd09::2/64 dev b0 nodad");
    let daemon = daemon(&lab, &[]);
    let port = daemon.address().port();
    for host in ["10.9.0.2", "[fd09::2]"] {
        for more in [&[][..], &["--udp"]] {
            let got = capture_over_the_cable(&lab, host, port, "b0", more);
            assert_eq!(got, Vec::from_iter(0..40), "{host} {more:?}");
            let got = capture_over_the_cable(&lab, host, port, "any", more);
            assert_eq!(got.len(), 40, "any, {host} {more:?}");
        }
    }
    daemon.finish();
}

#[test]
fn over_a_vlan_of_the_captured_interface_exactly_the_foreign_packets_come() {
    let Some(lab) = Lab::with(Needs { programs: &["ethtool"], ..Needs::default() }) else { return };
    let _vlan = Vlan::new(&lab.net);
    let daemon = daemon(&lab, &[]);
    let port = daemon.address().port();
    for host in ["10.10.0.2", "[fd10::2]"] {
        for more in [&[][..], &["--udp"]] {
            let got = capture_over_the_cable(&lab, host, port, "b0", more);
            assert_eq!(got, Vec::from_iter(0..40), "{host} {more:?}");
        }
    }
    daemon.finish();
}

/// Everything passes the captured interface: the requests, the data, and what is foreign.
#[test]
fn over_lo_exactly_the_foreign_packets_come() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &[]);
    let port = daemon.address().port();
    for host in ["127.0.0.1", "[::1]"] {
        for more in [&[][..], &["--udp"]] {
            let file = lab.path("over-lo.pcapng");
            let mut command = lab.rpcap();
            command.arg("capture").arg(format!("rpcap://{host}:{port}/lo"));
            command.args(["--duration", "1s", "-w"]).arg(&file).args(more);
            let mut client = Process::start(&mut command);
            client.wait_for_line("capturing from");
            Source::new(&lab.net.b, "lo").send_all(&foreign());
            client.wait_success();
            assert_eq!(foreign_numbers(&file, "lo"), Vec::from_iter(0..40), "{host} {more:?}");
        }
    }
    daemon.finish();
}

#[test]
fn sessions_of_others_are_left_out_too() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &[]);
    let port = daemon.address().port();
    // Another session captures all the while, and is sent as much as the first.
    let mut command = lab.net.a.command(program("rpcap"));
    command.arg("capture").arg(format!("rpcap://10.9.0.2:{port}/b0"));
    command.args(["--duration", "20s", "-w"]).arg(lab.path("other.pcapng"));
    let other = Process::start(&mut command);
    other.wait_for_line("capturing from");
    let got = capture_over_the_cable(&lab, "10.9.0.2", port, "b0", &["--udp"]);
    assert_eq!(got, Vec::from_iter(0..40));
    drop(other);
    daemon.finish();
}

#[test]
fn strangers_who_connect_do_not_wear_the_guard_out() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &["--max-sessions", "300"]);
    let address = SocketAddr::from(([10, 9, 0, 2], daemon.address().port()));
    lab.net.a.enter(|| {
        for _ in 0..300 {
            drop(TcpStream::connect(address).expect("connecting"));
        }
    });
    let got = capture_over_the_cable(&lab, "10.9.0.2", address.port(), "b0", &[]);
    assert_eq!(got, Vec::from_iter(0..40));
    daemon.finish();
}

#[test]
fn own_traffic_is_captured_where_that_is_asked_for() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &["--capture-own-traffic"]);
    let file = lab.path("all.pcapng");
    let mut command = lab.net.a.command(program("rpcap"));
    command.arg("capture").arg(format!("rpcap://10.9.0.2:{}/b0", daemon.address().port()));
    command.args(["-c", "20", "-w"]).arg(&file);
    let mut client = Process::start(&mut command);
    client.wait_for_line("capturing from");
    Source::new(&lab.net.a, "a0").send(&frame(1, 100));
    client.wait_success();
    assert_eq!(savefile::read(&file).packets.len(), 20, "one packet begets more");
    daemon.finish();
}
