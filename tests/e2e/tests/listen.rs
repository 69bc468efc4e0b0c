//! `rpcap listen` and the daemons that call it.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::frames::{EXPERIMENT_FILTER, Source, assert_frames, frames, frames_of_many_sizes};
use e2e::programs::program;
use e2e::{Daemon, Lab, Listener, peer, wait_until};
use nix::sys::signal::Signal;

/// A policy whose agents all go to `captures`, with these lines for each.
fn policy(lines: &str) -> String {
    format!(
        "[output.files]\ndirectory = \"captures\"\n\n\
         [[agent]]\ninterfaces = [\"preselected\", \"b0\"]\nfilter = \"{EXPERIMENT_FILTER}\"\n{lines}\n"
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

/// Sends frames and waits until so many are in the files.
#[track_caller]
fn arrive(source: &Source, listener: &Listener, sent: &[Vec<u8>], in_all: usize) {
    source.send_all(sent);
    wait_until("all packets are in the files", || listener.count_so_far() == in_all);
}

#[test]
fn libpcaps_daemon_sends_over_tcp_and_udp_and_both_families() {
    let Some(lab) = Lab::with_peers() else { return };
    let source = Source::new(&lab.net.a, "a0");
    let cases = [("127.0.0.1", "tcp"), ("127.0.0.1", "udp"), ("::1", "tcp"), ("::1", "udp")];
    for (ip, transport) in cases {
        let policy = policy(&format!("transport = \"{transport}\""));
        let listener = Listener::start(&lab, &lab.net.b, ip, &policy);
        let daemon = peer::calls(&lab, &[&listener.active()]);
        listener.wait_for_captures(1);
        let sent = frames_of_many_sizes(1..300);
        arrive(&source, &listener, &sent, sent.len());
        let directory = listener.directory.clone();
        let got = listener.finish();
        got.accounts[&format!("{ip} b0")].check_all_written(sent.len());
        assert_frames(&format!("{transport} {ip}"), &sent, &got.packets);
        std::fs::remove_dir_all(directory).expect("removing the files");
        drop(daemon);
    }
}

#[test]
fn our_daemon_sends_packets_of_several_interfaces_by_one_port() {
    let Some(lab) = Lab::new() else { return };
    another_interface(&lab);
    for ip in ["127.0.0.1", "::1"] {
        let listener = Listener::start(&lab, &lab.net.b, ip, &policy(""));
        let place = listener.active();
        let both = [format!("{place},ifname=b0"), format!("{place},ifname=c0")];
        let daemon = Daemon::calling(&lab, &["-a", &both[0], "-a", &both[1]]);
        listener.wait_for_captures(2);
        let (first, second) = (frames_of_many_sizes(1..500), frames_of_many_sizes(500..800));
        Source::new(&lab.net.a, "a0").send_all(&first);
        Source::new(&lab.net.b, "c1").send_all(&second);
        let all = [first.clone(), second.clone()].concat();
        wait_until("all packets are in the files", || listener.count_so_far() == all.len());
        let directory = listener.directory.clone();
        let got = listener.finish();
        for (interface, sent) in [("b0", &first), ("c0", &second)] {
            let account = &got.accounts[&format!("{ip} {interface}")];
            account.check_all_written(sent.len());
            assert_eq!(account.text("balanced"), "yes");
        }
        assert_eq!(got.files.len(), 2, "{:?}", got.files);
        assert_frames("both files", &all, &got.packets);
        std::fs::remove_dir_all(directory).expect("removing the files");
        for ledger in daemon.finish() {
            ledger.check();
        }
    }
}

#[test]
fn agents_of_ipv4_are_heard_where_sockets_of_ipv6_are_for_ipv6_alone() {
    let Some(lab) = Lab::new() else { return };
    let b = &lab.net.b;
    e2e::process::run(b.command("sysctl").args(["-q", "-w", "net.ipv6.bindv6only=1"]));
    let listener = Listener::start(&lab, b, "::", &policy(""));
    let place = format!("127.0.0.1,{}", listener.address.port());
    let daemon = Daemon::calling(&lab, &["-a", &place]);
    listener.wait_for_captures(1);
    let sent = frames(1..100);
    arrive(&Source::new(&lab.net.a, "a0"), &listener, &sent, sent.len());
    listener.finish().accounts["127.0.0.1 b0"].check_all_written(sent.len());
    daemon.finish();
}

#[test]
fn a_daemon_that_was_killed_goes_on_where_it_was() {
    let Some(lab) = Lab::new() else { return };
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy(""));
    let source = Source::new(&lab.net.a, "a0");
    let mut all = Vec::new();
    for n in 0..3 {
        let mut daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
        listener.wait_for_captures(n + 1);
        let sent = frames(n as u32 * 100..n as u32 * 100 + 100);
        all.extend(sent.clone());
        arrive(&source, &listener, &sent, all.len());
        daemon.process.signal(Signal::SIGKILL);
        daemon.process.wait();
    }
    let got = listener.finish();
    assert_eq!(got.accounts.len(), 1, "{:?}", got.accounts);
    let account = &got.accounts["127.0.0.1 b0"];
    account.check_all_written(all.len());
    assert_eq!(account.get("captures"), 3);
    assert_frames("one file", &all, &got.packets);
    assert_eq!(got.files.len(), 1, "{:?}", got.files);
}

#[test]
fn datagrams_of_strangers_are_counted_and_left_out() {
    let Some(lab) = Lab::new() else { return };
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy(""));
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let port = listener.data_port();
    let mut forged = vec![0, 110, 0, 8];
    forged.extend([0; 60]);
    lab.net.b.enter(|| {
        for from in ["127.0.0.1:0", "127.0.0.2:0"] {
            let socket = UdpSocket::bind(from).expect("a socket");
            for _ in 0..10 {
                socket.send_to(&forged, ("127.0.0.1", port)).expect("sending");
            }
        }
    });
    let sent = frames(1..101);
    arrive(&Source::new(&lab.net.a, "a0"), &listener, &sent, sent.len());
    let got = listener.finish();
    assert_eq!(got.totals.get("unknown"), 20, "{}", got.totals.line);
    got.accounts["127.0.0.1 b0"].check_all_written(sent.len());
    assert_eq!(got.accounts["127.0.0.1 b0"].get("malformed"), 0);
    daemon.finish();
}

