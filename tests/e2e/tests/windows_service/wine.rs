//! A Windows of a test's own, as far as Wine is one.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::process::run;
use e2e::{Lab, Process, skip, wait_until};

const WINE: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver64";

/// What events are in Wine: traces of whoever reports them.
const EVENTS: &str = "-all,err+eventlog,warn+eventlog,trace+eventlog";

/// Wine, with the programs built for it.
pub(crate) struct Wine<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) programs: PathBuf,
    prefix: PathBuf,
}

impl<'a> Wine<'a> {
    /// `RPCAP_WINDOWS` is the directory of the programs, whose file `env` names a prefix to copy.
    pub(crate) fn start(lab: &'a Lab) -> Option<Self> {
        let Some(programs) = env::var_os("RPCAP_WINDOWS").map(PathBuf::from) else {
            eprintln!("SKIPPED: scripts/test runs this with the programs for Windows");
            return None;
        };
        let environment = fs::read_to_string(programs.join("env")).expect("what Wine needs");
        let template = environment.lines().find_map(|line| line.strip_prefix("WINEPREFIX="));
        let template = Path::new(template.expect("a prefix"));
        if !Path::new(WINE).exists() {
            skip("wine64 is not installed");
            return None;
        }
        let prefix = lab.path("prefix");
        // Files that Wine does not write to are shared.
        run(Command::new("cp").arg("-al").arg(template).arg(&prefix));
        for name in ["system.reg", "user.reg", "userdef.reg"] {
            fs::remove_file(prefix.join(name)).expect("a registry");
            fs::copy(template.join(name), prefix.join(name)).expect("a registry");
        }
        let wine = Self { lab, programs, prefix };
        // The server has what this has, and services what the first program has: no pipes.
        let mut server = wine.bare(SERVER, &["-p"]);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(server.status().expect("starting wineserver").success());
        let log = File::create(lab.path("session.log")).expect("a log");
        let status = wine
            .bare(WINE, &["cmd", "/c", "exit"])
            .env("WINEDEBUG", EVENTS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status();
        assert!(status.expect("starting wine").success());
        Some(wine)
    }

    fn bare(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.lab.net.b.command(program);
        command.args(arguments).env("WINEPREFIX", &self.prefix).env("WINEARCH", "win64");
        command.env("WINEDEBUG", "-all").env("WINEDLLOVERRIDES", "mscoree,mshtml,winedbg.exe=");
        command
    }

    /// A program of Windows.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.bare(WINE, &[program]);
        command.args(arguments);
        command
    }

    /// What a program of Windows prints; it must succeed.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        run(&mut self.command(program, arguments)).replace('\r', "")
    }

    /// The daemon, built for Windows.
    pub(crate) fn rpcapd(&self, arguments: &[&str]) -> Command {
        let program = self.programs.join("rpcapd.exe");
        self.command(program.to_str().expect("a path of ours"), arguments)
    }

    /// What a service's command prints; it must succeed.
    #[track_caller]
    pub(crate) fn service(&self, arguments: &[&str]) -> String {
        run(self.rpcapd(&["service"]).args(arguments)).replace('\r', "")
    }

    /// What a service's command says of why it fails.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let mut process = Process::start(self.rpcapd(&["service"]).args(arguments));
        assert!(!process.wait().success(), "{}", process.said());
        process.stderr()
    }

    /// A key of the registry below HKLM\SYSTEM\CurrentControlSet\Services, if it is there.
    pub(crate) fn registry(&self, key: &str) -> Option<String> {
        let key = format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{key}");
        let output = self.command("reg", &["query", &key]).output().expect("starting reg");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).replace('\r', ""))
    }

    /// What the service manager says of a service's state.
    pub(crate) fn state(&self) -> String {
        let text = self.run("sc", &["query", "rpcapd"]);
        let line = text.lines().find(|line| line.contains("STATE")).expect("a state");
        line.split_whitespace().last().expect("a word").to_owned()
    }

    /// Events so far.
    pub(crate) fn events(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.lab.path("session.log")).expect("the log"))
            .into_owned()
    }

    /// Waits for an event of this kind, "trace", "warn" or "err", that contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_event(&self, kind: &str, text: &str) {
        let start = format!(":{kind}:eventlog:ReportEventW");
        let is_it = |line: &str| line.contains(&start) && line.contains(text);
        wait_until(&format!("{kind} {text}"), || self.events().lines().any(is_it));
    }

    /// Where Windows' `C:\` is.
    pub(crate) fn drive(&self) -> PathBuf {
        self.prefix.join("drive_c")
    }
}

impl Drop for Wine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- events\n{}---", self.events());
        }
        let _ = self.bare(SERVER, &["-k"]).status();
        let _ = self.bare(SERVER, &["-w"]).status();
    }
}
