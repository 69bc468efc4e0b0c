//! `rpcap listen` under test.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::frames;
use crate::lab::Lab;
use crate::net::Namespace;
use crate::process::Process;
use crate::programs::program;
use crate::savefile::{self, Packet};

/// A running collector.
#[derive(Debug)]
pub struct Listener {
    /// The process.
    pub process: Process,
    /// Where daemons connect to, on the first address that it was told.
    pub address: SocketAddr,
    policy: PathBuf,
    /// Where its files are, if the policy says `directory = "captures"`.
    pub directory: PathBuf,
}

impl Listener {
    /// One in a namespace, at this address and any port, with this policy.
    #[track_caller]
    pub fn start(lab: &Lab, namespace: &Namespace, ip: &str, policy: &str) -> Self {
        Self::start_with(lab, namespace, ip, policy, &["--port", "0"])
    }

    /// The same with further arguments.
    #[track_caller]
    pub fn start_with(
        lab: &Lab,
        namespace: &Namespace,
        ip: &str,
        policy: &str,
        arguments: &[&str],
    ) -> Self {
        let path = lab.path("policy.toml");
        fs::write(&path, policy).expect("writing a policy");
        let mut command = namespace.command(program("rpcap"));
        command.arg("listen").arg(&path).args(["--bind", ip, "--data-port", "0"]).args(arguments);
        Self::run(lab, &mut command)
    }

    /// The collector that `command` starts, whose policy is `policy.toml`.
    #[track_caller]
    pub fn run(lab: &Lab, command: &mut Command) -> Self {
        let process = Process::start_with_output(command);
        let line = process.wait_for_line("listening on ");
        let address = line.split_once("listening on ").and_then(|(_, rest)| {
            rest.split_once(',').map_or(rest, |(address, _)| address).parse().ok()
        });
        Self {
            address: address.unwrap_or_else(|| panic!("no address in {line:?}")),
            process,
            policy: lab.path("policy.toml"),
            directory: lab.path("captures"),
        }
    }

    /// As `-a` names it.
    pub fn active(&self) -> String {
        format!("{},{}", self.address.ip(), self.address.port())
    }

    /// The UDP port that daemons send to.
    #[track_caller]
    pub fn data_port(&self) -> u16 {
        let line = self.process.wait_for_line("datagrams on port ");
        let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("no port in {line:?}"))
    }

    /// Waits until so many captures have been started in all.
    #[track_caller]
    pub fn wait_for_captures(&self, count: usize) {
        self.process.wait_for_lines(": capturing", count);
    }

    /// Replaces the policy and has it read.
    #[track_caller]
    pub fn reload(&self, policy: &str) {
        fs::write(&self.policy, policy).expect("writing a policy");
        self.process.signal(Signal::SIGHUP);
    }

    /// Packets of ours in its files so far, those that are being written among them.
    pub fn count_so_far(&self) -> usize {
        self.files().iter().map(|f| frames::ours(&savefile::read_so_far(f)).len()).sum()
    }

    /// Its files, in the order of their names.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries.map(|e| e.path()).collect();
        files.sort();
        files
    }

    /// Ends it as an administrator does and expects it to go well: exit code 0, nothing panicked,
    /// every file complete, every ledger balanced.
    #[track_caller]
    pub fn finish(self) -> Collected {
        self.finish_by(Signal::SIGTERM)
    }

    /// The same by another signal.
    #[track_caller]
    pub fn finish_by(mut self, signal: Signal) -> Collected {
        self.process.signal(signal);
        self.process.wait_success();
        let said = self.process.said();
        assert!(!said.contains("panicked"), "{said}");
        let mut accounts = BTreeMap::new();
        for line in self.process.lines("balanced=") {
            let account = Account::parse(&line);
            assert!(!line.contains("balanced=no"), "{said}");
            let name = format!("{} {}", account.text("agent"), account.text("interface"));
            accounts.insert(name, account);
        }
        let files = self.files();
        for file in &files {
            assert!(file.extension().is_some_and(|e| e != "part"), "{} is left", file.display());
        }
        let plain = files.iter().filter(|f| f.extension().is_some_and(|e| e == "pcapng"));
        let packets = plain.flat_map(|file| savefile::read(file).packets).collect();
        let totals = Account::parse(&self.process.wait_for_line("connections="));
        Collected { accounts, totals, packets, files, said }
    }
}

/// What a collector has left.
#[derive(Debug)]
pub struct Collected {
    /// The ledgers, by agent and interface.
    pub accounts: BTreeMap<String, Account>,
    /// What concerns no agent.
    pub totals: Account,
    /// All packets, file by file.
    pub packets: Vec<Packet>,
    /// The files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// Everything that was said.
    pub said: String,
}

/// A ledger of one agent's interface.
#[derive(Clone, Debug)]
pub struct Account {
    /// The whole line.
    pub line: String,
    words: BTreeMap<String, String>,
}

impl Account {
    fn parse(line: &str) -> Self {
        let words = line.split_whitespace().filter_map(|word| word.split_once('='));
        let words = words.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self { line: line.to_owned(), words: words.collect() }
    }

    /// A word of it.
    #[track_caller]
    pub fn text(&self, key: &str) -> &str {
        self.words.get(key).unwrap_or_else(|| panic!("no {key}: {}", self.line))
    }

    /// A number of it.
    #[track_caller]
    pub fn get(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or_else(|_| panic!("{key} is no number: {}", self.line))
    }

    /// Asserts that so many packets were sent, that all of them came and were written.
    #[track_caller]
    pub fn check_all_written(&self, packets: usize) {
        let packets = packets as u64;
        let n = |key| self.get(key);
        assert_eq!(
            (n("sent"), n("delivered"), n("written"), n("lost")),
            (packets, packets, packets, 0),
            "{}",
            self.line
        );
    }
}
