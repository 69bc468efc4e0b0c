//! Clients that log in with a name and a password.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use e2e::frames::{Source, assert_frames, frames};
use e2e::programs::program;
use e2e::{Client, Daemon, Lab, Process, savefile};
use rpcap_proto::wire::{AuthRequest, MessageType};

/// A file of users, with alice, whose password is "correct horse".
fn users(lab: &Lab) -> PathBuf {
    let path = lab.path("users");
    let mut command = std::process::Command::new(program("rpcapd"));
    command.args(["user", "add", "alice", "--users"]).arg(&path);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("starting rpcapd");
    let mut stdin = child.stdin.take().expect("its standard input");
    stdin.write_all(b"correct horse\n").expect("the password");
    drop(stdin);
    assert!(child.wait().expect("waiting for rpcapd").success());
    path
}

fn daemon(lab: &Lab, users: &Path) -> Daemon {
    let users = users.to_str().expect("a path of ours");
    Daemon::start_with(lab, &["--users", users, "--allow-cleartext-passwords"])
}

#[test]
fn libpcaps_client_logs_in() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = daemon(&lab, &users(&lab));
    let client = |password: &str| {
        let mut command = lab.peer("rpc-capture");
        command.args(["-U", "alice", "-P", password, "-c", "20", "-t", "60", "-w"]);
        Process::start(command.arg(lab.path("out.pcap")).arg(daemon.url("b0")))
    };
    let mut refused = client("wrong");
    assert_eq!(refused.wait().code(), Some(1));
    assert!(refused.stderr().contains("Authentication failed"), "{}", refused.stderr());
    let mut client = client("correct horse");
    client.wait_for_line("ready linktype=1");
    let sent = frames(1..21);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    let got = savefile::read(&lab.path("out.pcap"));
    assert_frames("libpcap's file", &sent, &got.packets);
    daemon.finish();
}

#[test]
fn rpcap_logs_in() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &users(&lab));
    for (password, ok) in [("wrong", false), ("correct horse", true)] {
        let mut command = lab.rpcap();
        command.args(["devices", "--user", "alice", &daemon.address().to_string()]);
        let mut client = Process::start(command.env("RPCAP_PASSWORD", password));
        assert_eq!(client.wait().success(), ok, "{}", client.said());
        assert_eq!(client.stdout().contains("b0"), ok);
    }
    daemon.finish();
}

/// Whether this text is anywhere in the memory that a daemon can write to.
fn remembers(daemon: &Daemon, text: &str) -> bool {
    let proc = |name: &str| format!("/proc/{}/{name}", daemon.process.pid());
    let maps = std::fs::read_to_string(proc("maps")).expect("its memory map");
    let memory = File::open(proc("mem")).expect("its memory");
    let mut searched = 0;
    let content_of = |line: &str| {
        let (begin, end) = line.split(' ').next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (begin, end) = (number(begin)?, number(end)?);
        let mut content = vec![0; (end - begin) as usize];
        // What the kernel keeps for itself cannot be read.
        memory.read_exact_at(&mut content, begin).ok()?;
        searched += content.len();
        Some(content)
    };
    let writable = maps.lines().filter(|line| line.contains(" rw"));
    let found = writable
        .filter_map(content_of)
        .any(|content| String::from_utf8_lossy(&content).contains(text));
    assert!(searched > 100_000, "only {searched} bytes could be read");
    found
}

#[test]
fn a_password_is_not_remembered() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &users(&lab));
    // That something is remembered is seen by a name, which is not wiped.
    let (wrong, right) = ("a password that is wrong", "correct horse");
    let log_in = |client: &mut Client, password: &str, pieces: usize| {
        let mut message = Vec::new();
        let request = AuthRequest::Password { user: b"alice", password: password.as_bytes() };
        request.write(&mut message).expect("a name and a password");
        for piece in message.chunks(message.len().div_ceil(pieces)) {
            client.send(piece);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        client.reply(MessageType::AuthReply).is_ok()
    };
    let mut client = Client::connect_only(&daemon);
    assert!(!log_in(&mut client, wrong, 3));
    assert!(log_in(&mut client, right, 1));
    let mut other = Client::connect_only(&daemon);
    assert!(log_in(&mut other, right, 4));
    assert!(client.devices().is_ok());
    assert!(remembers(&daemon, "alice"));
    for password in [wrong, right] {
        assert!(!remembers(&daemon, password), "{password} is in the memory");
        assert!(!daemon.process.said().contains(password), "{password} is in the log");
    }
    daemon.finish();
}