#[test]
fn the_policy_decides_and_can_be_changed() {
    let Some(lab) = Lab::new() else { return };
    let elsewhere = policy("address = [\"192.0.2.0/24\"]");
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &elsewhere);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.process.wait_for_line("rejected, as the policy says");

    // A policy that is wrong changes nothing.
    listener.reload("[[agent]]\n");
    listener.process.wait_for_line("the old policy stays");
    // What is wrong with it is one line, and does nothing to a terminal.
    listener.reload("[[agent]]\n\"\\u001b[2J\" = 1\n");
    let line = listener.process.wait_for_lines("the old policy stays", 2).remove(1);
    assert!(line.contains("warning: ") && line.contains(r"unknown field `\u{1b}[2J`"), "{line}");

    listener.reload(&policy(""));
    listener.wait_for_captures(1);
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(1..51);
    arrive(&source, &listener, &sent, 50);

    // Another filter, and the capture goes on.
    let nothing = policy("").replace(EXPERIMENT_FILTER, "ether proto 0x9999");
    listener.reload(&nothing);
    listener.process.wait_for_line("the filter is changed");
    source.send_all(&frames(51..101));
    listener.reload(&policy(""));
    listener.process.wait_for_lines("the filter is changed", 2);
    arrive(&source, &listener, &frames(101..151), 100);

    // Another way of packets, and another capture.
    listener.reload(&policy("transport = \"tcp\""));
    listener.wait_for_captures(2);
    arrive(&source, &listener, &frames(151..201), 150);

    // Nothing more of it.
    listener.reload(&elsewhere);
    listener.process.wait_for_lines("rejected, as the policy says", 1);
    wait_until("the daemon's captures have ended", || {
        daemon.process.lines("capture ended:").len() == 2
    });
    let got = listener.finish();
    let account = &got.accounts["127.0.0.1 b0"];
    account.check_all_written(150);
    assert_eq!(account.get("captures"), 2);
    let expected = [sent, frames(101..151), frames(151..201)].concat();
    assert_frames("the file", &expected, &got.packets);
    daemon.finish();
}

/// Connects and stays, having said this.
fn bad_agent(to: SocketAddr, says: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("connecting");
    std::io::Write::write_all(&mut stream, says).expect("writing");
    stream
}

