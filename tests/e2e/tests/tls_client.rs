//! `rpcap` over TLS: with our daemon and libpcap's, and with whom it must not trust.

use std::net::TcpListener;
use std::process::Stdio;

use e2e::certs::{Ca, made};
use e2e::frames::{EXPERIMENT_FILTER, Source, assert_frames, frames_of_many_sizes};
use e2e::peer::PeerDaemon;
use e2e::process::run;
use e2e::{Daemon, Lab, Needs, Process, savefile};

/// Captures frames with `rpcap` and these arguments: they have to be in its file, and the ledger has
/// to add up. Returns what it said.
#[track_caller]
fn capture(lab: &Lab, url: &str, arguments: &[&str]) -> String {
    let file = lab.path("out.pcapng");
    let mut command = lab.rpcap();
    command.args(["capture", url, "-f", EXPERIMENT_FILTER, "-c", "300"]).args(arguments);
    let mut client = Process::start(command.arg("-w").arg(&file));
    client.wait_for_line("capturing from");
    let sent = frames_of_many_sizes(1..301);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    assert_frames("the file", &sent, &savefile::read(&file).packets);
    let said = client.stderr();
    assert!(said.contains("The ledger adds up"), "{said}");
    said
}

/// What `rpcap devices` fails with, and its exit code. It is one line, behind warnings.
#[track_caller]
fn refusal(lab: &Lab, url: &str, arguments: &[&str]) -> (String, i32) {
    let mut command = lab.rpcap();
    let mut client = Process::start(command.args(["devices", url]).args(arguments));
    let code = client.wait().code().expect("an exit code");
    let said = client.stderr();
    assert_eq!(client.stdout(), "");
    let mut lines = said.lines().filter(|line| !line.contains("WARNING"));
    let line = lines.next().unwrap_or_else(|| panic!("no error: {said}")).to_owned();
    assert_eq!(lines.next(), None, "{said}");
    (line, code)
}

#[test]
fn our_daemon_verified_in_every_way() {
    let Some(lab) = Lab::new() else { return };
    let ca = Ca::new(&lab, "ca");
    let clients = Ca::new(&lab, "clients");
    let (pair, print) = made(&lab, "own", &["127.0.0.1"]);
    let plain_digits = print.replace(':', "").to_lowercase();
    let daemon = Daemon::start_with(&lab, &[&["-n"], &pair.tls()[..]].concat());
    let url = format!("rpcaps://{}/b0", daemon.address());
    let other = "ab".repeat(32);
    for arguments in [
        &["--tls-fingerprint", &print][..],
        &["--tls-fingerprint", &other, "--tls-fingerprint", &plain_digits],
        // One that vouches for itself is its own CA.
        &["--tls-ca", &pair.cert],
    ] {
        let said = capture(&lab, &url, arguments);
        assert!(!said.contains("WARNING"), "{said}");
    }
    let said = capture(&lab, &url, &["--tls-insecure"]);
    assert!(said.contains("WARNING: --tls-insecure: nobody knows who 127.0.0.1:"), "{said}");
    for ledger in daemon.finish() {
        ledger.check();
    }

    // By CA, by name and by address, with a certificate of the client's own.
    let pair = ca.vouch("daemon", &["localhost", "127.0.0.1"]);
    let arguments = [&["-n", "--tls-client-ca", &clients.cert], &pair.tls()[..]].concat();
    let daemon = Daemon::start_with(&lab, &arguments);
    let mine = clients.vouch("mine", &[]);
    let trust = ["--tls-ca", &ca.cert, "--tls-cert", &mine.cert, "--tls-key", &mine.key];
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rpcaps://{host}:{}/b0", daemon.address().port());
        capture(&lab, &url, &trust);
    }
    let url = format!("rpcaps://{}", daemon.address());
    let (line, code) = refusal(&lab, &url, &["--tls-ca", &ca.cert]);
    assert!(line.contains("wants a certificate of this client, and was shown none"), "{line}");
    assert_eq!(code, 4);
    let stranger = ca.vouch("stranger", &[]);
    let shown = ["--tls-ca", &ca.cert, "--tls-cert", &stranger.cert, "--tls-key", &stranger.key];
    let (line, code) = refusal(&lab, &url, &shown);
    assert!(line.contains("does not take this client's certificate"), "{line}");
    assert_eq!(code, 4);
    daemon.finish();
}

