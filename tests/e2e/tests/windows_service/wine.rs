//! Wine's service manager and event log.

use std::fs;
use std::ops::Deref;
use std::process::Command;

use e2e::process::run;
use e2e::{Lab, Process, wait_until, wine};

/// What events are in Wine: traces of whoever reports them.
const EVENTS: &str = "-all,err+eventlog,warn+eventlog,trace+eventlog";

/// Wine, and what its services say.
pub(crate) struct Wine<'a>(wine::Wine<'a>);

impl<'a> Deref for Wine<'a> {
    type Target = wine::Wine<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a> Wine<'a> {
    pub(crate) fn start(lab: &'a Lab) -> Option<Self> {
        wine::Wine::start_with(lab, EVENTS).map(Self)
    }

    /// The daemon.
    pub(crate) fn rpcapd(&self, arguments: &[&str]) -> Command {
        self.ours("rpcapd.exe", arguments)
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
}

impl Drop for Wine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- events\n{}---", self.events());
        }
    }
}
