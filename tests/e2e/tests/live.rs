//! Outputs for others who read along: over TCP, through a pipe, as a command's input.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use e2e::frames::{EXPERIMENT_FILTER, Source, assert_frames, frame, frames_of_many_sizes};
use e2e::listener::Listener;
use e2e::{Daemon, Lab, Needs, Process, savefile, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::SockRef;

/// A collector whose only rule has these outputs, and a daemon that has called it.
fn collect(lab: &Lab, outputs: &str, names: &str) -> (Listener, Daemon) {
    let policy = format!(
        "{outputs}\n[[agent]]\nfilter = \"{EXPERIMENT_FILTER}\"\ninterfaces = [\"b0\"]\n\
         output = [{names}]\n"
    );
    let listener = Listener::start(lab, &lab.net.b, "127.0.0.1", &policy);
    let daemon = Daemon::calling(lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    (listener, daemon)
}

/// The address that readers may connect to.
fn address(listener: &Listener) -> String {
    let line = listener.process.wait_for_line("readers may connect to ");
    line.rsplit(' ').next().expect("an address").to_owned()
}

/// tshark as a reader that ends after so many packets.
fn tshark(lab: &Lab, address: &str, packets: usize, file: &Path) -> Child {
    let mut command = lab.net.b.command("tshark");
    command.args(["-i", &format!("TCP@{address}"), "-c", &packets.to_string(), "-w"]).arg(file);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("tshark")
}

fn wait_for_readers(listener: &Listener, count: usize) {
    wait_until("readers are there", || listener.process.lines(" reads").len() >= count);
}

#[test]
fn readers_over_tcp_come_and_go() {
    let needs = Needs { programs: &["tshark"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let outputs = "[output.files]\ndirectory = \"captures\"\n\
                   [output.net]\nto = \"pcap-over-ip:127.0.0.1:0\"\n\
                   [output.nobody]\nto = \"pcap-over-ip-connect:127.0.0.1:1\"\n";
    let (listener, daemon) = collect(&lab, outputs, "\"net\", \"files\", \"nobody\"");
    let source = Source::new(&lab.net.a, "a0");
    let (address, sent) = (address(&listener), frames_of_many_sizes(1..101));
    // Nobody reads yet.
    source.send_all(&sent[..10]);
    wait_until("the first packets are there", || listener.count_so_far() >= 10);
    let files = [lab.path("one.pcapng"), lab.path("two.pcapng")];
    let mut one = tshark(&lab, &address, 40, &files[0]);
    let mut two = tshark(&lab, &address, 90, &files[1]);
    wait_for_readers(&listener, 2);
    source.send_all(&sent[10..]);
    for reader in [&mut one, &mut two] {
        assert!(reader.wait().expect("tshark").success());
    }
    assert_frames("one", &sent[10..50], &savefile::read(&files[0]).packets);
    assert_frames("two", &sent[10..], &savefile::read(&files[1]).packets);
    let got = listener.finish();
    assert_frames("the files", &sent, &got.packets);
    let line = &got.accounts["127.0.0.1 b0"].line;
    for fate in [
        "output=files given=100 split=0 written=100 not-written=0",
        "output=net given=100 split=0 written=90 not-written=10",
        "output=nobody given=100 split=0 written=0 not-written=100",
    ] {
        assert!(got.said.contains(fate), "{fate}: {line}\n{}", got.said);
    }
    daemon.finish();
}

#[test]
fn a_reader_that_stands_still_disturbs_nobody_and_keeps_a_sound_file() {
    let needs = Needs { programs: &["socat"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let outputs = "[output.files]\ndirectory = \"captures\"\n\
                   [output.net]\nto = \"pcap-over-ip:127.0.0.1:0\"\n";
    let (listener, daemon) = collect(&lab, outputs, "\"files\", \"net\"");
    let address = address(&listener);
    let (slow, fast) = (lab.path("slow.pcapng"), lab.path("fast.pcapng"));
    let read = |file: &Path| {
        let mut command = lab.net.b.command("socat");
        let to = File::create(file).expect("a file");
        command.args(["-u", &format!("TCP:{address}"), "STDOUT"]).stdout(to).spawn().expect("socat")
    };
    let (mut still, mut moving) = (read(&slow), read(&fast));
    wait_for_readers(&listener, 2);
    // `ip netns exec` becomes the program.
    let pid = Pid::from_raw(still.id().cast_signed());
    kill(pid, Signal::SIGSTOP).expect("SIGSTOP");
    // More than sockets and the reader's room hold together.
    let source = Source::new(&lab.net.a, "a0");
    let sent: Vec<_> = (0..500).map(|n| frame(n, 1500)).collect();
    for round in 1..=60 {
        source.send_all(&sent);
        let wanted = round * sent.len();
        wait_until("the other one has them", || {
            std::fs::metadata(&fast).is_ok_and(|m| m.len() as usize > wanted * 1500)
        });
    }
    kill(pid, Signal::SIGCONT).expect("SIGCONT");
    let got = listener.finish();
    assert!(still.wait().expect("socat").success() && moving.wait().expect("socat").success());
    let (kept, all) = (savefile::read(&slow).packets.len(), savefile::read(&fast).packets.len());
    assert_eq!((all, got.packets.len()), (60 * sent.len(), 60 * sent.len()));
    let lost = all - kept;
    assert!(kept > 0 && lost > 0, "{kept} of {all}");
    let line = got.said.lines().find(|l| l.contains("left out because it was too slow"));
    let line = line.unwrap_or_else(|| panic!("{}", got.said));
    let told = line.replace(',', "");
    assert!(told.contains(&format!("{kept} packets and {lost} left out")), "{lost}: {line}");
    daemon.finish();
}

#[test]
fn a_port_stays_when_its_output_changes() {
    let needs = Needs { programs: &["tshark"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let address = "127.0.0.1:57012";
    let policy = |format: &str| {
        format!(
            "[output.net]\nto = \"pcap-over-ip:{address}\"\nformat = \"{format}\"\n\
             [[agent]]\nfilter = \"{EXPERIMENT_FILTER}\"\ninterfaces = [\"b0\"]\n"
        )
    };
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy("pcapng"));
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    let source = Source::new(&lab.net.a, "a0");
    // tshark takes all of them.
    let formats = ["pcapng", "pcap", "pcap-nanoseconds"];
    for (n, format) in formats.into_iter().enumerate() {
        if n > 0 {
            listener.reload(&policy(format));
        }
        listener.wait_for_captures(n + 1);
        listener.process.wait_for_lines("readers may connect to ", n + 1);
        let file = lab.path(&format!("{format}.pcapng"));
        let sent = frames_of_many_sizes(1..50);
        let mut reader = tshark(&lab, address, sent.len(), &file);
        // Those before have been told that they read no more.
        wait_for_readers(&listener, 2 * n + 1);
        source.send_all(&sent);
        assert!(reader.wait().expect("tshark").success());
        assert_frames(format, &sent, &savefile::read(&file).packets);
    }
    let got = listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(3 * 49);
    daemon.finish();
}

#[test]
fn a_program_that_waits_is_called_and_a_command_reads() {
    let needs = Needs { programs: &["socat", "tcpdump"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let daemon = Daemon::start(&lab);
    let (all, called) = (lab.path("all.pcapng"), lab.path("called.pcapng"));
    let piped = lab.path("piped.pcap");
    let exec = format!("exec:tcpdump -U -Z root -r - -w {}", piped.display());
    let url = format!("rpcap://{}/b0", daemon.address());
    let mut command = lab.rpcap();
    command.args(["capture", &url, "-f", EXPERIMENT_FILTER, "-c", "100", "-w"]).arg(&all);
    command.args(["--to", "pcap-over-ip-connect:127.0.0.1:57012", "--to", &exec]);
    let mut client = Process::start(&mut command);
    client.wait_for_line("cannot connect: ");
    let first = lab.net.b.enter(|| TcpListener::bind("127.0.0.1:57012").expect("a port"));
    let (reader, _) = first.accept().expect("a call");
    let reads = "57012 reads";
    client.wait_for_lines(reads, 1);
    // As a program that crashes: one that ends in good order is noticed with the next packet only.
    SockRef::from(&reader).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop((reader, first));
    client.wait_for_line("57012 reads no more");
    let mut socat = lab.net.b.command("socat");
    socat.args(["-u", "TCP-LISTEN:57012,reuseaddr"]);
    let mut second = socat.arg(format!("OPEN:{},creat", called.display())).spawn().expect("socat");
    wait_until("it is called again", || client.lines(reads).len() == 3);
    let sent = frames_of_many_sizes(1..101);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    assert!(second.wait().expect("socat").success());
    for file in [&all, &called, &piped] {
        assert_frames(&file.display().to_string(), &sent, &savefile::read(file).packets);
    }
    let lines = client.lines("100 = 100 taken + 0 not taken + 0 too many at once");
    assert_eq!(lines.len(), 2, "{}", client.said());
    daemon.finish();
}

#[test]
fn pcap_has_one_link_type_and_tls_has_a_certificate() {
    let needs = Needs { programs: &["openssl"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    e2e::certs::made(&lab, "tls", &["127.0.0.1"]);
    let outputs = "[output.net]\nto = \"pcap-over-ip:127.0.0.1:0\"\nformat = \"pcap-nanoseconds\"\n\
                   cert = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\n";
    let (listener, daemon) = collect(&lab, outputs, "\"net\"");
    let address = address(&listener);
    let file = lab.path("read.pcap");
    let mut openssl = lab.net.b.command("openssl");
    openssl.args(["s_client", "-quiet", "-verify_quiet", "-no_ign_eof", "-connect", &address]);
    openssl.args(["-verify_return_error", "-CAfile"]).arg(lab.path("tls/cert.pem"));
    openssl.stdin(Stdio::piped()).stdout(File::create(&file).expect("a file"));
    let mut openssl = openssl.spawn().expect("openssl");
    wait_for_readers(&listener, 1);
    let sent = frames_of_many_sizes(1..200);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    wait_until("all came", || savefile::read_so_far(&file).len() == sent.len());
    let got = listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(sent.len());
    openssl.wait().expect("openssl");
    assert_frames("over TLS", &sent, &savefile::read(&file).packets);
    daemon.finish();
}

#[test]
fn a_pipe_has_one_reader_after_the_other() {
    let Some(lab) = Lab::new() else { return };
    let outputs = "[output.pipe]\nto = \"pipe:live\"\n";
    let (listener, daemon) = collect(&lab, outputs, "\"pipe\"");
    let source = Source::new(&lab.net.a, "a0");
    for round in 0..2usize {
        let mut pipe = File::open(lab.path("live")).expect("the pipe");
        wait_for_readers(&listener, round * 2 + 1);
        let sent = frames_of_many_sizes(1..50);
        source.send_all(&sent);
        let mut bytes = Vec::new();
        wait_until("all came", || {
            let mut more = [0; 65_536];
            let n = pipe.read(&mut more).expect("reading");
            bytes.extend_from_slice(&more[..n]);
            savefile::packets_so_far(&bytes).len() == sent.len()
        });
        assert_frames("the pipe", &sent, &savefile::packets_so_far(&bytes));
        drop(pipe);
        listener.process.wait_for_line("reads no more");
        wait_until("it has gone", || listener.process.lines("reads no more").len() > round);
    }
    listener.finish();
    daemon.finish();
}

#[test]
fn a_command_is_started_again_and_ended_at_last() {
    let needs = Needs { programs: &["tcpdump"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let outputs = "[output.tool]\nto = \"exec:exec tcpdump -U -r - -w $(mktemp -p . XXXXXX.tool) -Z root\"\n\
                   [output.deaf]\nto = \"exec:trap '' TERM; sleep 1000\"\n";
    let policy = format!(
        "{outputs}\n[[agent]]\nfilter = \"{EXPERIMENT_FILTER}\"\ninterfaces = [\"b0\"]\n\
         output = [\"tool\", \"deaf\"]\n"
    );
    std::fs::write(lab.path("policy.toml"), policy).expect("a policy");
    let mut command = lab.net.b.command(e2e::programs::program("rpcap"));
    command.arg("listen").arg(lab.path("policy.toml")).current_dir(lab.path(""));
    command.args(["--bind", "127.0.0.1", "--port", "0", "--data-port", "0"]);
    let listener = Listener::run(&lab, &mut command);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let source = Source::new(&lab.net.a, "a0");
    let kept = || -> Vec<_> {
        let entries = std::fs::read_dir(lab.path("")).expect("a directory");
        let paths = entries.map(|e| e.expect("an entry").path());
        paths.filter(|p| p.extension().is_some_and(|e| e == "tool")).collect()
    };
    let sent = frames_of_many_sizes(1..100);
    source.send_all(&sent[..50]);
    let count = |n: usize| {
        wait_until("the tool has them", || {
            kept().iter().map(|p| savefile::read_so_far(p).len()).sum::<usize>() == n
        });
    };
    count(50);
    let line = listener.process.wait_for_line("tool: process ");
    let pid = line.split("process ").nth(1).and_then(|rest| rest.split(' ').next());
    let pid = pid.and_then(|p| p.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("SIGKILL");
    listener.process.wait_for_line("ended: signal: 9");
    wait_until("it is there again", || kept().len() == 2);
    wait_until("it reads again", || listener.process.lines("tool: process ").len() >= 4);
    source.send_all(&sent[50..]);
    count(99);
    let started = std::time::Instant::now();
    let got = listener.finish();
    assert!(started.elapsed() < std::time::Duration::from_secs(15), "{:?}", started.elapsed());
    let fate = "output=tool given=99 split=0 written=99 not-written=0";
    assert!(got.said.contains(fate), "{}", got.said);
    daemon.finish();
}
