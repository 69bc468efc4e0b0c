//! `rpcapd.exe` and `rpcap.exe` under Wine, with our programs for Linux at the other end.
//!
//! Wine's `wpcap.dll` captures what the kernel of this machine sees: of `b0` and `lo`. It has no
//! function that compiles filters without an interface, so `rpcap.exe` has none here.

use std::fs;
use std::path::Path;

use e2e::certs::made;
use e2e::frames::{
    EXPERIMENT_FILTER, Source, assert_frames, frames_of_many_sizes, numbers, send_datagrams,
};
use e2e::process::run;
use e2e::wine::{Wine, finish};
use e2e::{Client, Daemon, Lab, Listener, Process, savefile, wait_until};
use nix::sys::signal::Signal;

/// The device of Windows that is this interface of Linux, which Wine has in its description.
#[track_caller]
fn device(lab: &Lab, daemon: &Daemon, interface: &str) -> String {
    let address = daemon.address().to_string();
    let json = run(lab.rpcap().args(["devices", &address, "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let mut devices = json.as_array().expect("a list").iter();
    let is_it = |device: &&serde_json::Value| {
        device["description"].as_str().is_some_and(|text| text.contains(interface))
    };
    let device = devices.find(is_it).unwrap_or_else(|| panic!("no {interface} in {json}"));
    let name = device["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with(r"\Device\NPF_{"), "{name}");
    name
}

/// Captures frames of `b0` with a client that is about to run, which writes them to this file.
#[track_caller]
fn capture(lab: &Lab, client: &mut std::process::Command, file: &Path) -> String {
    let mut client = Process::start(client);
    client.wait_for_line("capturing from");
    let sent = frames_of_many_sizes(1..301);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    assert_frames("the file", &sent, &savefile::read(file).packets);
    let said = client.stderr();
    assert!(said.contains("The ledger adds up"), "{said}");
    said
}

#[test]
fn lists_devices_and_captures_lo_through_wpcap() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let daemon = wine.daemon(&["-n"]);
    let lo = device(&lab, &daemon, "lo");
    let url = daemon.url(&lo);
    let file = lab.path("lo.pcapng");
    let mut client = lab.rpcap();
    client.args(["capture", &url, "-f", "udp and greater 100", "-c", "20", "-w"]).arg(&file);
    let mut client = Process::start(&mut client);
    client.wait_for_line("capturing from");
    send_datagrams(&lab.net.b, "127.0.0.1", 0..20, 200);
    client.wait_success();
    let got = savefile::read(&file);
    assert_eq!(got.linktype, 1, "Wine's lo is Ethernet, as Linux' is");
    assert_eq!(numbers(&got.packets), (0..20).collect::<Vec<_>>());
    for ledger in finish(daemon) {
        ledger.check();
    }
}

#[test]
fn passive_mode_over_tcp_and_udpstr() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let daemon = wine.daemon(&["-n"]);
    let url = daemon.url(&device(&lab, &daemon, "b0"));
    for transport in [&[][..], &["--udp"]] {
        let file = lab.path("b0.pcapng");
        let mut client = lab.rpcap();
        client.args(["capture", &url, "-f", EXPERIMENT_FILTER, "-c", "300"]);
        capture(&lab, client.args(transport).arg("-w").arg(&file), &file);
    }
    let ledgers = finish(daemon);
    assert_eq!(ledgers.len(), 2);
    for ledger in ledgers {
        ledger.check_all_sent(300);
    }
}

#[test]
fn a_filter_changes_while_capturing_and_a_client_is_told_of_mistakes() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let daemon = wine.daemon(&["-n"]);
    let name = device(&lab, &daemon, "b0");
    let mut client = Client::connect(&daemon);
    let refusal = client.open("eth77").expect_err("there is no such device");
    assert!(refusal.text.contains("eth77"), "{refusal}");
    client.open(&name).expect("OPEN");
    let data = client.start(&e2e::Start::filtered("greater 1000")).expect("STARTCAP");
    let source = Source::new(&lab.net.a, "a0");
    let send = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            source.send(&e2e::frames::frame(number, 60));
        }
    };
    send(0..10);
    client.set_filter(&e2e::filter::compile("less 100")).expect("another filter");
    send(10..20);
    data.wait_for_number(19);
    let got = e2e::frames::ours(&data.packets()).len();
    assert_eq!(got, 10, "what the first filter left out stays out");
    client.stats().expect("STATS");
    client.end_capture().expect("ENDCAP");
    client.close();
    finish(daemon);
}

