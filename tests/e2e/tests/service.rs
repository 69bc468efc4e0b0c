//! The daemon as a service of its host: where its log goes.

use std::fs::{self, File};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use e2e::programs::program;
use e2e::{Lab, PATIENCE, Process, wait_until};
use nix::sys::signal::Signal;

/// Options that every daemon here has.
const PLAIN: [&str; 9] =
    ["-n", "-b", "127.0.0.1", "-p", "0", "--status-socket", "none", "--user", "nobody"];

#[test]
fn the_log_as_json_is_an_object_a_line() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = Process::start(
        lab.net.b.command(program("rpcapd")).args(PLAIN).args(["--log-format", "json"]),
    );
    daemon.wait_for_line("listening on ");
    daemon.signal(Signal::SIGTERM);
    daemon.wait_success();
    let log = daemon.stderr();
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(event["message"].is_string() && event["timestamp"].is_string(), "{line}");
        assert_eq!(event["level"], "INFO");
    }
    assert!(log.lines().count() >= 2, "{log}");
}

#[test]
fn levels_leave_out_what_is_below_them() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = Process::start(
        lab.net
            .b
            .command(program("rpcapd"))
            .args(PLAIN)
            .args(["--log-level", "warn"])
            .args(["-a", "127.0.0.1,1"]),
    );
    daemon.wait_for_line("not reached");
    daemon.signal(Signal::SIGTERM);
    daemon.wait_success();
    assert!(!daemon.said().contains("INFO"), "{}", daemon.said());
}

#[test]
fn lines_for_the_journal_have_no_time_of_their_own() {
    let Some(lab) = Lab::new() else { return };
    // A file stands in for the journal's stream.
    let path = lab.path("journal");
    let file = File::create(&path).expect("a file");
    let stream = file.metadata().map(|m| format!("{}:{}", m.dev(), m.ino())).expect("its number");
    let mut child = lab
        .net
        .b
        .command(program("rpcapd"))
        .args(PLAIN)
        .env("JOURNAL_STREAM", stream)
        .stdin(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("starting rpcapd");
    wait_until("it logs", || fs::read_to_string(&path).is_ok_and(|t| t.contains("listening on")));
    child.kill().expect("ending it");
    child.wait().expect("its end");
    let log = fs::read_to_string(&path).expect("the log");
    assert!(log.lines().all(|line| line.trim_start().starts_with("INFO ")), "{log}");
}

/// A daemon that finds `socket` where the system's log is, in a mount namespace of its own.
fn logging_to(lab: &Lab, directory: &str, target: &str) -> Process {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", r#"mount --bind "$0" "$1" && shift && exec "$@""#]);
    command.arg(lab.path("log")).arg(directory).arg(program("rpcapd"));
    Process::start(command.args(PLAIN).args(["--debug", &format!("--log={target}")]))
}

fn receive(socket: &UnixDatagram, pattern: &str) -> String {
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    loop {
        let mut buf = [0; 4096];
        let n = socket.recv(&mut buf).expect("a line of the log");
        let line = String::from_utf8_lossy(&buf[..n]).into_owned();
        if line.contains(pattern) {
            return line;
        }
    }
}

#[test]
fn syslog_gets_lines_with_facility_and_severity() {
    let Some(lab) = Lab::new() else { return };
    fs::create_dir(lab.path("log")).expect("a directory");
    let socket = UnixDatagram::bind(lab.path("log/log")).expect("a socket");
    let mut daemon = logging_to(&lab, "/dev", "local1");
    let line = receive(&socket, "listening on ");
    // 17 * 8 + 6: local1, informational.
    let start = format!("<142>rpcapd[{}]: listening on 127.0.0.1:", daemon.pid());
    assert!(line.starts_with(&start), "{line}");
    // As in the foreground it should.
    daemon.wait_for_line("listening on ");
    // A log that is away for a while gets what comes afterwards. Children of other tests have the
    // socket too, until they run their program.
    socket.shutdown(Shutdown::Both).expect("its end");
    drop(socket);
    fs::remove_file(lab.path("log/log")).expect("removing a socket");
    let socket = UnixDatagram::bind(lab.path("log/log")).expect("a socket");
    // As a system's log is: the daemon is somebody else's.
    let everybody = fs::Permissions::from_mode(0o666);
    fs::set_permissions(lab.path("log/log"), everybody).expect("its mode");
    daemon.signal(Signal::SIGTERM);
    receive(&socket, "SIGTERM: ending");
    daemon.wait_success();
}

#[test]
fn the_journal_gets_lines_with_a_priority() {
    let Some(lab) = Lab::new() else { return };
    fs::create_dir_all(lab.path("log/systemd/journal")).expect("a directory");
    let socket = UnixDatagram::bind(lab.path("log/systemd/journal/socket")).expect("a socket");
    let mut daemon = logging_to(&lab, "/run", "journald");
    let line = receive(&socket, "listening on ");
    for part in ["PRIORITY=6\n", "SYSLOG_IDENTIFIER=rpcapd\n", "\nMESSAGE=listening on 127.0.0.1:"]
    {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
    daemon.signal(Signal::SIGTERM);
    daemon.wait_success();
    assert_eq!(daemon.said(), "", "the journal has it");
}

#[test]
fn a_log_that_is_not_there_is_told_and_standard_error_takes_its_place() {
    let Some(lab) = Lab::new() else { return };
    fs::create_dir(lab.path("log")).expect("a directory");
    let daemon = logging_to(&lab, "/run", "journald");
    daemon.wait_for_line("log: /run/systemd/journal/socket: ");
    daemon.wait_for_line("listening on ");
}
