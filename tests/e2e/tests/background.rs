//! `-d`: the daemon in the background.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::process::run;
use e2e::programs::program;
use e2e::{Client, Lab, Process, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

/// A daemon that its parent has left.
struct Background(Pid);

impl Background {
    /// The one whose number is in the lab's file.
    fn of(lab: &Lab) -> Self {
        let text = fs::read_to_string(lab.path("pid")).expect("the file with its number");
        Self(Pid::from_raw(text.trim().parse().expect("a number")))
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0)
    }

    /// Whether it is over, even if nobody has asked how it ended.
    fn is_over(&self) -> bool {
        fs::read_to_string(self.proc("stat")).map_or(true, |stat| stat.contains(") Z "))
    }

    fn end(&self, signal: Signal) {
        kill(self.0, signal).expect("it runs");
        wait_until("it ends", || self.is_over());
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

/// The command of a daemon in the background, started with a descriptor too many.
fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = lab.net.b.command("sh");
    command.args(["-c", r#"exec 9</etc/passwd && exec "$0" "$@""#]).arg(program("rpcapd"));
    command.args(["-d", "-n", "-p", "2002"]).args(arguments);
    command.arg("--pid-file").arg(lab.path("pid")).arg("--status-socket").arg(lab.path("status"));
    command
}

#[test]
fn it_leaves_what_it_was_started_with_and_its_file_with_the_process_number() {
    let Some(lab) = Lab::new() else { return };
    // Both its end and that of its output are waited for.
    Process::start(&mut command(&lab, &["-b", "127.0.0.1"])).wait_success();
    let daemon = Background::of(&lab);
    assert_eq!(fs::read_link(daemon.proc("cwd")).expect("its directory"), Path::new("/"));
    assert_eq!(getsid(Some(daemon.0)), Ok(daemon.0), "a session of its own");
    for fd in 0..3 {
        let open = fs::read_link(daemon.proc(&format!("fd/{fd}"))).expect("a descriptor");
        assert_eq!(open, Path::new("/dev/null"), "descriptor {fd}");
    }
    let open = fs::read_dir(daemon.proc("fd")).expect("its descriptors");
    for fd in open.flatten() {
        let open = fs::read_link(fd.path()).unwrap_or_default();
        assert_ne!(open, Path::new("/etc/passwd"), "it was inherited");
    }
    let address = "127.0.0.1:2002".parse().expect("an address");
    let mut client = Client::connect_from(&lab.net.b, address);
    assert_eq!(client.open("b0"), Ok(1));

    let mut second = Process::start(&mut command(&lab, &["-b", "127.0.0.2"]));
    assert_eq!(second.wait().code(), Some(1));
    let told = format!("a daemon runs already, as process {}", daemon.0);
    assert!(second.stderr().contains(&told), "{}", second.stderr());
    let mut status = Command::new(program("rpcapd"));
    let status = status.args(["status", "--json", "--status-socket"]).arg(lab.path("status"));
    assert!(run(status).contains(&format!("\"pid\": {}", daemon.0)));
    daemon.end(Signal::SIGTERM);
    assert!(!lab.path("pid").exists() && !lab.path("status").exists(), "files are left behind");
}

#[test]
fn it_takes_the_place_of_one_that_was_killed() {
    let Some(lab) = Lab::new() else { return };
    Process::start(&mut command(&lab, &["-b", "127.0.0.1"])).wait_success();
    let killed = Background::of(&lab);
    killed.end(Signal::SIGKILL);
    Process::start(&mut command(&lab, &["-b", "127.0.0.1"])).wait_success();
    let daemon = Background::of(&lab);
    assert_ne!(daemon.0, killed.0);
    daemon.end(Signal::SIGTERM);
    assert!(!lab.path("pid").exists());
}

#[test]
fn what_keeps_it_from_starting_reaches_the_terminal() {
    let Some(lab) = Lab::new() else { return };
    for (arguments, reason) in [
        (["-b", "192.0.2.1"], "listening on 192.0.2.1:2002"),
        (["-f", "/no/such/file"], "/no/such/file"),
        (["--replay", "x=here.pcap"], "must begin with /"),
    ] {
        let mut failed = Process::start(&mut command(&lab, &arguments));
        assert_eq!(failed.wait().code(), Some(1), "{arguments:?}");
        assert!(failed.stderr().contains(reason), "{arguments:?}: {}", failed.stderr());
        assert!(!lab.path("pid").exists(), "{arguments:?}");
    }
}