#[test]
fn active_mode() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let name = {
        let daemon = wine.daemon(&["-n"]);
        let name = device(&lab, &daemon, "b0");
        finish(daemon);
        name
    };
    let policy = format!(
        "[output.files]\ndirectory = \"captures\"\n\n\
         [[agent]]\ninterfaces = [\"preselected\"]\nfilter = \"{EXPERIMENT_FILTER}\"\n"
    );
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let daemon = wine.calling(&["-a", &format!("{},ifname={name}", listener.active())]);
    listener.wait_for_captures(1);
    let sent = frames_of_many_sizes(1..301);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    wait_until("all packets are in the files", || listener.count_so_far() == sent.len());
    let got = listener.finish();
    assert_frames("what the collector has", &sent, &got.packets);
    finish(daemon);
}

#[test]
fn tls_of_the_daemon() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let directory = wine.path(lab.path("own"));
    let init = ["tls", "init", "--directory", &directory, "--name", "127.0.0.1"];
    let said = run(&mut wine.ours("rpcapd.exe", &init));
    let print = said.lines().find_map(|line| line.strip_prefix("SHA-256 fingerprint: "));
    let print = print.unwrap_or_else(|| panic!("no fingerprint in {said}")).trim();
    let (cert, key) = (format!(r"{directory}\cert.pem"), format!(r"{directory}\key.pem"));
    let daemon = wine.daemon(&["-n", "--tls", "--tls-cert", &cert, "--tls-key", &key]);
    let mut list = lab.rpcap();
    list.args(["devices", "--json", "--tls-fingerprint", print]);
    let json = run(list.arg(format!("rpcaps://{}", daemon.address())));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let name = json.as_array().expect("a list").iter().find_map(|device| {
        let is_it = device["description"].as_str()?.contains("b0");
        is_it.then(|| device["name"].as_str()).flatten()
    });
    let url = format!("rpcaps://{}/{}", daemon.address(), name.expect("b0"));
    // Over UDP the datagrams are sealed.
    for transport in [&[][..], &["--udp"]] {
        let file = lab.path("tls.pcapng");
        let mut client = lab.rpcap();
        client.args(["capture", &url, "-f", EXPERIMENT_FILTER, "-c", "300", "--tls-fingerprint"]);
        capture(&lab, client.arg(print).args(transport).arg("-w").arg(&file), &file);
    }
    for ledger in finish(daemon) {
        ledger.check_all_sent(300);
    }
}

#[test]
fn rpcap_exe_captures_from_our_daemon_for_linux() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let (pair, print) = made(&lab, "own", &["127.0.0.1"]);
    let plain = Daemon::start_with(&lab, &["-n", "--devices", "b0"]);
    let encrypted = [&["-n", "--devices", "b0"], &pair.tls()[..]].concat();
    let encrypted = Daemon::start_with(&lab, &encrypted);
    let list = run(&mut wine.ours("rpcap.exe", &["devices", &plain.url("")]));
    assert!(list.lines().any(|line| line.starts_with("b0")), "{list}");
    let file = lab.path("out.pcapng");
    let to = wine.path(&file);
    let secure = format!("rpcaps://{}/b0", encrypted.address());
    for (url, arguments) in [
        (plain.url("b0"), &[][..]),
        (plain.url("b0"), &["--udp"]),
        (secure.clone(), &["--tls-fingerprint", &print]),
        (secure, &["--udp", "--tls-fingerprint", &print]),
    ] {
        let mut client = wine.ours("rpcap.exe", &["capture", &url, "-c", "300", "-w", &to]);
        capture(&lab, client.args(arguments), &file);
    }
    // Without a number, ended at the keyboard.
    let arguments = ["capture", &plain.url("b0"), "-w", &to];
    let mut client = Process::start(&mut wine.ours("rpcap.exe", &arguments));
    client.wait_for_line("capturing from");
    let sent = frames_of_many_sizes(1..50);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    wait_until("all packets are there", || savefile::read_so_far(&file).len() == sent.len());
    client.signal(Signal::SIGINT);
    client.wait_success();
    assert_frames("after Ctrl-C", &sent, &savefile::read(&file).packets);
    plain.finish();
    encrypted.finish();
}

