//! A Windows of a test's own, as far as Wine is one.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, Ledger};
use crate::process::run;
use crate::{Lab, skip};

const WINE: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver64";

/// Wine in namespace `b`, and the programs built for it.
#[derive(Debug)]
pub struct Wine<'a> {
    /// Where it is.
    pub lab: &'a Lab,
    programs: PathBuf,
    prefix: PathBuf,
}

impl<'a> Wine<'a> {
    /// One that is ready; `None` if it is not to be had, which is said. `RPCAP_WINDOWS` is the
    /// directory of `scripts/windows`.
    #[track_caller]
    pub fn start(lab: &'a Lab) -> Option<Self> {
        Self::start_with(lab, "-all")
    }

    /// The same, and what `WINEDEBUG` makes Wine's services say goes to the lab's `session.log`.
    #[track_caller]
    pub fn start_with(lab: &'a Lab, debug: &str) -> Option<Self> {
        let directory = env::var_os("RPCAP_WINDOWS").filter(|v| !v.is_empty());
        let Some(programs) = directory.map(PathBuf::from) else {
            skip("no programs for Windows: RPCAP_WINDOWS, which scripts/windows prints");
            return None;
        };
        let environment = fs::read_to_string(programs.join("env")).expect("what Wine needs");
        let template = environment.lines().find_map(|line| line.strip_prefix("WINEPREFIX="));
        let template = PathBuf::from(template.expect("a prefix"));
        let prefix = lab.path("prefix");
        copy(&template, &prefix);
        let wine = Self { lab, programs, prefix };
        // The server has what this has, and services what the first program has: no pipes, or
        // whoever reads them waits for Wine to end.
        let mut server = wine.bare(SERVER);
        server.arg("-p").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(server.status().expect("starting wineserver").success());
        let log = File::create(lab.path("session.log")).expect("a log");
        let status = wine
            .command("cmd", &["/c", "exit"])
            .env("WINEDEBUG", debug)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status();
        assert!(status.expect("starting wine").success());
        Some(wine)
    }

    fn bare(&self, program: &str) -> Command {
        let mut command = self.lab.net.b.command(program);
        // winedbg: a program that crashed would end with 0. mscoree, mshtml: nobody is to be asked to
        // install Mono and Gecko.
        command.env("WINEPREFIX", &self.prefix).env("WINEARCH", "win64");
        command.env("WINEDEBUG", "-all").env("WINEDLLOVERRIDES", "mscoree,mshtml,winedbg.exe=");
        command
    }

    /// A program of Windows.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.bare(WINE);
        command.arg(program).args(arguments);
        command
    }

    /// What a program of Windows prints; it must succeed.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        run(&mut self.command(program, arguments)).replace('\r', "")
    }

    /// One of our programs, built for Windows.
    pub fn ours(&self, program: &str, arguments: &[&str]) -> Command {
        let program = self.programs.join(program);
        self.command(program.to_str().expect("a path of ours"), arguments)
    }

    /// The daemon, listening on a free port of 127.0.0.1, with these arguments.
    #[track_caller]
    pub fn daemon(&self, arguments: &[&str]) -> Daemon {
        let mut command = self.ours("rpcapd.exe", &["-b", "127.0.0.1", "-p", "0"]);
        Daemon::run(self.lab, command.args(arguments), 1)
    }

    /// The daemon, calling.
    #[track_caller]
    pub fn calling(&self, arguments: &[&str]) -> Daemon {
        let mut command = self.ours("rpcapd.exe", &["-n", "-v"]);
        Daemon::run(self.lab, command.args(arguments), 0)
    }

    /// A path of Linux as Windows has it.
    pub fn path(&self, path: impl AsRef<Path>) -> String {
        format!("Z:{}", path.as_ref().display()).replace('/', r"\")
    }

    /// Where Windows' `C:\` is.
    pub fn drive(&self) -> PathBuf {
        self.prefix.join("drive_c")
    }
}

impl Drop for Wine<'_> {
    fn drop(&mut self) {
        let _ = self.bare(SERVER).arg("-k").status();
        let _ = self.bare(SERVER).arg("-w").status();
    }
}

/// Ends a daemon under Wine, where an interrupt arrives as Ctrl-C. Returns the captures' ledgers.
#[track_caller]
pub fn finish(daemon: Daemon) -> Vec<Ledger> {
    daemon.finish_by(Signal::SIGINT)
}

/// Copies a prefix. Files that Wine does not write to, which is nearly all of it, are shared where
/// that can be.
fn copy(template: &Path, prefix: &Path) {
    let linked = Command::new("cp").arg("-al").args([template, prefix]).output();
    if linked.is_ok_and(|output| output.status.success()) {
        for name in ["system.reg", "user.reg", "userdef.reg"] {
            fs::remove_file(prefix.join(name)).expect("a registry");
            fs::copy(template.join(name), prefix.join(name)).expect("a registry");
        }
        return;
    }
    // Another file system.
    let _ = fs::remove_dir_all(prefix);
    run(Command::new("cp").arg("-a").args([template, prefix]));
}
