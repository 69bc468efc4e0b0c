//! The first bytes that a daemon with TLS gets.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, Options, command, for_the_daemon};
use crate::message as m;
use crate::peer::Peer;
use crate::savefile::{self, Packet};

const GREETING: [u8; 9] = [22, 3, 1, 0, 200, 1, 0, 0, 196];

/// A directory with a certificate and its key, that goes away.
pub(crate) struct Certificate(PathBuf);

impl Certificate {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("rpcapd-tls-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let certificate = Self(path);
        let output = certificate.init();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("SHA-256 fingerprint: "), "{said}");
        for_the_daemon(&certificate.file("key.pem"));
        certificate
    }

    fn init(&self) -> std::process::Output {
        let mut command = command();
        command.stdout(std::process::Stdio::piped());
        command.args(["tls", "init", "--name", "localhost", "--directory"]).arg(&self.0);
        command.output().unwrap()
    }

    /// A file beside them.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Puts others in their place.
    pub(crate) fn renew(&self) {
        for name in ["cert.pem", "key.pem"] {
            std::fs::remove_file(self.file(name)).unwrap();
        }
        assert!(self.init().status.success());
        for_the_daemon(&self.file("key.pem"));
    }

    pub(crate) fn daemon(&self, more: &[&str]) -> Daemon {
        self.daemon_with(savefile::burst(24), more)
    }

    /// With these packets to capture.
    pub(crate) fn daemon_with(&self, packets: Vec<Packet>, more: &[&str]) -> Daemon {
        let file = |name| self.0.join(name).to_str().unwrap().to_owned();
        let (cert, key) = (file("cert.pem"), file("key.pem"));
        let args = [&["--tls", "--tls-cert", &cert, "--tls-key", &key], more].concat();
        // The session that looks whether the daemon is well cannot do so without TLS.
        Daemon::with(Options { packets, args: &args, ..Options::default() }).guest(None)
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn d1_012_a_plain_auth_to_a_daemon_with_tls() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&[]);
    for (bytes, version) in
        [(m::auth(), 0), ([&[7][..], &m::auth()[1..]].concat(), 7), (m::msg(m::FINDALLIF, &[]), 0)]
    {
        let mut peer = Peer::connect(&daemon);
        peer.send(&bytes);
        let text = "TLS is required by this server".to_owned();
        assert_eq!(peer.error_of_version(19), (version, text));
        peer.gone();
    }
    daemon.logged_times(3, "session ended: the peer does not use TLS");
    daemon.finish();
}

#[test]
fn d1_013_a_handshake_that_is_never_finished() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&["--init-timeout", "1"]);
    let since = Instant::now();
    let mut peer = Peer::connect(&daemon);
    peer.send(&GREETING);
    peer.gone();
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(15), "{took:?}");
    daemon.logged_once("session ended: no authentication within the time allowed");
    daemon.finish();
}

#[test]
fn d1_013_handshakes_that_are_none() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&[]);
    for bytes in [
        // A record of another kind, one that is too long, a hello of nothing, and noise.
        [22, 3, 1, 0, 4, 99, 0, 0, 0].to_vec(),
        [22, 3, 3, 0xff, 0xff, 1].to_vec(),
        [22, 3, 1, 0, 4, 1, 0, 0, 0].to_vec(),
        [&[22][..], &[0x5a; 4_000]].concat(),
    ] {
        let mut peer = Peer::connect(&daemon);
        peer.send_what_is_taken(&bytes);
        peer.gone();
    }
    daemon.logged_times(4, "session ended: control connection: TLS: ");
    daemon.finish();
}

#[test]
fn d1_013_a_handshake_cut_off_at_every_byte() {
    let certificate = Certificate::new();
    let daemon = certificate.daemon(&[]);
    for length in 1..GREETING.len() {
        let mut peer = Peer::connect(&daemon);
        peer.send(&GREETING[..length]);
        drop(peer);
    }
    daemon.logged_times(GREETING.len() - 1, "session ended: control connection: ");
    daemon.finish();
}

#[test]
fn a_reload_of_garbage_changes_nothing() {
    let certificate = Certificate::new();
    let config = certificate.0.join("rpcapd.toml");
    std::fs::write(&config, "").unwrap();
    let daemon = certificate.daemon(&["-f", config.to_str().unwrap()]);
    std::fs::write(certificate.0.join("cert.pem"), "garbage").unwrap();
    daemon.signal(Signal::SIGHUP);
    let line = daemon.logged_once("configuration not changed");
    assert!(line.contains("there is no certificate in it"), "{line}");
    let mut peer = Peer::connect(&daemon);
    peer.send(&m::auth());
    peer.error_of_version(19);
    daemon.logged_once("session ended: the peer does not use TLS");
    daemon.finish();
}

/// Why a daemon does not start with these arguments.
fn fails(args: &[&str]) -> String {
    let output = command().args(["-b", "127.0.0.1", "-p", "0", "-n", "--tls"]).args(args).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[cfg(unix)]
#[test]
fn files_with_mistakes_start_nothing() {
    use std::os::unix::fs::PermissionsExt;

    let certificate = Certificate::new();
    let path = |name: &str| certificate.0.join(name).to_str().unwrap().to_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let both = |cert: &str, key: &str| fails(&["--tls-cert", cert, "--tls-key", key]);
    assert!(fails(&[]).contains("--tls needs --tls-cert and --tls-key"));
    assert!(both(&key, &key).contains("there is no certificate in it"));
    let nothing = path("nothing.pem");
    std::fs::write(&nothing, "garbage").unwrap();
    std::fs::set_permissions(&nothing, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(both(&cert, &nothing).contains("no key"));
    assert!(both("/no-such", &key).contains("/no-such: No such file"));
    assert!(both("/", &key).contains("/: not a file"));
    let other = Certificate::new();
    let others = other.0.join("key.pem");
    assert!(both(&cert, others.to_str().unwrap()).contains("cert.pem and "));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(both(&cert, &key).contains("chmod 640"));

    // Neither file is overwritten.
    let again = certificate.init();
    assert!(!again.status.success());
    assert!(String::from_utf8(again.stderr).unwrap().contains("key.pem: File exists"));
}