#[test]
fn bad_agents_disturb_no_other() {
    let Some(lab) = Lab::new() else { return };
    let arguments = ["--port", "0", "--timeout", "2s", "--max-agents", "40"];
    let listener = Listener::start_with(&lab, &lab.net.b, "127.0.0.1", &policy(""), &arguments);
    let to = listener.address;
    let huge = [0, 0x88, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let accepted = [0, 0x88, 0, 0, 0, 0, 0, 0];
    let devices = [0, 0x82, 0xff, 0xff, 0, 0, 0, 4, 1, 2, 3, 4];
    let says: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0x88, 0],
        &huge,
        &accepted,
        &[&accepted[..], &devices[..]].concat(),
    ];
    let bad: Vec<TcpStream> = lab.net.b.enter(|| {
        let of = |n: usize| bad_agent(to, says[n % says.len()]);
        (0..30).map(of).collect()
    });
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let sent = frames(1..101);
    arrive(&Source::new(&lab.net.a, "a0"), &listener, &sent, sent.len());
    // All of them are gone after two deadlines, whatever they did.
    for mut stream in bad {
        stream.set_read_timeout(Some(e2e::PATIENCE)).expect("a timeout");
        let mut rest = Vec::new();
        match std::io::Read::read_to_end(&mut stream, &mut rest) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}"),
        }
    }
    let got = listener.finish();
    assert_eq!(got.totals.get("failed"), 30, "{}", got.totals.line);
    got.accounts["127.0.0.1 b0"].check_all_written(sent.len());
    daemon.finish();
}

#[test]
fn a_full_disk_stops_writing_and_not_receiving() {
    let Some(lab) = Lab::new() else { return };
    let small = lab.path("captures");
    std::fs::create_dir(&small).expect("a directory");
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=700k", "tmpfs"]).arg(&small);
    e2e::process::run(&mut mount);
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy(""));
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let sent: Vec<_> = (0..1000).map(|n| e2e::frames::frame(n, 1000)).collect();
    Source::new(&lab.net.a, "a0").send_all(&sent);
    listener.process.wait_for_line("cannot write");
    let got = listener.finish();
    let account = &got.accounts["127.0.0.1 b0"];
    assert_eq!((account.get("sent"), account.get("delivered")), (1000, 1000), "{}", account.line);
    assert_eq!(account.get("written") + account.get("not-written"), 1000, "{}", account.line);
    assert!(account.get("written") > 0 && account.get("not-written") > 0, "{}", account.line);
    assert_eq!(account.get("written"), got.packets.len() as u64);
    let mut umount = std::process::Command::new("umount");
    e2e::process::run(umount.arg(&small));
    daemon.finish();
}

#[test]
fn standard_output_is_a_stream_for_another_program() {
    let Some(lab) = Lab::new() else { return };
    let file = lab.path("stream.pcapng");
    let policy = policy("").replace("directory = \"captures\"", "standard-output = true");
    let changed = policy.replace("= true", "= true\nqueue = \"10MB\"");
    std::fs::write(lab.path("policy.toml"), policy).expect("writing a policy");
    let mut command = lab.net.b.command(program("rpcap"));
    command.arg("listen").arg(lab.path("policy.toml"));
    command.args(["--bind", "127.0.0.1", "--port", "0", "--data-port", "0"]);
    command.stdout(std::fs::File::create(&file).expect("a file"));
    let listener = Listener::run(&lab, &mut command);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let sent = frames_of_many_sizes(1..200);
    let source = Source::new(&lab.net.a, "a0");
    let (first, second) = sent.split_at(100);
    let arrived = |count| e2e::savefile::read_so_far(&file).len() == count;
    source.send_all(first);
    wait_until("the first packets are in the stream", || arrived(100));
    // Another output would write into the middle of it.
    listener.reload(&changed);
    listener.process.wait_for_line("another still writes there");
    source.send_all(second);
    wait_until("all packets are in the stream", || arrived(sent.len()));
    let got = listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(sent.len());
    assert_frames("the stream", &sent, &e2e::savefile::read(&file).packets);
    daemon.finish();
}

