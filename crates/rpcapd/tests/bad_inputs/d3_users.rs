//! Authentication by password, against a file of users.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, Options, command, for_the_daemon};
use crate::message::{self as m, Start};
use crate::peer::Peer;
use crate::savefile;

const FAILED: &str = "Authentication failed";

/// A file of users that goes away.
struct Users(PathBuf);

impl Users {
    /// With alice, whose password is "secret" and who may do this.
    fn new(rights: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("rpcapd-{}-{n}.users", std::process::id()));
        let users = Self(path);
        users.run(&[&["add", "alice"], rights].concat(), "secret\n");
        users
    }

    /// What `rpcapd user` says.
    fn run(&self, args: &[&str], input: &str) -> String {
        let mut command = command();
        command.arg("user").args(args).arg("--users").arg(&self.0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A daemon that lets in those who are in the file, over connections that are not encrypted.
    fn daemon(&self) -> Daemon {
        let path = self.0.to_str().unwrap();
        let args = ["--users", path, "--allow-cleartext-passwords"];
        let other = savefile::bytes(&savefile::burst(24));
        Daemon::with(Options { args: &args, devices: &[("other0", other)], ..Options::default() })
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A connection from this address.
fn connect_from(daemon: &Daemon, from: [u8; 4]) -> Peer {
    Peer::from(from.into(), daemon.address)
}

#[test]
fn the_right_password_lets_in() {
    let users = Users::new(&[]);
    let daemon = users.daemon();
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::login(b"alice", b"secret"));
    peer.authenticated();
    peer.in_sync();
    daemon.logged_once("client accepted");
    daemon.finish();
}

#[test]
fn d3_039_five_bytes_too_many_for_somebody() {
    let users = Users::new(&[]);
    let daemon = users.daemon();
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::auth_claiming(1, 5, 6, b"alicesecret\0\x09\0\0\0"));
    peer.authenticated();
    peer.in_sync();
    daemon.finish();
}

#[test]
fn d3_041_what_comes_after_a_nul_counts() {
    let users = Users::new(&[]);
    let daemon = users.daemon();
    let mut peer = Peer::connect(&daemon);
    for (name, password) in [(&b"alice\0x"[..], &b"secret"[..]), (b"alice", b"secret\0x")] {
        peer.send(&m::login(name, password));
        assert_eq!(peer.error(18), FAILED);
    }
    daemon.logged_times(2, "no name and password that could be somebody's");
    daemon.finish();
}

#[test]
fn d3_045_unknown_users_and_wrong_passwords_look_the_same() {
    let users = Users::new(&[]);
    let daemon = users.daemon();
    let time = |name: &[u8], host: u8| {
        let mut peer = connect_from(&daemon, [127, 0, 7, host]);
        peer.send(&m::login(name, b"wrong"));
        let since = Instant::now();
        assert_eq!(peer.error(18), FAILED);
        since.elapsed()
    };
    let [mut unknown, mut wrong] = [Vec::new(), Vec::new()];
    for host in 0..25 {
        unknown.push(time(b"bob", 1 + host));
        wrong.push(time(b"alice", 101 + host));
    }
    unknown.sort();
    wrong.sort();
    // Each median lies well within what the other one's half takes.
    let (unknown, wrong) = (&unknown[5..20], &wrong[5..20]);
    let within = |t: &Duration, range: &[Duration]| {
        *t > range[0].mul_f64(0.7) && *t < range[14].mul_f64(1.4)
    };
    assert!(within(&unknown[7], wrong) && within(&wrong[7], unknown), "{unknown:?} {wrong:?}");
    daemon.logged_times(25, "unknown user");
    daemon.logged_times(25, "wrong password");
    daemon.finish();
}

#[test]
fn d3_047_a_hundred_tries_on_one_connection() {
    let users = Users::new(&[]);
    let daemon = users.daemon();
    let since = Instant::now();
    let mut peer = Peer::connect(&daemon);
    peer.send_what_is_taken(&m::login(b"alice", b"wrong").repeat(100));
    for _ in 0..10 {
        assert_eq!(peer.error(18), FAILED);
    }
    assert!(since.elapsed() > Duration::from_secs(8), "a second each");
    peer.gone();
    daemon.logged_once("session ended: too many failed authentications");
    daemon.logged("password refused: too many refusals from this address");
    daemon.finish();
}

#[test]
fn d3_047_many_connections_at_once() {
    let users = Users::new(&[]);
    let daemon = users.daemon();
    let mut peers: Vec<_> = (0..40).map(|_| connect_from(&daemon, [127, 0, 8, 1])).collect();
    for peer in &mut peers {
        peer.send(&m::login(b"alice", b"wrong"));
    }
    for peer in &mut peers {
        assert_eq!(peer.error(18), FAILED);
    }
    daemon.logged_times(5, "password refused: wrong password");
    daemon.logged("password refused: too many refusals from this address");
    let mut same = connect_from(&daemon, [127, 0, 8, 1]);
    same.send(&m::login(b"alice", b"secret"));
    assert_eq!(same.error(18), FAILED);
    let mut other = connect_from(&daemon, [127, 0, 8, 2]);
    other.send(&m::login(b"alice", b"secret"));
    other.authenticated();
    other.in_sync();
    daemon.finish();
}

#[test]
fn passwords_that_others_can_read_are_not_taken() {
    let users = Users::new(&[]);
    let daemon = Daemon::with_args(&["--users", users.0.to_str().unwrap()]);
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::login(b"alice", b"secret"));
    let text = "Authentication failed; passwords are taken over encrypted connections only";
    assert_eq!(peer.error(18), text);
    daemon.logged_once("password refused: the connection is not encrypted");
    daemon.finish();
}