/// A daemon with a certificate of its own on each connection, and what is said of it.
#[test]
fn who_is_not_trusted_and_why() {
    let Some(lab) = Lab::new() else { return };
    let (ca, other) = (Ca::new(&lab, "ca"), Ca::new(&lab, "other"));
    let good = ca.vouch("good", &["127.0.0.1"]);
    let elsewhere = ca.vouch("elsewhere", &["web.example", "10.9.0.9"]);
    let nobody = ca.vouch("nobody", &[]);
    let past = ca.vouched("past", &["127.0.0.1"]);
    let config = lab.path("rpcapd.toml");
    let write = |pair: &e2e::certs::Pair| {
        let text = format!("tls = true\ntls-cert = {:?}\ntls-key = {:?}\n", pair.cert, pair.key);
        std::fs::write(&config, text).expect("a configuration");
    };
    write(&good);
    let daemon = Daemon::start_with(&lab, &["-n", "-f", config.to_str().expect("a path of ours")]);
    let address = daemon.address();
    let url = format!("rpcaps://{address}");
    let print = |pair: &e2e::certs::Pair| {
        let mut openssl = lab.net.b.command("openssl");
        openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &pair.cert]);
        let said = run(&mut openssl);
        said.trim().rsplit('=').next().expect("a fingerprint").to_owned()
    };
    let untrusted = |pair: &e2e::certs::Pair, why: &str| {
        let advice = "if that is the daemon's: --tls-fingerprint, or --tls-ca with its CA";
        format!(
            "rpcap: {address}: its certificate is not trusted: {why}; its fingerprint is {}; {advice}",
            print(pair)
        )
    };
    let wrong = ["--tls-fingerprint", &"ab".repeat(32)];
    let by_ca = ["--tls-ca", &ca.cert];
    let nobody_vouches = "nobody who is trusted vouches for it";
    let mut reloads = 0;
    for (pair, arguments, why) in [
        (&good, &["--tls-ca", &other.cert][..], nobody_vouches),
        (&good, &[], nobody_vouches),
        (&good, &wrong, "it is not one of those that were named"),
        (&elsewhere, &by_ca, "it is for web.example, 10.9.0.9, not for 127.0.0.1"),
        (&nobody, &by_ca, "it is for no host (subjectAltName), not for 127.0.0.1"),
        (&past, &by_ca, "it expired "),
    ] {
        write(pair);
        daemon.process.signal(nix::sys::signal::Signal::SIGHUP);
        reloads += 1;
        daemon.process.wait_for_lines("configuration read again", reloads);
        let (line, code) = refusal(&lab, &url, arguments);
        let expected = untrusted(pair, why);
        match why.ends_with(' ') {
            false => assert_eq!(line, expected),
            true => {
                let (days, end) = line.split_once(" days ago").expect("for how long");
                assert!(expected.starts_with(days.trim_end_matches(char::is_numeric)), "{line}");
                assert!(expected.ends_with(end), "{line}");
            }
        }
        assert_eq!(code, 3);
    }
    // What was not trusted was told nothing.
    assert!(daemon.process.lines("client accepted").is_empty());
    daemon.finish();
}

/// What the system trusts is what counts if nothing else is said.
#[test]
fn the_system_says_whom_it_trusts() {
    let Some(lab) = Lab::new() else { return };
    let ca = Ca::new(&lab, "ca");
    let pair = ca.vouch("daemon", &["localhost"]);
    let daemon = Daemon::start_with(&lab, &[&["-n"], &pair.tls()[..]].concat());
    let url = format!("rpcaps://localhost:{}", daemon.address().port());
    let devices = |file: &str| {
        let mut command = lab.rpcap();
        command.args(["devices", &url]).env("SSL_CERT_FILE", file).env("SSL_CERT_DIR", "/nowhere");
        command
    };
    assert!(run(&mut devices(&ca.cert)).lines().any(|line| line.starts_with("b0 ")));
    let empty = lab.path("empty.pem");
    std::fs::write(&empty, "").expect("a file");
    let mut client = Process::start(&mut devices(empty.to_str().expect("a path of ours")));
    assert_eq!(client.wait().code(), Some(1));
    let said = client.stderr();
    assert!(said.starts_with("rpcap: this system has no certificates to trust"), "{said}");
    assert!(said.trim_end().ends_with("; name a CA or a fingerprint"), "{said}");
    daemon.finish();
}

#[test]
fn tls_and_none_meet() {
    let Some(lab) = Lab::with_peers() else { return };
    let (pair, print) = made(&lab, "own", &["127.0.0.1"]);
    let trust = ["--tls-fingerprint", &print[..]];
    let silent = lab.net.b.enter(|| TcpListener::bind("127.0.0.1:0").expect("a port"));

    // A client with TLS, daemons without: ours, libpcap's, one that takes no such host, and one
    // that says nothing.
    let ours = Daemon::start(&lab);
    let theirs = PeerDaemon::start(&lab);
    let closed = Daemon::start_with(&lab, &["-n", "-l", "192.0.2.1"]);
    let plain = "it does not speak TLS (rpcapd --tls); if nobody on the way can listen, rpcap:// \
                 does without";
    let turned = "it says, before any TLS: The host is not in the allowed host list. Connection \
                  refused.";
    let late = "the handshake was not finished within 500ms";
    for (address, why, expected) in [
        (ours.address(), plain, 3),
        (theirs.address(), plain, 3),
        (closed.address(), turned, 4),
        (silent.local_addr().expect("its address"), late, 3),
    ] {
        let arguments = [&trust[..], &["--timeout", "500ms"]].concat();
        let (line, code) = refusal(&lab, &format!("rpcaps://{address}"), &arguments);
        assert_eq!((line, code), (format!("rpcap: {address}: {why}"), expected));
    }

    // Clients without, daemons with.
    let ours_with = Daemon::start_with(&lab, &[&["-n"], &pair.tls()[..]].concat());
    let theirs_with = PeerDaemon::start_with(&lab, &pair.ssl());
    for address in [ours_with.address(), theirs_with.address()] {
        let (line, code) = refusal(&lab, &format!("rpcap://{address}"), &[]);
        let why = "refuses to authenticate: TLS is required by this server; use rpcaps://";
        assert_eq!((line, code), (format!("rpcap: {address} {why}"), 4));
    }

    // Options of TLS without it would be a false comfort.
    let (line, code) = refusal(&lab, &format!("{}", ours.address()), &trust);
    let why = "options that begin with --tls- are for rpcaps://; this URL has no TLS";
    assert_eq!((line, code), (format!("rpcap: {why}"), 1));
    for daemon in [ours, closed, ours_with] {
        daemon.finish();
    }
}

