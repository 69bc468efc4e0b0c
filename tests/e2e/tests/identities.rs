//! Clients that are somebody by their certificate, or by an account of this host.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use accounts::{Account, PASSWORD, Service};
use e2e::frames::{Source, assert_frames, frames};
use e2e::lab::for_the_daemon;
use e2e::process::run;
use e2e::programs::{program, workspace};
use e2e::{Daemon, Lab, Needs, Process, savefile};
use nix::sys::signal::Signal;
use rpcap_proto::wire::{
    AuthReply, AuthRequest, ErrorCode, FilterBlock, MessageType, StartFlags, StartRequest,
    write_empty, write_error, write_message,
};

#[path = "../../../crates/rpcapd/tests/bad_inputs/accounts.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "helpers of other tests too")]
mod accounts;

/// Whoever vouches for clients here, and what the daemon needs.
struct Authority<'a> {
    lab: &'a Lab,
    users: PathBuf,
}

impl<'a> Authority<'a> {
    fn new(lab: &'a Lab) -> Self {
        let authority = Self { lab, users: lab.path("users") };
        authority.issue("ca", "authority", "basicConstraints=critical,CA:true", None);
        let mut init = Command::new(program("rpcapd"));
        run(init.args(["tls", "init", "--name", "localhost", "--directory"]).arg(lab.path("")));
        for_the_daemon(&lab.path("key.pem"));
        authority
    }

    fn file(&self, name: &str) -> String {
        self.lab.path(name).to_str().expect("a path of ours").to_owned()
    }