#[test]
fn users_have_what_they_may_have() {
    let users = Users::new(&["--devices", "other*", "--snaplen", "40"]);
    let daemon = users.daemon();
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::login(b"alice", b"secret"));
    peer.authenticated();
    peer.send(&m::open("demo0"));
    assert!(peer.error(6).contains("No such device exists"));
    daemon.logged("No such device exists");
    peer.send(&m::open("other0"));
    peer.reply(m::OPEN);
    let mut data = peer.capture(&Start::default());
    assert!(data.take(24).iter().all(|packet| packet.data.len() == 40));
    peer.endcap();
    drop(peer);
    // Who, from where, which device and filter, how long, how many packets.
    let started = daemon.logged_once("capture started");
    assert!(
        started.contains("user=\"alice\" by=password device=\"other0\" snaplen=40"),
        "{started}"
    );
    assert!(started.contains("program=\"(000) ret #262144\""), "{started}");
    let ended = daemon.logged_once("user=\"alice\" by=password seconds=");
    assert!(ended.contains("captures=1 packets=24"), "{ended}");
    daemon.finish();
}

#[test]
fn users_are_added_changed_listed_and_removed() {
    let users = Users::new(&[]);
    users.run(&["add", "bob", "--filter", "tcp"], "another\r\n");
    assert_eq!(users.run(&["list"], ""), "alice by=password\nbob by=password filter=\"tcp\"\n");
    users.run(&["add", "alice", "--snaplen", "96"], "new\n");
    users.run(&["remove", "bob"], "");
    assert_eq!(users.run(&["list"], ""), "alice by=password snaplen=96\n");
    let daemon = users.daemon();
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::login(b"alice", b"secret"));
    assert_eq!(peer.error(18), FAILED);
    daemon.logged_once("password refused: wrong password");
    peer.send(&m::login(b"alice", b"new"));
    peer.authenticated();
    daemon.finish();
}

#[test]
fn a_user_who_is_removed_is_ended_by_a_reload() {
    let users = Users::new(&[]);
    users.run(&["add", "bob"], "other\n");
    for_the_daemon(&users.0);
    let daemon = users.daemon();
    let [mut alice, mut bob] = [Peer::connect(&daemon), Peer::connect(&daemon)];
    // Its session begins before the reload.
    let slow = Peer::connect(&daemon);
    daemon.logged_nth(3, "session started");
    alice.send(&m::login(b"alice", b"secret"));
    alice.authenticated();
    bob.send(&m::login(b"bob", b"other"));
    bob.authenticated();
    users.run(&["remove", "alice"], "");
    daemon.signal(Signal::SIGHUP);
    alice.gone();
    daemon.logged_once("sessions ended: 1");
    bob.in_sync();
    for mut late in [slow, Peer::connect(&daemon)] {
        late.send(&m::login(b"alice", b"secret"));
        assert_eq!(late.error(18), FAILED);
    }
    daemon.logged_times(2, "unknown user");
    daemon.finish();
}
