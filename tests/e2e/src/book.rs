//! The chapters of `docs/`, and hosts on which what they tell their readers to type is run.
//!
//! A fence says where its commands run, and how:
//!
//! ```text
//!   sh server               on the host "server"; they must end, and well
//!   sh client exit=4        the same, with this exit code
//!   sh server background    they go on until the chapter ends; what the text block below says is waited for
//!   sh server again         run until they say what is in the text block below
//!   sh server afresh        what runs on this host in the background is ended before
//!   sh client interrupt     ended by Ctrl-C once they said what is in the text block below
//!   sh not-run: REASON      by no test, or by another one, which the reason names
//!   toml server file=NAME   no commands: the file of that name, in the directory that they run in
//! ```
//!
//! `says=WORD` takes the place of the text block below: a line of the output contains it.
//!
//! A block `text` directly below shows lines of their output, in their order. In it any number stands for
//! any other, `…` for anything on a line; a line that is `…` alone is for the reader.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, Needs};
use crate::net::Namespace;
use crate::process::Process;
use crate::programs;
use crate::{PATIENCE, wait_until};

/// What a chapter's commands write for the fingerprint that one of them printed.
const FINGERPRINT: &str = "3F:A1:…";

/// The password that is typed wherever one is asked for.
const PASSWORD: &str = "correct horse battery";

/// Attributes of blocks whose output is waited for.
const WAITING: [&str; 3] = ["background", "interrupt", "again"];

/// A fenced block.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The file, below the workspace.
    pub file: String,
    /// The line of the fence.
    pub line: usize,
    /// The fence's first word, such as `sh`.
    pub language: String,
    /// Its other words.
    pub attributes: Vec<String>,
    /// What is in it.
    pub text: String,
    /// The output that is shown below it.
    pub shown: Option<String>,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Block {
    /// Whether a reader would type what is in it.
    pub fn is_commands(&self) -> bool {
        ["sh", "bash", "shell", "console", "powershell", "ps1", "cmd", "bat", ""]
            .contains(&self.language.as_str())
    }

    /// Why it is not run.
    pub fn not_run(&self) -> Option<String> {
        let (first, reason) = self.attributes.split_first()?;
        (first == "not-run:" && !reason.is_empty()).then(|| reason.join(" "))
    }

    fn host(&self) -> Option<&str> {
        let first = self.attributes.first()?.as_str();
        HOSTS.iter().map(|h| h.0).find(|name| *name == first)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find_map(|a| a.strip_prefix(key)?.strip_prefix('='))
    }

    /// What is wrong with its fence, for a test.
    pub fn fault(&self) -> Option<String> {
        let known = |a: &String| {
            a == "afresh"
                || WAITING.contains(&a.as_str())
                || ["exit=", "file=", "says="].iter().any(|key| a.starts_with(key))
        };
        if self.not_run().is_some() {
            return None;
        }
        if !self.is_commands() {
            let file = self.value("file").is_some();
            return (file != self.host().is_some()).then(|| "a file needs a host".to_owned());
        }
        let waits = self.attributes.iter().any(|a| WAITING.contains(&a.as_str()));
        match self.host() {
            _ if self.language != "sh" => Some("commands are in sh, or not-run".to_owned()),
            None => Some("neither a host nor not-run: with a reason".to_owned()),
            Some(_) if waits && self.shown.is_none() && self.value("says").is_none() => {
                Some("what it says, and is waited for, has to be in a text block below".to_owned())
            }
            Some(_) => {
                let unknown = self.attributes.iter().skip(1).find(|a| !known(a));
                unknown.map(|a| format!("{a}: what is that?"))
            }
        }
    }
}

