//! Authentication by the system's accounts, against real ones. Making them needs root.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::accounts::{self, Account, Group, PASSWORD, Service};
use crate::daemon::{Daemon, Directory, Options, command, eventually};
use crate::message as m;
use crate::peer::Peer;

const FAILED: &str = "Authentication failed";
/// The steps in which refusals are answered.
const STEP: Duration = Duration::from_secs(2);

/// A daemon that lets these accounts in.
fn daemon_of(service: &Service, accounts: &[&Account], more: &[&str]) -> Daemon {
    let names: Vec<_> = accounts.iter().map(|a| a.0.as_str()).collect();
    let names = names.join(",");
    let pam = ["--pam", "--pam-service", &service.0, "--allow-cleartext-passwords"];
    let users = ["--pam-users", &names];
    let users = if names.is_empty() { &[][..] } else { &users };
    let args = [&pam[..], users, more].concat();
    Daemon::with(Options { args: &args, ..Options::default() })
}

/// An AUTH with this account's password.
fn login(account: &Account) -> Vec<u8> {
    m::login(account.0.as_bytes(), PASSWORD.as_bytes())
}

/// A connection from an address of its own, so that no other's refusals count.
fn stranger(daemon: SocketAddr) -> Peer {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, _, a, b] = NEXT.fetch_add(1, Relaxed).to_be_bytes();
    Peer::from([127, 1, a, b].into(), daemon)
}

fn let_in(daemon: &Daemon, account: &Account) {
    let mut peer = stranger(daemon.address);
    peer.send(&login(account));
    peer.authenticated();
    peer.in_sync();
}

/// How long this is refused for.
fn refused(daemon: &Daemon, request: &[u8]) -> Duration {
    refused_at(daemon.address, request)
}

fn refused_at(daemon: SocketAddr, request: &[u8]) -> Duration {
    let mut peer = stranger(daemon);
    peer.send(request);
    let since = Instant::now();
    assert_eq!(peer.error(18), FAILED);
    since.elapsed()
}

#[test]
fn an_account_of_the_system_comes_in() {
    if !accounts::can_be_made() {
        return;
    }
    let (service, account, other) = (Service::new(), Account::new(), Account::new());
    let daemon = daemon_of(&service, &[&account], &[]);
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::login(account.0.as_bytes(), b"wrong"));
    assert_eq!(peer.error(18), FAILED);
    // The second that a refusal costs is not over.
    peer.send(&login(&account));
    peer.authenticated();
    peer.in_sync();
    let line = daemon.logged_once("client accepted");
    assert!(line.contains(&format!("user={:?} by=pam", account.0)), "{line}");
    refused(&daemon, &login(&other));
    daemon.logged_once("neither --pam-users nor --pam-groups has this account");
    daemon.finish();
}

#[test]
fn d3_046_accounts_that_may_not_be_used() {
    if !accounts::can_be_made() {
        return;
    }
    let service = Service::new();
    let locked = Account::changed(&["-L"]);
    let unsupported = Account::changed(&["-p", "$9$abcdefgh$abcdefghijklmnop"]);
    let no_password = Account::changed(&["-p", ""]);
    let expired = Account::aged(&["-E", "0"]);
    let old = Account::aged(&["-d", "0"]);
    let good = Account::new();
    let all = [&locked, &unsupported, &no_password, &expired, &old, &good];
    let daemon = daemon_of(&service, &all, &[]);
    for account in [&locked, &unsupported, &no_password, &expired, &old] {
        refused(&daemon, &login(account));
        refused(&daemon, &m::login(account.0.as_bytes(), b"wrong"));
    }
    refused(&daemon, &m::login(no_password.0.as_bytes(), b""));
    daemon.logged_times(2, "the account is locked or has expired, or its password has");
    daemon.logged_times(9, "PAM does not take the name and the password");
    let_in(&daemon, &good);
    daemon.finish();
}

