//! Encrypted sessions, with clients that others wrote.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use e2e::certs::{Pair, made};
use e2e::frames::{Source, assert_frames, frames, frames_of_many_sizes};
use e2e::programs::program;
use e2e::{Daemon, Lab, Needs, Process, savefile, wait_until};
use nix::sys::signal::Signal;
use rpcap_proto::wire::{
    AuthReply, AuthRequest, ErrorCode, FilterBlock, MessageType, StartFlags, StartRequest,
    write_empty, write_error, write_message,
};

/// A daemon with a certificate of its own, and its URL of a device.
fn daemon(lab: &Lab, more: &[&str]) -> (Daemon, String) {
    let (pair, _) = made(lab, "own", &["localhost"]);
    let arguments = [&pair.tls()[..], more].concat();
    let daemon = Daemon::start_with(lab, &arguments);
    let url = format!("rpcaps://{}/b0", daemon.address());
    (daemon, url)
}

/// Captures with libpcap's client while frames come, which have to be in its file.
fn capture(lab: &Lab, url: &str, arguments: &[&str]) {
    let file = lab.path("out.pcap");
    let mut command = lab.peer("rpc-capture");
    let mut client = Process::start(
        command.args(["-c", "300", "-t", "60", "-w"]).arg(&file).args(arguments).arg(url),
    );
    client.wait_for_line("ready linktype=1");
    let sent = frames_of_many_sizes(1..301);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    assert_frames("libpcap's file", &sent, &savefile::read(&file).packets);
}

#[test]
fn libpcaps_client_captures_encrypted() {
    let Some(lab) = Lab::with_peers() else { return };
    let (daemon, url) = daemon(&lab, &["-n"]);
    capture(&lab, &url, &[]);
    // Without it there is nothing to be had.
    let plain = url.replace("rpcaps", "rpcap");
    let mut refused = Process::start(lab.peer("rpc-capture").args(["-t", "5", &plain]));
    assert_eq!(refused.wait().code(), Some(1));
    assert!(refused.stderr().contains("TLS is required"), "{}", refused.stderr());
    daemon.finish();
}