/// Whether tshark reads a file to its end.
#[test]
fn merged_and_compressed_files_are_read_by_others() {
    let needs = e2e::Needs { programs: &["tshark"], ..e2e::Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let policy = policy("").replace(
        "directory = \"captures\"",
        "directory = \"captures\"\nmerged = true\ncompress = \"zstd\"\nfile-size = \"64kB\"",
    );
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let sent = frames_of_many_sizes(1..400);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    listener.process.wait_for_line(": complete");
    let got = listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(sent.len());
    assert!(got.files.len() > 1, "{:?}", got.files);
    let mut read = 0;
    for file in &got.files {
        let mut tshark = std::process::Command::new("tshark");
        let text = e2e::process::run(tshark.arg("-r").arg(file).args([
            "-T",
            "fields",
            "-e",
            "frame.number",
        ]));
        read += text.lines().count();
    }
    assert_eq!(read, sent.len());
    daemon.finish();
}

/// A collector that is started again under load, and a daemon that comes back by itself.
#[test]
fn a_collector_that_restarts_under_load_is_found_again() {
    let Some(lab) = Lab::new() else { return };
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy(""));
    let port = listener.address.port().to_string();
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let source = Source::new(&lab.net.a, "a0");
    let stop = AtomicBool::new(false);
    let (first, second) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for frame in frames(0..1_000_000) {
                if stop.load(Relaxed) {
                    break;
                }
                source.send(&frame);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        wait_until("some packets came", || listener.count_so_far() > 200);
        let first = listener.finish();
        let again = ["--port", &port];
        let listener = Listener::start_with(&lab, &lab.net.b, "127.0.0.1", &policy(""), &again);
        listener.wait_for_captures(1);
        let before = first.packets.len();
        wait_until("some more came", || listener.count_so_far() > before + 200);
        let second = listener.finish();
        stop.store(true, Relaxed);
        (first, second)
    });
    let ledgers = daemon.finish();
    assert_eq!(ledgers.len(), 2);
    for (got, ledger) in [&first, &second].iter().zip(&ledgers) {
        let account = &got.accounts["127.0.0.1 b0"];
        assert_eq!(account.text("balanced"), "yes", "{}", account.line);
        account.check_all_written(ledger.get("sent") as usize);
        assert_eq!(account.get("received"), ledger.get("received"));
    }
    let written = first.accounts["127.0.0.1 b0"].get("written");
    // The second one's directory is the first one's.
    let all = written + second.accounts["127.0.0.1 b0"].get("written");
    assert_eq!((first.packets.len() as u64, second.packets.len() as u64), (written, all));
}

#[test]
fn an_interface_by_address_cut_and_sampled() {
    let Some(lab) = Lab::new() else { return };
    let lines = "snaplen = 70\nsampling = \"1/10\"\ntransport = \"tcp\"";
    let policy = policy(lines).replace("\"preselected\", \"b0\"", "\"10.9.0.0/24\"");
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    arrive(&Source::new(&lab.net.a, "a0"), &listener, &frames(0..200), 20);
    let got = listener.finish();
    let account = &got.accounts["127.0.0.1 b0"];
    account.check_all_written(20);
    assert_eq!((account.get("captured"), account.get("unsent")), (200, 180), "{}", account.line);
    assert!(got.packets.iter().all(|p| (p.data.len(), p.len) == (70, 100)));
    daemon.finish();
}

