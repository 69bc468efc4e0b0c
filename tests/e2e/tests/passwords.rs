//! Clients that log in with a name and a password.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use e2e::frames::{Source, assert_frames, frames};
use e2e::programs::program;
use e2e::{Daemon, Lab, Process, savefile};

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