/// libpcap's client does not ask for it, so the bytes go through openssl.
#[test]
fn d5_079_no_datagrams_in_an_encrypted_session() {
    let Some(lab) = Lab::new() else { return };
    let (daemon, _) = daemon(&lab, &["-n"]);
    let mut requests = Vec::new();
    AuthRequest::Null.write(&mut requests).expect("nothing in it can be too long");
    write_message(&mut requests, MessageType::OpenRequest, 0, |b| b.extend_from_slice(b"b0"));
    let request = StartRequest {
        snaplen: 1500,
        read_timeout_ms: 10,
        flags: StartFlags::DATAGRAM,
        port: 9,
        filter: FilterBlock { instructions: e2e::filter::everything() },
    };
    request.write(&mut requests);
    write_empty(&mut requests, MessageType::Close);
    let mut command = lab.net.b.command("openssl");
    command.args(["s_client", "-quiet", "-connect", &daemon.address().to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = command.spawn().expect("starting openssl");
    let mut stdin = client.stdin.take().expect("its standard input");
    stdin.write_all(&requests).expect("the requests");
    // Its end would be the end of the connection, before the answers have come.
    let output = client.wait_with_output().expect("waiting for openssl");
    drop(stdin);
    let mut expected = Vec::new();
    AuthReply::OURS.write(&mut expected);
    write_message(&mut expected, MessageType::OpenReply, 0, |b| {
        b.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
    });
    let text = "UDP data connections are not encrypted: use TCP";
    write_error(&mut expected, 0, ErrorCode::StartCapture, text);
    assert_eq!(output.stdout, expected);
    daemon.process.wait_for_line(text);
    daemon.finish();
}

#[test]
fn passwords_are_taken_where_nobody_can_read_them() {
    let Some(lab) = Lab::with_peers() else { return };
    let users = lab.path("users");
    let mut command = Command::new(program("rpcapd"));
    command.args(["user", "add", "alice", "--users"]).arg(&users).stdin(Stdio::piped());
    let mut child = command.spawn().expect("starting rpcapd");
    child.stdin.take().expect("its input").write_all(b"correct horse\n").expect("a password");
    assert!(child.wait().expect("waiting for rpcapd").success());
    let (daemon, url) = daemon(&lab, &["--users", users.to_str().expect("a path of ours")]);
    capture(&lab, &url, &["-U", "alice", "-P", "correct horse"]);
    daemon.finish();
}

/// What `openssl s_client` says of a handshake.
fn handshake(lab: &Lab, address: SocketAddr, arguments: &[&str]) -> String {
    let address = address.to_string();
    let mut command = lab.net.b.command("openssl");
    command.args(["s_client", "-connect", &address, "-ign_eof"]).args(arguments);
    command.stdin(Stdio::piped());
    let mut client = Process::start(&mut command);
    wait_until("openssl has seen the handshake", || {
        !client.is_running() || client.stdout().contains("Verify return code")
    });
    client.signal(Signal::SIGTERM);
    client.wait();
    client.said()
}

#[test]
fn only_modern_protocols() {
    let Some(lab) = Lab::new() else { return };
    let (daemon, _) = daemon(&lab, &["-n"]);
    for (version, expected) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let said = handshake(&lab, daemon.address(), &[version]);
        assert!(said.contains(&format!("{expected}, Cipher is")), "{said}");
    }
    for version in ["-tls1_1", "-tls1"] {
        let said = handshake(&lab, daemon.address(), &[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(said.contains("Cipher is (NONE)"), "{said}");
    }
    daemon.finish();
}

#[test]
fn clients_have_a_certificate_where_one_is_required() {
    let Some(lab) = Lab::new() else { return };
    let (Pair { cert, key }, _) = made(&lab, "theirs", &["localhost"]);
    let (daemon, _) = daemon(&lab, &["-n", "--tls-client-ca", &cert]);
    // With TLS 1.2 the client sees the refusal during the handshake.
    let said = handshake(&lab, daemon.address(), &["-tls1_2"]);
    assert!(said.contains("alert"), "{said}");
    // With 1.3 it is done by then, and the daemon is not.
    handshake(&lab, daemon.address(), &["-tls1_3"]);
    daemon.process.wait_for_lines("session ended: control connection: TLS: ", 2);
    let said = handshake(&lab, daemon.address(), &["-tls1_2", "-cert", &cert, "-key", &key]);
    assert!(said.contains("TLSv1.2, Cipher is"), "{said}");
    daemon.finish();
}

#[test]
fn a_reload_takes_a_new_certificate_and_captures_go_on() {
    let Some(lab) = Lab::with_peers() else { return };
    let config = lab.path("rpcapd.toml");
    std::fs::write(&config, "").expect("an empty configuration");
    let (daemon, url) = daemon(&lab, &["-n", "-f", config.to_str().expect("a path of ours")]);
    let file = lab.path("long.pcap");
    let mut command = lab.peer("rpc-capture");
    let mut client =
        Process::start(command.args(["-c", "40", "-t", "60", "-w"]).arg(&file).arg(&url));
    client.wait_for_line("ready linktype=1");
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(1..41);
    source.send_all(&sent[..20]);
    let shown = |daemon: &Daemon| {
        let said = handshake(&lab, daemon.address(), &[]);
        said.split("-----").nth(2).expect("a certificate").to_owned()
    };
    let old = shown(&daemon);
    std::fs::remove_dir_all(lab.path("own")).expect("removing the certificate");
    made(&lab, "own", &["localhost"]);
    daemon.process.signal(Signal::SIGHUP);
    daemon.process.wait_for_line("configuration read again");
    assert_ne!(shown(&daemon), old);
    source.send_all(&sent[20..]);
    client.wait_success();
    assert_frames("the capture that went on", &sent, &savefile::read(&file).packets);
    daemon.finish();
}

/// The daemon connects, and is the server all the same. Socat joins its connection with openssl's.
#[test]
fn a_daemon_that_calls_is_the_server_too() {
    let needs = Needs { programs: &["tcpdump", "socat", "openssl"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let mut command = lab.net.b.command("socat");
    command.args(["-d", "-d", "TCP-LISTEN:2003,bind=127.0.0.1", "TCP-LISTEN:2103,bind=127.0.0.1"]);
    let relay = Process::start(&mut command);
    relay.wait_for_line("listening on");
    let (pair, _) = made(&lab, "own", &["localhost"]);
    let daemon = Daemon::calling(&lab, &[&pair.tls()[..], &["-a", "127.0.0.1"]].concat());
    relay.wait_for_lines("listening on", 2);
    let said = handshake(&lab, ([127, 0, 0, 1], 2103).into(), &[]);
    assert!(said.contains("TLSv1.3, Cipher is"), "{said}");
    assert!(said.contains("CN = localhost"), "{said}");
    daemon.finish();
}