/// The blocks of a file of the workspace, in order.
pub fn blocks(file: &str) -> Vec<Block> {
    let path = programs::workspace().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    let mut adjacent = false;
    let mut indent = 0;
    for (n, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                indent = line.len() - line.trim_start().len();
                let mut words = info.split_whitespace().map(str::to_owned);
                open = Some(Block {
                    file: file.to_owned(),
                    line: n + 1,
                    language: words.next().unwrap_or_default(),
                    attributes: words.collect(),
                    ..Block::default()
                });
            }
            (Some(_), Some("")) => {
                let block = open.take().expect("one is open");
                match blocks.last_mut() {
                    Some(above) if adjacent && block.language == "text" => {
                        above.shown = Some(block.text);
                    }
                    _ => blocks.push(block),
                }
                adjacent = true;
            }
            (Some(block), _) => {
                block.text += &format!("{}\n", line.get(indent..).unwrap_or_default())
            }
            (None, None) => adjacent &= line.trim().is_empty(),
        }
    }
    assert!(open.is_none(), "{file}: a block does not end");
    blocks
}

/// How many of the shown lines have appeared, in order, and the first that has not.
fn missing<'a>(shown: &'a str, said: &str) -> Option<&'a str> {
    let mut said = said.lines();
    shown
        .lines()
        .filter(|line| !["…", ""].contains(&line.trim()))
        .find(|line| !said.any(|other| stands_for(line.trim(), other.trim())))
}

/// Whether a line of the book shows a line of output.
fn stands_for(shown: &str, said: &str) -> bool {
    let (shown, said) = (plain(shown), plain(said));
    let mut parts: VecDeque<_> = shown.split('…').collect();
    let (Some(first), last) = (parts.pop_front(), parts.pop_back()) else { return false };
    let Some(rest) = said.strip_prefix(first) else { return false };
    let Some(last) = last else { return rest.is_empty() };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    parts.iter().all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// A line in which all numbers are the same, and all gaps.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    for c in line.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c.is_ascii_digit() {
            true if plain.ends_with('0') => {}
            true => plain.push('0'),
            false => plain.push(c),
        }
    }
    plain
}

/// The hosts: the management network's eth0, and eth1 where others' traffic is.
const HOSTS: [(&str, &str, &str); 5] = [
    ("server", "192.0.2.20", "10.1.0.20"),
    ("web1", "192.0.2.21", "10.1.0.21"),
    ("client", "192.0.2.10", "10.1.0.10"),
    ("collector", "192.0.2.30", "10.1.0.30"),
    ("somebody", "192.0.2.80", "10.1.0.80"),
];

/// What the host "somebody" does all the time.
const TRAFFIC: &str = "while sleep 0.1; do
    for host in 192.0.2.20 192.0.2.21 10.1.0.20 10.1.0.21; do
        (echo >/dev/tcp/$host/443) 2>/dev/null || true
        (echo a question >/dev/udp/$host/53) 2>/dev/null || true
    done
done";

/// The hosts of one chapter. All of it goes away with this value.
#[derive(Debug)]
pub struct Stage {
    // In the order in which they have to go.
    traffic: Option<Process>,
    background: Vec<(&'static str, Process)>,
    hosts: Vec<Host>,
    _switches: Vec<Namespace>,
    lab: Lab,
    fingerprint: Option<String>,
}

#[derive(Debug)]
struct Host {
    name: &'static str,
    home: PathBuf,
    /// The first process of the host's own processes, which end with it.
    init: Pid,
    _anchor: Process,
    _net: Namespace,
}

impl Stage {
    /// The hosts, or `None` if they are not to be had here, which is said.
    pub fn new() -> Option<Self> {
        let programs = &["tcpdump", "tshark", "socat", "curl", "ethtool", "sslscan", "nmap"];
        let lab = Lab::with(Needs { peers: true, programs, mtu: 1500 })?;
        stand_in(&lab.path("shims"));
        let switches: Vec<_> = (0..2).map(|n| switch(n).expect("a bridge")).collect();
        let hosts = HOSTS.iter().map(|host| Host::new(&lab, host, &switches)).collect();
        let mut stage = Self {
            traffic: None,
            background: Vec::new(),
            hosts,
            _switches: switches,
            lab,
            fingerprint: None,
        };
        let traffic = Process::start(&mut stage.command("somebody", TRAFFIC));
        stage.traffic = Some(traffic);
        Some(stage)
    }

