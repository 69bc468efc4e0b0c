//! The daemon under test.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::process::Process;
use crate::programs::program;

/// The backend that daemons are told, if `RPCAP_BACKEND` names one: the tests then run over it.
pub fn backend() -> Option<String> {
    std::env::var("RPCAP_BACKEND").ok()
}

/// A running `rpcapd` in namespace `b`.
#[derive(Debug)]
pub struct Daemon {
    /// The process.
    pub process: Process,
    /// Where it listens, in the order of its log.
    pub addresses: Vec<SocketAddr>,
    namespace: String,
}

impl Daemon {
    /// One that lets everybody in, on a free port of 127.0.0.1.
    #[track_caller]
    pub fn start(lab: &Lab) -> Self {
        Self::start_with(lab, &["-n"])
    }

    /// One with these arguments, on a free port of 127.0.0.1.
    #[track_caller]
    pub fn start_with(lab: &Lab, arguments: &[&str]) -> Self {
        let mut command = lab.net.b.command(program("rpcapd"));
        command.args(["-b", "127.0.0.1", "-p", "0"]).args(arguments);
        Self::run(lab, &mut command, 1)
    }

    /// One that calls, as these arguments say, and listens for nobody.
    #[track_caller]
    pub fn calling(lab: &Lab, arguments: &[&str]) -> Self {
        let mut command = lab.net.b.command(program("rpcapd"));
        command.args(["-n", "-v"]).args(arguments);
        Self::run(lab, &mut command, 0)
    }

    /// The daemon that `command` starts, once it listens on so many sockets. It has no status socket
    /// unless the command says where: there is only one place for it in the system.
    #[track_caller]
    pub fn run(lab: &Lab, command: &mut Command, sockets: usize) -> Self {
        if !command.get_args().any(|a| a == "--status-socket") {
            command.args(["--status-socket", "none"]);
        }
        // A system call that the sandbox should allow ends the daemon, so that the test sees it.
        if !command.get_args().any(|a| a == "--sandbox") {
            command.args(["--sandbox", "kill"]);
        }
        // Under Wine there is one backend only.
        if let Some(backend) = backend()
            && !command.get_args().any(|a| a.to_string_lossy().ends_with(".exe"))
            && !command.get_args().any(|a| a == "--backend")
        {
            command.args(["--backend", &backend]);
        }
        let process = Process::start(command);
        let lines = process.wait_for_lines("listening on ", sockets);
        let addresses = lines.iter().map(|line| {
            let address = line.rsplit_once("listening on ").map(|(_, address)| address);
            let address = address.and_then(|a| a.trim().parse().ok());
            address.unwrap_or_else(|| panic!("no address in {line:?}"))
        });
        Self { addresses: addresses.collect(), process, namespace: lab.net.b.name().to_owned() }
    }

    /// The namespace it runs in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        let mut address = self.addresses[0];
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                IpAddr::V6(_) => "::1".parse().expect("an address"),
            });
        }
        address
    }

    /// The URL of a device, or of the daemon if it is empty.
    pub fn url(&self, device: &str) -> String {
        format!("rpcap://{}/{device}", self.address())
    }

    /// Waits until so many captures were started, since the daemon was.
    #[track_caller]
    pub fn wait_for_captures(&self, count: usize) {
        self.process.wait_for_lines("capture started", count);
    }

    /// Waits until so many captures have ended, and returns their ledgers.
    #[track_caller]
    pub fn wait_for_ledgers(&self, count: usize) -> Vec<Ledger> {
        let lines = self.process.wait_for_lines("capture ended:", count);
        lines.iter().map(|line| Ledger::parse(line)).collect()
    }

    /// A number from `/proc/PID/status`, such as `VmRSS` in kB.
    pub fn status(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.pid());
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {key} in {path}"))
    }

    /// CPU time that all of its threads have used, to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.process.pid());
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        // What comes before is a name in parentheses; user and system time are fields 14 and 15.
        let (_, fields) = text.rsplit_once(')').expect("a name in parentheses");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|n| n.parse::<u64>().expect("a number of ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// How many files it has open.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.pid());
        let entries = fs::read_dir(Path::new(&path));
        entries.unwrap_or_else(|e| panic!("{path}: {e}")).count()
    }

    /// Ends it as an administrator does, and expects it to go well: exit code 0, nothing that
    /// panicked, every packet of every capture accounted for. Returns the captures' ledgers.
    #[track_caller]
    pub fn finish(self) -> Vec<Ledger> {
        self.finish_by(Signal::SIGTERM)
    }

    /// The same by another signal.
    #[track_caller]
    pub fn finish_by(mut self, signal: Signal) -> Vec<Ledger> {
        self.process.signal(signal);
        let status = self.process.wait();
        let log = self.process.said();
        assert_eq!(status.code(), Some(0), "{status}:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
        let ledgers: Vec<_> = self.process.lines("capture ended:");
        let started = self.process.lines("capture started").len();
        assert_eq!(ledgers.len(), started, "captures and ledgers:\n{log}");
        let ledgers: Vec<_> = ledgers.iter().map(|line| Ledger::parse(line)).collect();
        for ledger in &ledgers {
            ledger.check();
        }
        ledgers
    }
}

/// The line that the daemon logs at the end of a capture.
#[derive(Clone, Debug)]
pub struct Ledger {
    line: String,
    numbers: BTreeMap<String, u64>,
}

impl Ledger {
    fn parse(line: &str) -> Self {
        let words = line.split_whitespace().filter_map(|word| word.split_once('='));
        let numbers = words.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)));
        Self { line: line.to_owned(), numbers: numbers.collect() }
    }

    /// A number of it; one that is not there is 0, as causes of loss that did not occur are.
    pub fn get(&self, key: &str) -> u64 {
        self.numbers.get(key).copied().unwrap_or(0)
    }

    /// Asserts that every packet is accounted for, by the daemon's word and by our own addition.
    #[track_caller]
    pub fn check(&self) {
        assert!(self.line.contains("balanced=yes"), "{}", self.line);
        for key in ["received", "dropped", "captured", "sampled", "withheld", "sent", "unsent"] {
            assert!(self.numbers.contains_key(key), "no {key}: {}", self.line);
        }
        let n = |key| self.get(key);
        assert_eq!(n("received"), n("dropped") + n("captured"), "{}", self.line);
        let went = n("sampled") + n("withheld") + n("sent") + n("unsent");
        assert_eq!(n("captured"), went, "{}", self.line);
        for sum in ["withheld", "unsent"] {
            let is_cause = |key: &str| key.strip_prefix(sum).is_some_and(|k| k.starts_with('-'));
            let causes = self.numbers.iter().filter(|(key, _)| is_cause(key));
            assert_eq!(n(sum), causes.map(|(_, n)| n).sum::<u64>(), "{}", self.line);
        }
    }

    /// Asserts that nothing was lost and so many packets were sent.
    #[track_caller]
    pub fn check_all_sent(&self, packets: usize) {
        self.check();
        let n = |key| self.get(key);
        assert_eq!(
            (n("received"), n("dropped"), n("sent")),
            (packets as u64, 0, packets as u64),
            "{}",
            self.line
        );
    }
}