    fn issue(&self, name: &str, subject: &str, extension: &str, by: Option<&str>) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-subj", &format!("/CN={subject}")]);
        command.args(["-addext", extension, "-out", &self.file(&format!("{name}.pem"))]);
        command.args(["-keyout", &self.file(&format!("{name}.key"))]);
        if let Some(by) = by {
            let (cert, key) = (self.file(&format!("{by}.pem")), self.file(&format!("{by}.key")));
            command.args(["-CA", &cert, "-CAkey", &key]);
            command.args(["-addext", "basicConstraints=critical,CA:false"]);
        }
        run(&mut command);
    }

    /// A client's certificate and key.
    fn client(&self, name: &str, subject: &str, names: &str) {
        self.issue(name, subject, &format!("subjectAltName={names}"), Some("ca"));
    }

    /// Adds somebody to the file of users, whom the daemon lets in.
    fn add(&self, arguments: &[&str], password: &str) {
        let mut command = Command::new(program("rpcapd"));
        command.args(["user", "add"]).args(arguments).arg("--users").arg(&self.users);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("starting rpcapd");
        let stdin = child.stdin.take();
        stdin.expect("its input").write_all(password.as_bytes()).expect("the password");
        assert!(child.wait().expect("waiting for rpcapd").success());
        for_the_daemon(&self.users);
    }

    fn daemon(&self, more: &[&str]) -> Daemon {
        let (cert, key, ca) = (self.file("cert.pem"), self.file("key.pem"), self.file("ca.pem"));
        let users = self.file("users");
        let tls = ["--tls", "--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
        Daemon::start_with(self.lab, &[&tls[..], &["--users", &users], more].concat())
    }

    /// What the daemon says to these requests of the client with this certificate.
    fn talk(&self, daemon: &Daemon, client: &str, requests: &[u8]) -> Vec<u8> {
        let mut command = self.openssl(daemon, client);
        let mut child = command.spawn().expect("starting openssl");
        let mut stdin = child.stdin.take().expect("its standard input");
        stdin.write_all(requests).expect("the requests");
        // Its end would be the end of the connection, before the answers have come.
        let output = child.wait_with_output().expect("waiting for openssl");
        drop(stdin);
        output.stdout
    }

    fn openssl(&self, daemon: &Daemon, client: &str) -> Command {
        let (cert, key) =
            (self.file(&format!("{client}.pem")), self.file(&format!("{client}.key")));
        let mut command = self.lab.net.b.command("openssl");
        command.args(["s_client", "-quiet", "-connect", &daemon.address().to_string()]);
        command.args(["-cert", &cert, "-key", &key]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

fn lab() -> Option<Lab> {
    Lab::with(Needs { programs: &["tcpdump", "openssl"], ..Needs::default() })
}

/// AUTH without a name, these requests, and the end.
fn session(requests: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    AuthRequest::Null.write(&mut bytes).expect("nothing in it can be too long");
    requests(&mut bytes);
    write_empty(&mut bytes, MessageType::Close);
    bytes
}

fn accepted() -> Vec<u8> {
    let mut bytes = Vec::new();
    AuthReply::OURS.write(&mut bytes);
    bytes
}

fn refused() -> Vec<u8> {
    let mut bytes = Vec::new();
    let text = "Authentication failed; NULL authentication not permitted.";
    write_error(&mut bytes, 0, ErrorCode::AuthFailed, text);
    bytes
}

#[test]
fn a_certificate_whose_name_the_file_has_is_enough() {
    let Some(lab) = lab() else { return };
    let authority = Authority::new(&lab);
    authority.client("alice", "whoever", "email:bob@example.org,DNS:Alice.example.org,DNS:x.org");
    authority.client("bob", "alice.example.org", "DNS:bob.example.org");
    authority.client("second", "s", "DNS:s.example.org,DNS:alice.example.org");
    authority.client("nameless", "alice.example.org", "email:alice.example.org@example.org");
    authority
        .add(&["alice.example.org", "--certificate", "--snaplen", "40", "--devices", "b0"], "");
    // The same name with a password is no certificate's.
    authority.add(&["bob.example.org"], "correct horse\n");
    let daemon = authority.daemon(&[]);
    for client in ["bob", "second", "nameless"] {
        assert_eq!(authority.talk(&daemon, client, &session(|_| {})), refused(), "{client}");
    }
    daemon.process.wait_for_lines("client refused", 3);
    let answer = authority.talk(
        &daemon,
        "alice",
        &session(|b| {
            write_message(b, MessageType::OpenRequest, 0, |b| b.extend_from_slice(b"lo"));
            write_message(b, MessageType::OpenRequest, 0, |b| b.extend_from_slice(b"b0"));
            let filter = FilterBlock { instructions: e2e::filter::everything() };
            let flags = StartFlags::default();
            let start = StartRequest { snaplen: 1500, read_timeout_ms: 10, flags, port: 0, filter };
            start.write(b);
        }),
    );
    assert!(answer.starts_with(&accepted()), "{answer:?}");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("No such device exists"), "{text}");
    let line = daemon.process.wait_for_line("client accepted");
    assert!(line.contains("user=\"alice.example.org\" by=certificate"), "{line}");
    let line = daemon.process.wait_for_line("capture started");
    let expected = "user=\"alice.example.org\" by=certificate device=\"b0\" snaplen=40";
    assert!(line.contains(expected), "{line}");
    daemon.process.wait_for_line("user=\"alice.example.org\" by=certificate seconds=");
    daemon.finish();
}

#[test]
fn who_gives_a_password_is_who_has_it() {
    let Some(lab) = lab() else { return };
    let authority = Authority::new(&lab);
    authority.client("alice", "a", "DNS:alice");
    authority.add(&["alice", "--certificate"], "");
    authority.add(&["carol"], "correct horse\n");
    let daemon = authority.daemon(&[]);
    let login = |password: &[u8]| {
        let mut bytes = Vec::new();
        let request = AuthRequest::Password { user: b"carol", password };
        request.write(&mut bytes).expect("nothing in it is too long");
        write_empty(&mut bytes, MessageType::Close);
        authority.talk(&daemon, "alice", &bytes)
    };
    assert_eq!(login(b"correct horse"), accepted());
    let line = daemon.process.wait_for_line("client accepted");
    assert!(line.contains("user=\"carol\" by=password"), "{line}");
    let mut expected = Vec::new();
    write_error(&mut expected, 0, ErrorCode::AuthFailed, "Authentication failed");
    assert_eq!(login(b"wrong"), expected);
    daemon.finish();
}

#[test]
fn a_certificate_that_is_taken_out_of_the_file_loses_its_session() {
    let Some(lab) = lab() else { return };
    let authority = Authority::new(&lab);
    authority.client("alice", "a", "DNS:alice");
    authority.client("bob", "b", "DNS:bob");
    authority.add(&["alice", "--certificate"], "");
    authority.add(&["bob", "--certificate"], "");
    let config = lab.path("rpcapd.toml");
    std::fs::write(&config, "").expect("an empty configuration");
    let daemon = authority.daemon(&["-f", config.to_str().expect("a path of ours")]);
    let mut auth = Vec::new();
    AuthRequest::Null.write(&mut auth).expect("nothing in it can be too long");
    let clients = ["alice", "bob"].map(|client| {
        let mut child = authority.openssl(&daemon, client).spawn().expect("starting openssl");
        let mut stdin = child.stdin.take().expect("its standard input");
        stdin.write_all(&auth).expect("the request");
        daemon.process.wait_for_line(&format!("user=\"{client}\" by=certificate"));
        (child, stdin)
    });
    let mut command = Command::new(program("rpcapd"));
    run(command.args(["user", "remove", "alice", "--users"]).arg(&authority.users));
    daemon.process.signal(Signal::SIGHUP);
    daemon.process.wait_for_line("sessions ended: 1");
    let [(mut alice, _alice), (mut bob, _bob)] = clients;
    alice.wait().expect("waiting for alice's end");
    assert!(bob.try_wait().expect("looking at bob").is_none());
    assert_eq!(authority.talk(&daemon, "alice", &session(|_| {})), refused());
    bob.kill().expect("ending bob");
    bob.wait().expect("waiting for bob's end");
    daemon.finish();
}

/// Accounts of this host, asked for with libpcap's client.
fn libpcaps_client(lab: &Lab, daemon: &Daemon, scheme: &str, good: &Account, locked: &Account) {
    let url = daemon.url("b0").replace("rpcap:", scheme);
    let client = |account: &Account, file: &Path| {
        let mut command = lab.peer("rpc-capture");
        command.args(["-U", &account.0, "-P", PASSWORD, "-c", "20", "-t", "60", "-w"]);
        Process::start(command.arg(file).arg(&url))
    };
    let file = lab.path("out.pcap");
    let mut refused = client(locked, &file);
    assert_eq!(refused.wait().code(), Some(1));
    assert!(refused.stderr().contains("Authentication failed"), "{}", refused.stderr());
    let mut client = client(good, &file);
    client.wait_for_line("ready linktype=1");
    let sent = frames(1..21);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    assert_frames("libpcap's file", &sent, &savefile::read(&file).packets);
    let line = daemon.process.wait_for_line("capture started");
    assert!(line.contains(&format!("user={:?} by=pam", good.0)), "{line}");
}

#[test]
fn d3_046_libpcaps_client_with_an_account_that_is_good_and_one_that_is_locked() {
    let Some(lab) = Lab::with_peers() else { return };
    if !accounts::can_be_made() {
        return;
    }
    // What is shipped, for Debian.
    let shipped = std::fs::read_to_string(workspace().join("packaging/pam/rpcapd"));
    let service = Service::saying(&shipped.expect("packaging/pam/rpcapd"));
    let good = Account::new();
    let locked = Account::changed(&["-L"]);
    let names = format!("{},{}", good.0, locked.0);
    let pam = ["--pam", "--pam-service", &service.0, "--pam-users", &names];
    let plain = Daemon::start_with(&lab, &[&pam[..], &["--allow-cleartext-passwords"]].concat());
    libpcaps_client(&lab, &plain, "rpcap:", &good, &locked);
    plain.finish();

    let mut init = Command::new(program("rpcapd"));
    run(init.args(["tls", "init", "--name", "localhost", "--directory"]).arg(lab.path("")));
    let file = |name: &str| lab.path(name).to_str().expect("a path of ours").to_owned();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let tls = ["--tls", "--tls-cert", &cert, "--tls-key", &key, "--user", "nobody"];
    let encrypted = Daemon::start_with(&lab, &[&pam[..], &tls].concat());
    libpcaps_client(&lab, &encrypted, "rpcaps:", &good, &locked);
    encrypted.finish();
}