    /// Does what a block says, and panics if that is not what its readers would see.
    pub fn run(&mut self, block: &Block) {
        let Some(host) = block.host().filter(|_| block.not_run().is_none()) else { return };
        let mut text = block.text.clone();
        if text.contains(FINGERPRINT) {
            let fingerprint = self.fingerprint.as_deref();
            text = text.replace(FINGERPRINT, fingerprint.expect("one was printed before"));
        }
        if let Some(name) = block.value("file") {
            let path = self.host(host).home.join(name);
            fs::write(&path, &text).unwrap_or_else(|e| panic!("{block}: {e}"));
            return;
        }
        if block.attributes.iter().any(|a| a == "afresh") {
            let (here, elsewhere) = self.background.drain(..).partition(|(on, _)| *on == host);
            self.background = elsewhere;
            end(here);
        }
        let mut process = Process::start(&mut self.command(host, &text));
        let shown = block.shown.clone().or(block.value("says").map(|word| format!("…{word}…")));
        let shown = shown.as_deref().unwrap_or_default();
        let is = |word| block.attributes.iter().any(|a| a == word);
        if is("background") || is("interrupt") {
            let deadline = Instant::now() + PATIENCE;
            while let Some(line) = missing(shown, &process.said()) {
                let alive = Instant::now() < deadline && process.is_running();
                // What it said last may have been on its way.
                if !alive && missing(shown, &process.said()).is_some() {
                    panic!("{block}: does not say: {line}\n{text}\n{}", process.said());
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        self.keep_fingerprint(&process.said());
        if is("background") {
            self.background.push((self.host(host).name, process));
            return;
        }
        if is("interrupt") {
            descendants(process.pid(), &mut |pid| {
                // It may have ended by itself meanwhile.
                let _ = kill(pid, Signal::SIGINT);
            });
        }
        let mut status = process.wait();
        let deadline = Instant::now() + PATIENCE;
        while is("again") && Instant::now() < deadline && missing(shown, &process.said()).is_some()
        {
            thread::sleep(Duration::from_millis(100));
            process = Process::start(&mut self.command(host, &text));
            status = process.wait();
        }
        let wanted = block.value("exit").map_or(Ok(0), str::parse).expect("an exit code");
        let said = process.said();
        // For who writes a chapter: -- --nocapture.
        println!("--- {block}\n{text}=== {status}\n{said}");
        assert_eq!(status.code(), Some(wanted), "{block}: exit code\n{text}\n{said}");
        if let Some(line) = missing(shown, &said) {
            panic!("{block}: does not say: {line}\n{text}\n{said}");
        }
        self.keep_fingerprint(&said);
    }

    /// Keeps what looks like SHA-256: pairs of digits with colons between.
    fn keep_fingerprint(&mut self, said: &str) {
        let mut words = said.split_whitespace();
        if let Some(word) = words.find(|w| w.len() == 95 && w.matches(':').count() == 31) {
            self.fingerprint = Some(word.to_owned());
        }
    }

    fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|h| h.name == name).expect("one of the hosts")
    }

    /// A command that runs a script on a host, where what was built is found first.
    fn command(&self, host: &str, script: &str) -> Command {
        let host = self.host(host);
        let built = programs::program("rpcapd");
        let built = built.parent().expect("a program has a directory");
        let peers = programs::peers().expect("the lab has them");
        let (built, peers) = (built.display(), peers.display());
        let shims = self.lab.path("shims");
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--uts", "--net", "--pid", "--target", &host.init.to_string()])
            .arg(format!("--wd={}", host.home.display()))
            .args(["bash", "-e", "-o", "pipefail", "-c"])
            .arg(format!("exec <.password\n{script}"))
            .env("HOME", &host.home)
            .env(
                "PATH",
                format!("{}:{built}:{peers}:/usr/sbin:/usr/bin:/sbin:/bin", shims.display()),
            )
            .env("RPCAP_PASSWORD", PASSWORD)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("XDG_RUNTIME_DIR");
        command
    }
}

impl Host {
    fn new(lab: &Lab, &(name, eth0, eth1): &(&'static str, &str, &str), to: &[Namespace]) -> Self {
        let home = lab.path(name);
        let under = |what: &str| home.join(what);
        fs::create_dir(&home).expect("a home");
        fs::write(under(".password"), format!("{PASSWORD}\n{PASSWORD}\n")).expect("a password");
        let net = Namespace::new(name).expect("a namespace");
        for (n, (switch, address)) in to.iter().zip([eth0, eth1]).enumerate() {
            net.ip_batch(&format!(
                "link add eth{n} type veth peer name {name} netns {}\n\
                 link set eth{n} addrgenmode none\n\
                 addr add {address}/{} dev eth{n}\n\
                 link set eth{n} up\n",
                switch.name(),
                [24, 16][n],
            ));
            switch.ip_batch(&format!(
                "link set {name} addrgenmode none\nlink set {name} master bridge up\n"
            ));
            net.wait_for_carrier(&format!("eth{n}"));
        }
        let names: String = HOSTS
            .iter()
            .map(|(name, address, _)| format!("{address} {name}.example {name}\n"))
            .collect();
        // What is written to these directories is of this host only.
        let setup = format!(
            "hostname {name}.example\n\
             mkdir .own\n\
             mount -t tmpfs own .own\n\
             mkdir .own/{{etc,work,lib}}\n\
             mount -t overlay -o lowerdir=/etc,upperdir=.own/etc,workdir=.own/work etc /etc\n\
             printf '127.0.0.1 localhost\\n{}' >/etc/hosts\n\
             mount --bind .own/lib /var/lib\n\
             mount -t tmpfs run /run\n\
             echo ready\n\
             exec sleep infinity",
            names.replace('\n', "\\n")
        );
        let mut command = net.command("unshare");
        command
            .args(["--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["bash", "-e", "-c", &setup])
            .current_dir(&home);
        let anchor = Process::start(&mut command);
        anchor.wait_for_line("ready");
        let init = children(anchor.pid()).pop().expect("the host's first process");
        Self { name, home, init, _anchor: anchor, _net: net }
    }
}

/// A network that hosts are plugged into.
fn switch(n: usize) -> Result<Namespace, String> {
    let switch = Namespace::new(&format!("switch{n}"))?;
    switch.ip_batch(
        "link add bridge type bridge\nlink set bridge addrgenmode none\nlink set bridge up\n",
    );
    Ok(switch)
}

/// Makes a `wireshark` that needs no screen, and is closed after a few packets.
fn stand_in(directory: &Path) {
    let path = directory.join("wireshark");
    fs::create_dir(directory).expect("a directory");
    fs::write(&path, "#!/bin/bash\nexec tshark -c 5 \"${@/-k/-l}\"\n").expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("making it executable");
}

fn children(pid: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|n| n.parse().ok()).map(Pid::from_raw).collect()
}

/// Every process below this one that has none below it.
fn descendants(pid: Pid, each: &mut impl FnMut(Pid)) {
    for child in children(pid) {
        match children(child).is_empty() {
            true => each(child),
            false => descendants(child, each),
        }
    }
}

/// Ends programs in good order, as their hosts would otherwise not.
fn end(mut processes: Vec<(&str, Process)>) {
    for (_, process) in &processes {
        descendants(process.pid(), &mut |pid| {
            // It may have ended by itself meanwhile.
            let _ = kill(pid, Signal::SIGTERM);
        });
    }
    wait_until("what runs in the background ends", || {
        !processes.iter_mut().any(|(_, p)| p.is_running())
    });
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !thread::panicking() {
            end(self.background.drain(..).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_lines_stand_for_lines_like_them() {
        assert!(stands_for("took 3 s, 17 packets", "took 12 s, 4711   packets"));
        assert!(stands_for(
            "… listening on 192.0.2.20:2002",
            "10:00 INFO listening on 192.0.2.20:2002"
        ));
        assert!(stands_for("a … c … e", "a b c d e"));
        assert!(!stands_for("a … c … e", "a b d e"));
        assert!(!stands_for("listening", "listening on"));
        assert!(!stands_for("a…a", "a"));
        assert_eq!(missing("one\n…\ntwo\n", "one\nx\ntwo\n"), None);
        assert_eq!(missing("two\none\n", "one\ntwo\n"), Some("one"));
    }
}