#[test]
fn d3_045_names_and_passwords_that_are_wrong_look_the_same() {
    if !accounts::can_be_made() {
        return;
    }
    let (service, account, other) = (Service::new(), Account::new(), Account::new());
    let expired = Account::aged(&["-E", "0"]);
    let daemon = daemon_of(&service, &[&account, &expired], &[]);
    let wrong = |name: &str| m::login(name.as_bytes(), b"wrong");
    let requests = [
        wrong(&account.0),
        wrong("rpcapd-no-such-account"),
        wrong("root"),
        login(&other),
        login(&expired),
        wrong("\u{e4}"),
        m::login(b"\xff", b"wrong"),
    ];
    // The fastest of three tells, on a host that is busy with other tests.
    let address = daemon.address;
    let fastest = |request| (0..3).map(|_| refused_at(address, request)).min().unwrap();
    let times: Vec<_> = thread::scope(|scope| {
        let all: Vec<_> = requests.iter().map(|r| scope.spawn(|| fastest(r))).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for time in &times {
        let most = STEP + Duration::from_millis(300);
        assert!(*time > STEP - Duration::from_millis(50) && *time < most, "{times:?}");
    }
    daemon.finish();
}

#[test]
fn d3_040_to_042_what_never_reaches_pam() {
    if !accounts::can_be_made() {
        return;
    }
    // Whoever gets to PAM is let in by it.
    let service = Service::saying("auth required pam_permit.so\naccount required pam_permit.so\n");
    let account = Account::new();
    let daemon = daemon_of(&service, &[&account], &[]);
    let name = account.0.as_bytes();
    let long = [b'A'; 32_000];
    for (user, password) in [
        (&b""[..], &b""[..]),
        (&[name, b"\0x"].concat(), b"x"),
        (&[name, b"\n"].concat(), b"x"),
        (name, b"x\0y"),
        (&long, b"x"),
        (name, &long),
    ] {
        refused(&daemon, &m::login(user, password));
    }
    daemon.logged_times(6, "no name and password that could be somebody's");
    let_in(&daemon, &account);
    daemon.finish();
}

#[test]
fn modules_that_hang_crash_or_start_others_are_ended() {
    if !accounts::can_be_made() {
        return;
    }
    let (hangs, crashes, good) = (Account::new(), Account::new(), Account::new());
    let directory = Directory::new();
    let mark = directory.write("mark", b"");
    let script = format!(
        "#!/bin/sh\ncase $PAM_USER in\n{}) sleep 300 & echo $! >{}; wait;;\n{}) kill -9 $PPID;;\nesac\n",
        hangs.0,
        mark.display(),
        crashes.0
    );
    let script = directory.write("module", script.as_bytes());
    let service = Service::saying(&format!(
        "auth required pam_exec.so /bin/sh {}\nauth required pam_unix.so\n\
         account required pam_unix.so\n",
        script.display()
    ));
    let daemon = daemon_of(&service, &[&hangs, &crashes, &good], &[]);
    refused(&daemon, &login(&crashes));
    daemon.logged_once("a module of PAM ended the process that asked it");
    let_in(&daemon, &good);
    let mut peer = stranger(daemon.address);
    peer.send(&login(&hangs));
    let since = Instant::now();
    // Who needs no PAM is not held up.
    Peer::accepted(&daemon).in_sync();
    assert!(since.elapsed() < Duration::from_secs(5));
    assert_eq!(peer.error(18), FAILED);
    let took = since.elapsed();
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(15), "{took:?}");
    daemon.logged_once("PAM did not answer in time");
    let_in(&daemon, &good);
    let left: i32 = fs::read_to_string(mark).unwrap().trim().parse().unwrap();
    eventually("what the module started is gone", || !is_alive(left));
    daemon.finish();
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn groups_rights_and_the_file_of_users() {
    if !accounts::can_be_made() {
        return;
    }
    let (service, member, named, stranger) =
        (Service::new(), Account::new(), Account::new(), Account::new());
    let both = Account::new();
    let group = Group::of(&[&member, &named, &both]);
    let directory = Directory::new();
    let users = directory.write("users", b"");
    fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let add = |args: &[&str], input: &str| {
        let mut command = command();
        command.args(["user", "add"]).args(args).arg("--users").arg(&users);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    };
    add(&[&named.0, "--pam", "--snaplen", "40"], "");
    add(&["*", "--pam", "--devices", "nothing*"], "");
    add(&[&both.0], "another\n");
    let users = users.to_str().unwrap();
    let daemon = daemon_of(&service, &[], &["--pam-groups", &group.0, "--users", users]);

    let mut peer = self::stranger(daemon.address);
    peer.send(&login(&named));
    peer.authenticated();
    peer.open();
    peer.capture(&m::Start::default());
    let line = daemon.logged_once("capture started");
    assert!(line.contains(&format!("user={:?} by=pam", named.0)), "{line}");
    assert!(line.contains("snaplen=40"), "{line}");

    let mut peer = self::stranger(daemon.address);
    peer.send(&login(&member));
    peer.authenticated();
    peer.send(&m::open("demo0"));
    peer.error(6);
    refused(&daemon, &login(&stranger));
    // The file has this one, so the account's password is nothing.
    refused(&daemon, &login(&both));
    daemon.logged_once("password refused: wrong password");
    let mut peer = self::stranger(daemon.address);
    peer.send(&m::login(both.0.as_bytes(), b"another"));
    peer.authenticated();
    daemon.finish();
}

/// The helper's process number.
fn helper(daemon: &Daemon) -> i32 {
    daemon.children().trim().parse().unwrap()
}

#[test]
fn the_helper_has_nothing_of_the_daemon_and_ends_with_it() {
    if !accounts::can_be_made() {
        return;
    }
    let (service, account) = (Service::new(), Account::new());
    let daemon = daemon_of(&service, &[&account], &["--user", "nobody"]);
    let helper = helper(&daemon);
    let open: Vec<_> = fs::read_dir(format!("/proc/{helper}/fd"))
        .unwrap()
        .map(|fd| fs::read_link(fd.unwrap().path()).unwrap().display().to_string())
        .collect();
    let sockets = open.iter().filter(|o| o.starts_with("socket:")).count();
    let null = open.iter().filter(|o| *o == "/dev/null").count();
    assert_eq!((sockets, null, open.len()), (1, 3, 4), "{open:?}");
    assert_eq!(fs::read(format!("/proc/{helper}/environ")).unwrap().split(|b| *b == 0).count(), 2);
    // The daemon is nobody, and still has root's word on a password.
    let_in(&daemon, &account);
    // Signals are for the daemon.
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        kill(Pid::from_raw(helper), signal).unwrap();
    }
    let_in(&daemon, &account);
    daemon.finish();
    eventually("the helper is gone", || !is_alive(helper));
}

#[test]
fn without_its_helper_nobody_comes_in_and_the_daemon_goes_on() {
    if !accounts::can_be_made() {
        return;
    }
    let (service, account) = (Service::new(), Account::new());
    let daemon = daemon_of(&service, &[&account], &[]);
    kill(Pid::from_raw(helper(&daemon)), Signal::SIGKILL).unwrap();
    refused(&daemon, &login(&account));
    daemon.logged_once("the helper that asks PAM is gone: restart the daemon");
    daemon.finish();
}

/// What a daemon says that does not start.
fn fails(args: &[&str]) -> String {
    let output = command().args(["-b", "127.0.0.1", "-p", "0"]).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn mistakes_start_nothing() {
    assert!(fails(&["--pam"]).contains("--pam lets nobody in: name accounts with --pam-users"));
    assert!(fails(&["--pam-users", "alice"]).contains("which is not given"));
    let missing = fails(&["--pam", "--pam-users", "a", "--pam-service", "rpcapd-no-such"]);
    assert!(missing.contains("there is no /etc/pam.d/rpcapd-no-such"), "{missing}");
    // The hidden command is for the daemon only.
    let output = command().args(["pam-helper", "--service", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("for the daemon only"));
}