/// The number of a line of OpenMetrics that begins with `name` and has all of `labels`.
fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let fits = |line: &&str| line.starts_with(name) && labels.iter().all(|l| line.contains(l));
    text.lines().find(fits)?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn status_and_metrics_say_what_the_ledger_says() {
    let Some(lab) = Lab::new() else { return };
    let socket = lab.path("status");
    let arguments =
        ["--port", "0", "--metrics", "127.0.0.1:0", "--status", socket.to_str().expect("UTF-8")];
    let listener = Listener::start_with(&lab, &lab.net.b, "127.0.0.1", &policy(""), &arguments);
    let line = listener.process.wait_for_line("metrics at http://");
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    let address: SocketAddr = address.and_then(|a| a.parse().ok()).expect("an address");
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let sent = frames(1..101);
    arrive(&Source::new(&lab.net.a, "a0"), &listener, &sent, sent.len());

    let status = || -> serde_json::Value {
        let stream = std::os::unix::net::UnixStream::connect(&socket).expect("connecting");
        serde_json::from_reader(stream).expect("JSON")
    };
    // The account is settled once a second.
    wait_until("the status has what is written", || status()["agents"][0]["written"] == 100);
    let agent = &status()["agents"][0];
    assert_eq!(agent["agent"], "127.0.0.1");
    assert_eq!(agent["interface"], "b0");
    assert_eq!(agent["state"], "capturing");
    assert_eq!(agent["delivered"], 100);
    assert_eq!(status()["connections"]["accepted"], 1);

    let get = |path: &str| {
        let mut stream = lab.net.b.enter(|| TcpStream::connect(address).expect("connecting"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("asking");
        std::io::read_to_string(stream).expect("an answer")
    };
    let text = get("/metrics");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let written = metric(&text, "rpcap_packets_total{", &["state=\"written\"", "interface=\"b0\""]);
    assert_eq!(written, Some(100.0), "{text}");
    assert_eq!(metric(&text, "rpcap_capturing{", &["agent=\"127.0.0.1\""]), Some(1.0), "{text}");
    let clock = metric(&text, "rpcap_clock_offset_seconds{", &["interface=\"b0\""]);
    assert!(clock.is_some_and(|seconds| seconds.abs() < 1.0), "{text}");
    assert!(get("/").starts_with("HTTP/1.1 404 "));

    listener.finish().accounts["127.0.0.1 b0"].check_all_written(sent.len());
    daemon.finish();
}

#[test]
fn a_daemon_with_users_lets_the_collector_in_that_has_a_password() {
    let Some(lab) = Lab::new() else { return };
    let users = lab.path("users");
    let mut add = std::process::Command::new(program("rpcapd"));
    add.args(["user", "add", "alice", "--users"]).arg(&users);
    add.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = add.spawn().expect("starting rpcapd");
    let mut stdin = child.stdin.take().expect("its standard input");
    std::io::Write::write_all(&mut stdin, b"correct horse\n").expect("a password");
    drop(stdin);
    assert!(child.wait().expect("its end").success());
    std::fs::write(lab.path("secret"), "wrong\n").expect("a file");
    let policy = policy("user = \"alice\"\npassword-file = \"secret\"");
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let mut command = lab.net.b.command(program("rpcapd"));
    command.args(["-v", "--allow-cleartext-passwords", "-a", &listener.active(), "--users"]);
    let daemon = Daemon::run(&lab, command.arg(&users), 0);
    listener.process.wait_for_line("refuses to authenticate");
    // The right one, read with the policy.
    std::fs::write(lab.path("secret"), "correct horse\n").expect("a file");
    listener.reload(&policy);
    listener.wait_for_captures(1);
    let sent = frames(1..101);
    arrive(&Source::new(&lab.net.a, "a0"), &listener, &sent, sent.len());
    let said = listener.process.said();
    assert!(!said.contains("correct horse") && !said.contains("wrong"), "{said}");
    listener.finish().accounts["127.0.0.1 b0"].check_all_written(sent.len());
    daemon.finish();
}

/// Two of libpcap's daemons on one host say nothing of where their datagrams come from.
#[test]
fn two_silent_daemons_of_one_host_are_told_apart() {
    let Some(lab) = Lab::with_peers() else { return };
    another_interface(&lab);
    let policy = policy("").replace("\"b0\"", "\"b0\", \"c0\"");
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let place = listener.active();
    let daemons = [peer::calls(&lab, &[&place]), peer::calls(&lab, &[&place])];
    listener.wait_for_captures(2);
    let (first, second) = (frames(1..301), frames(1000..1200));
    let (a, c) = (Source::new(&lab.net.a, "a0"), Source::new(&lab.net.b, "c1"));
    for (one, other) in first.chunks(3).zip(second.chunks(2)) {
        a.send_all(one);
        c.send_all(other);
    }
    let all = [first.clone(), second.clone()].concat();
    wait_until("all packets are in the files", || listener.count_so_far() == all.len());
    let got = listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(first.len());
    got.accounts["127.0.0.1 c0"].check_all_written(second.len());
    assert_frames("both files", &all, &got.packets);
    drop(daemons);
}

/// The cable between agent and collector is cut and mended: the agent comes back by itself, before
/// or after the collector has noticed, to the same file and ledger.
#[test]
fn a_cable_that_was_cut_costs_nothing_but_what_it_carried() {
    let Some(lab) = Lab::new() else { return };
    another_interface(&lab);
    let policy = policy("").replace("\"preselected\", \"b0\"", "\"c0\"");
    let arguments = ["--port", "0", "--timeout", "3s"];
    let listener = Listener::start_with(&lab, &lab.net.a, "10.9.0.1", &policy, &arguments);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    // What is captured does not come over the cable.
    let source = Source::new(&lab.net.b, "c1");
    arrive(&source, &listener, &frames(1..101), 100);
    lab.net.a.ip("link set a0 down");
    // Nobody answers the collector's next question.
    listener.process.wait_for_line("did not answer");
    lab.net.a.ip("link set a0 up");
    lab.net.a.wait_for_carrier("a0");
    let patience = Duration::from_secs(90);
    let until = Instant::now() + patience;
    while listener.process.lines(": capturing").len() < 2 {
        assert!(Instant::now() < until, "{}", listener.process.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    arrive(&source, &listener, &frames(101..201), 200);
    let got = listener.finish();
    assert_eq!(got.accounts.len(), 1);
    let account = &got.accounts["10.9.0.2 c0"];
    assert_eq!(account.get("captures"), 2, "{}", account.line);
    assert_eq!(account.get("written"), 200, "{}", account.line);
    assert_frames("one file", &[frames(1..101), frames(101..201)].concat(), &got.packets);
    daemon.finish();
}
