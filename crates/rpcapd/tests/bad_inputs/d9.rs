//! Configuration and active mode.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, Directory, Options, command, wait};
use crate::message as m;
use crate::peer::Peer;

/// A configuration file that a daemon is started with.
struct File {
    path: PathBuf,
    _directory: Directory,
}

impl File {
    fn new(name: &str, content: impl AsRef<[u8]>) -> Self {
        let directory = Directory::new();
        Self { path: directory.write(name, content.as_ref()), _directory: directory }
    }

    fn write(&self, content: impl AsRef<[u8]>) {
        fs::write(&self.path, content).unwrap();
    }

    fn daemon(&self, null_auth: bool) -> Daemon {
        let args = ["-f", self.path.to_str().unwrap()];
        Daemon::with(Options { null_auth, args: &args, ..Options::default() })
    }
}

impl Daemon {
    /// Has it read its file again, for the `nth` time that this goes well, or that it does not.
    fn reload(&self, nth: usize, well: bool) -> String {
        self.signal(Signal::SIGHUP);
        let text = if well { "configuration read again" } else { "configuration not changed" };
        self.logged_nth(nth, text)
    }
}

/// The errors of a daemon that does not start with this file.
fn refused(path: &Path) -> Vec<String> {
    let mut child = command().args(["-b", "127.0.0.1", "-p", "0", "-f"]).arg(path).spawn().unwrap();
    let status = wait(&mut child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked") && !said.contains("listening"), "{said}");
    said.lines().filter(|l| l.contains(" ERROR ")).map(str::to_owned).collect()
}

#[test]
fn d9_116_a_broken_line_starts_nothing() {
    for line in ["ActiveClient", "ActiveClient=", "ActiveClient=h", "ActiveClient=h,"] {
        let file = File::new("c.ini", format!("NullAuthPermit = YES\n{line}\nActiveClient=,2003"));
        let errors = refused(&file.path);
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].contains("c.ini:2:") && errors[1].contains("c.ini:3:"), "{errors:?}");
    }
}

#[test]
fn d9_117_odd_files() {
    let hosts = "198.51.100.1;".repeat(1000);
    let file = File::new(
        "c.ini",
        format!("\u{feff}\tNullAuthPermit\t=\tYES\r\nPassiveClient = 127.0.0.1,{hosts}\r\n#"),
    );
    file.daemon(false).finish();
    let long = "PassiveClient = h\n".repeat((5 << 20) / 18);
    for (content, part) in [
        (b"PassiveClient = a\0b".as_slice(), "c.ini:1:18: "),
        (b"\n\xff\xfe", "c.ini:2:1: "),
        (&[b'x'; 10_000], "c.ini:1:1: "),
        (long.as_bytes(), "too long"),
    ] {
        let errors = refused(&File::new("c.ini", content).path);
        assert!(errors.len() == 1 && errors[0].contains(part), "{errors:?}");
        assert!(errors[0].len() < 500, "{errors:?}");
    }
}

#[test]
fn d9_118_a_preselection_that_makes_no_sense_starts_nothing() {
    for option in ["ifname=", "ifaddr=10.0.0.0/33", "ifaddr=::1/129", "ifaddr=x"] {
        let errors = refused(&File::new("c.ini", format!("ActiveClient = h, 1, {option}\n")).path);
        assert!(errors.len() == 1 && errors[0].contains("c.ini:1:16: "), "{errors:?}");
    }
}

#[test]
fn d9_119_only_yes_lets_clients_in_without_a_password() {
    let file = File::new("c.ini", "NullAuthPermit = yes\n");
    let daemon = file.daemon(false).guest(None);
    daemon.logged("c.ini:1:18: NullAuthPermit: taken for NO");
    let is_let_in = || {
        let mut peer = Peer::connect(&daemon);
        peer.send(&m::auth());
        peer.read().kind == m::AUTH | m::REPLY
    };
    assert!(!is_let_in());
    file.write("NullAuthPermit = YES");
    assert!(daemon.reload(1, true).contains("changed: null-auth;"));
    assert!(is_let_in());
    file.write("# NullAuthPermit = YES");
    daemon.reload(2, true);
    assert!(!is_let_in());
    file.write("NullAuthPermit = NO YES");
    daemon.reload(3, true);
    daemon.logged_times(2, "taken for NO");
    assert!(!is_let_in());
    daemon.finish();
}

#[test]
fn d9_119_who_came_without_a_password_goes_when_it_is_asked_for() {
    let file = File::new("c.toml", "null-auth = true\n");
    let daemon = file.daemon(false).guest(None);
    let mut nameless = Peer::accepted(&daemon);
    let mut late = Peer::connect(&daemon);
    daemon.logged_nth(2, "session started");
    file.write("null-auth = false\n");
    assert!(daemon.reload(1, true).contains("sessions ended: 1"));
    nameless.end();
    // Its session began when nobody had to have a password.
    late.send(&m::auth());
    late.authenticated();
    late.end();
    daemon.logged_times(2, "session ended: no longer wanted");
    daemon.finish();
}

/// A collector on a port of its own, and the daemon that calls it.
fn called(more: &str) -> (TcpListener, File, Daemon) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let file = File::new("c.toml", format!("active = '127.0.0.1,{port}'\n{more}"));
    let daemon = file.daemon(true);
    (listener, file, daemon)
}