#[test]
fn libpcaps_daemon_with_tls() {
    let Some(lab) = Lab::with_peers() else { return };
    let ca = Ca::new(&lab, "ca");
    let pair = ca.vouch("theirs", &["localhost"]);
    let daemon = PeerDaemon::start_with(&lab, &pair.ssl());
    let port = daemon.address().port();
    let devices = run(lab.rpcap().args([
        "devices",
        &format!("rpcaps://localhost:{port}"),
        "--tls-ca",
        &ca.cert,
    ]));
    assert!(devices.lines().any(|line| line.starts_with("b0 ")), "{devices}");
    let url = format!("rpcaps://localhost:{port}/b0");
    for _ in 0..3 {
        capture(&lab, &url, &["--tls-ca", &ca.cert]);
    }
    let (line, _) = refusal(&lab, &format!("rpcaps://127.0.0.1:{port}"), &["--tls-ca", &ca.cert]);
    assert!(line.contains("it is for localhost, not for 127.0.0.1"), "{line}");
}

#[test]
fn a_password_that_everybody_could_read_is_warned_of() {
    let Some(lab) = Lab::new() else { return };
    let users = lab.path("users");
    let mut add = std::process::Command::new(e2e::programs::program("rpcapd"));
    add.args(["user", "add", "alice", "--users"]).arg(&users).stdin(Stdio::piped());
    let mut child = add.stderr(Stdio::null()).spawn().expect("starting rpcapd");
    let mut stdin = child.stdin.take().expect("its input");
    std::io::Write::write_all(&mut stdin, b"correct horse\n").expect("a password");
    drop(stdin);
    assert!(child.wait().expect("its end").success());
    let (pair, print) = made(&lab, "own", &["localhost"]);
    let users = users.to_str().expect("a path of ours");
    let open = Daemon::start_with(&lab, &["--users", users, "--allow-cleartext-passwords"]);
    let safe = Daemon::start_with(&lab, &[&["--users", users], &pair.tls()[..]].concat());
    let ask = |url: String, trust: &[&str]| {
        let mut command = lab.rpcap();
        command.env("RPCAP_PASSWORD", "correct horse");
        command.args(["devices", &url, "--user", "alice"]).args(trust);
        let mut client = Process::start(&mut command);
        client.wait_success();
        client.stderr()
    };
    let warning =
        "rpcap: warning: the password is not encrypted on its way; rpcaps:// encrypts it\n";
    assert_eq!(ask(format!("rpcap://{}", open.address()), &[]), warning);
    let trust = ["--tls-fingerprint", &print[..]];
    assert_eq!(ask(format!("rpcaps://{}", safe.address()), &trust), "");
    open.finish();
    safe.finish();
}

/// Servers that are good TLS and no daemons, and one that is no good TLS.
#[test]
fn openssl_is_no_daemon() {
    let needs = Needs { programs: &["tcpdump", "openssl"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let ca = Ca::new(&lab, "ca");
    let pair = ca.vouch("web", &["127.0.0.1"]);
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-www"];
    for (arguments, expected) in [
        (&["-www"][..], "did not answer the request to authenticate within 2s"),
        (&old, "127.0.0.1:PORT: it refuses to go on (ProtocolVersion)"),
        (&["-tls1_2", "-www"], "did not answer the request to authenticate within 2s"),
    ] {
        let mut command = lab.net.b.command("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", &pair.cert]);
        command.args(["-key", &pair.key]).args(arguments);
        let server = Process::start(&mut command);
        let line = server.wait_for_line("ACCEPT 127.0.0.1:");
        let port = line.rsplit(':').next().expect("a port").trim().to_owned();
        let url = format!("rpcaps://127.0.0.1:{port}");
        let (line, _) = refusal(&lab, &url, &["--tls-ca", &ca.cert, "--timeout", "2s"]);
        let expected = expected.replace("PORT", &port);
        assert!(line.contains(&expected), "{arguments:?}: {line}\n{}", server.said());
    }
}