#[test]
fn rpcap_exe_listens_to_our_daemon_for_linux() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let policy = "[output.files]\ndirectory = \"captures\"\n\n\
                  [[agent]]\ninterfaces = [\"preselected\"]\n";
    let path = lab.path("policy.toml");
    fs::write(&path, policy).expect("writing a policy");
    let arguments =
        ["listen", &wine.path(&path), "--bind", "127.0.0.1", "--port", "0", "--data-port", "0"];
    let listener = Listener::run(&lab, &mut wine.ours("rpcap.exe", &arguments));
    let daemon = Daemon::calling(&lab, &["-a", &format!("{},ifname=b0", listener.active())]);
    listener.wait_for_captures(1);
    let sent = frames_of_many_sizes(1..301);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    wait_until("all packets are in the files", || listener.count_so_far() == sent.len());
    let got = listener.finish_by(Signal::SIGINT);
    assert_frames("what the collector has", &sent, &got.packets);
    daemon.finish();
}

#[test]
fn what_windows_has_no_use_for_is_refused_in_one_line() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    for (arguments, reason) in [
        (&["-n", "--pid-file", "x.pid"][..], "--pid-file is not there on Windows"),
        (&["-n", "--inetd"], "--inetd: not available on this system"),
        (&["-n", "--status-socket", "x.sock"], "--status-socket is not there on Windows"),
        (&["-n", "--bind-device", "b0"], "--bind-device is not there on Windows"),
        (&["-n", "--pam", "--pam-users", "me"], "--pam is there on Linux only"),
        (&["-n", "--backend", "af-packet"], "af-packet"),
    ] {
        let mut daemon = Process::start(&mut wine.ours("rpcapd.exe", arguments));
        assert!(!daemon.wait().success(), "{arguments:?}: {}", daemon.said());
        let said = daemon.stderr();
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
    let help = run(&mut wine.ours("rpcapd.exe", &["--help"]));
    assert!(help.contains("Ctrl-Break"), "{help}");
    for option in ["--inetd", "--pid-file", "--sandbox", "--pam", "SIGHUP"] {
        assert!(!help.contains(&format!("{option} ")), "{option} in {help}");
    }
}

#[test]
fn cores_and_priorities_are_set_or_refused() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let mut daemon = Process::start(&mut wine.ours("rpcapd.exe", &["-n", "-c", "63"]));
    assert!(!daemon.wait().success());
    assert!(daemon.stderr().contains("may not run on core 63"), "{}", daemon.said());
    let daemon = wine.daemon(&["-n", "-c", "0,0", "-e", "-5,5", "--max-cpu", "100%"]);
    let url = daemon.url(&device(&lab, &daemon, "b0"));
    let file = lab.path("b0.pcapng");
    let mut client = lab.rpcap();
    client.args(["capture", &url, "-f", EXPERIMENT_FILTER, "-c", "300", "-w"]).arg(&file);
    capture(&lab, &mut client, &file);
    for warning in ["not bound", "not set"] {
        assert!(daemon.process.lines(warning).is_empty(), "{}", daemon.process.said());
    }
    finish(daemon);
}