#[test]
fn d9_120_collectors_that_want_nothing_are_called_after_a_pause() {
    let (listener, _file, daemon) = called("");
    let sends = [&[][..], &m::msg(m::ERROR, b"no"), &m::msg(m::CLOSE, &[])];
    let mut since = None;
    for bytes in sends {
        let mut peer = Peer::called(&listener);
        // At least a second, less what this side was late.
        let pause = since.map(|since: Instant| since.elapsed());
        assert!(pause.is_none_or(|pause| pause > Duration::from_millis(900)), "{pause:?}");
        peer.send(bytes);
        since = Some(Instant::now());
        drop(peer);
    }
    let mut peer = Peer::called(&listener);
    peer.authenticate();
    peer.in_sync();
    daemon.finish();
}

#[test]
fn d9_121_a_collector_that_closes_is_called_again_after_a_reload_only() {
    let (listener, _file, daemon) = called("");
    let mut peer = Peer::called(&listener);
    peer.authenticate();
    peer.send(&m::msg(m::CLOSE, &[]));
    peer.end();
    daemon.logged_once("dismissed by the collector");
    // Longer than the first pause between two calls.
    std::thread::sleep(Duration::from_secs(2));
    listener.set_nonblocking(true).unwrap();
    listener.accept().unwrap_err();
    listener.set_nonblocking(false).unwrap();
    let line = daemon.reload(1, true);
    assert!(line.contains("nothing changed; collectors: 1 new, 0 called no more"), "{line}");
    Peer::called(&listener).authenticate();
    daemon.finish();
}

#[test]
fn d9_123_a_file_that_does_not_load_changes_nothing() {
    let good = "allow = ['127.0.0.1', '127.0.0.2']\nmax-sessions = 3\n";
    let file = File::new("c.toml", good);
    let daemon = file.daemon(true);
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&m::Start::default());
    data.take(2);
    let mut failures = 0;
    let mut unchanged = |part: &str| {
        failures += 1;
        let line = daemon.reload(failures, false);
        assert!(line.contains(part) && line.contains("c.toml"), "{line}");
        Peer::from([127, 0, 0, 2].into(), daemon.address).authenticate();
    };
    fs::remove_file(&file.path).unwrap();
    unchanged("No such file");
    fs::create_dir(&file.path).unwrap();
    unchanged("not a directory");
    fs::remove_dir(&file.path).unwrap();
    nix::unistd::mkfifo(&file.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    unchanged("expected a file");
    fs::remove_file(&file.path).unwrap();
    for (content, part) in [
        ("allow = ['127.0.0.9']\nport = 'x'\n", "c.toml:2:8: "),
        ("allow = ['127.0.0.9']\nactive-only = true", "--active-only"),
        ("allow = ['127.0.0.9'", "c.toml:1:"),
        ("allow = []\nmax-sessions = -1\n", "and 1 more"),
    ] {
        file.write(content);
        unchanged(part);
    }
    file.write("allow = '127.0.0.1'\nmax-sessions = 3\n");
    let line = daemon.reload(1, true);
    assert!(line.contains("changed: allow;"), "{line}");
    Peer::from([127, 0, 0, 2].into(), daemon.address).error(10);
    data.take(2);
    peer.in_sync();
    daemon.finish();
}

#[test]
fn d9_123_without_a_file_there_is_nothing_to_read() {
    let daemon = Daemon::start();
    daemon.signal(Signal::SIGHUP);
    daemon.logged_once("there is no file to read again");
    daemon.finish();
}

#[test]
fn clients_that_may_connect_no_more_are_disconnected_and_no_others() {
    let file = File::new("c.toml", "allow = '127.0.0.0/8'\n");
    let daemon = file.daemon(true);
    let from = |last| {
        let mut peer = Peer::from([127, 0, 0, last].into(), daemon.address);
        peer.authenticate();
        peer.open();
        peer
    };
    let (mut stays, mut goes) = (from(1), from(2));
    let mut data = stays.capture(&m::Start::default());
    let _data = goes.capture(&m::Start::default());
    data.take(2);
    file.write("allow = '127.0.0.1'\n");
    let line = daemon.reload(1, true);
    assert!(line.contains("sessions ended: 1"), "{line}");
    goes.gone();
    daemon.logged_once("session ended: no longer wanted");
    data.take(2);
    stays.in_sync();
    daemon.finish();
}

#[test]
fn reloads_one_after_the_other_leave_nothing_behind() {
    let file = File::new("c.toml", "active = '127.0.0.1,1'\n");
    let daemon = file.daemon(true);
    daemon.logged("not reached");
    let mut peer = Peer::accepted(&daemon);
    daemon.reload(1, true);
    let uses = daemon.uses();
    for n in 0..50 {
        file.write(format!("active = ['127.0.0.1,{}', '127.0.0.1,{}']\n", n + 2, n + 3));
        daemon.reload(n + 2, true);
    }
    file.write("active = '127.0.0.1,1'\n");
    daemon.reload(52, true);
    daemon.back_to(uses);
    peer.in_sync();
    daemon.finish();
}
