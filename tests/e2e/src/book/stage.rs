//! The hosts of a chapter: network namespaces with mounts and processes of their own, on two networks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Block;
use super::shown::missing;
use crate::PATIENCE;
use crate::lab::{Lab, Needs};
use crate::net::Namespace;
use crate::process::Process;
use crate::programs;

/// What a chapter's commands write for the fingerprint that one of them printed.
const FINGERPRINT: &str = "3F:A1:…";

/// The password that is typed wherever one is asked for.
const PASSWORD: &str = "correct horse battery";

/// The hosts: the management network's eth0, and eth1 where others' traffic is.
pub(super) const HOSTS: [(&str, &str, &str); 5] = [
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
        if block.is("afresh") {
            let (here, elsewhere) = self.background.drain(..).partition(|(on, _)| *on == host);
            self.background = elsewhere;
            end(here);
        }
        let mut process = Process::start(&mut self.command(host, &text));
        let shown = block.shown.clone().or(block.value("says").map(|word| format!("…{word}…")));
        let shown = shown.as_deref().unwrap_or_default();
        let deadline = Instant::now() + PATIENCE;
        if block.is("background") {
            while missing(shown, &process.said()).is_some()
                && process.is_running()
                && Instant::now() < deadline
            {
                thread::sleep(Duration::from_millis(10));
            }
            self.check(block, shown, &process.said());
            self.background.push((self.host(host).name, process));
            return;
        }
        let mut status = process.wait();
        while block.is("again")
            && missing(shown, &process.said()).is_some()
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(100));
            process = Process::start(&mut self.command(host, &text));
            status = process.wait();
        }
        let said = process.said();
        let wanted = block.value("exit").map_or(Ok(0), str::parse).expect("an exit code");
        assert_eq!(status.code(), Some(wanted), "{block}: exit code\n{text}\n{said}");
        self.check(block, shown, &said);
    }

    /// Compares output with what the book shows.
    fn check(&mut self, block: &Block, shown: &str, said: &str) {
        // For who writes a chapter: -- --nocapture.
        println!("--- {block}\n{}===\n{said}", block.text);
        if let Some(line) = missing(shown, said) {
            panic!("{block}: does not say: {line}\n{}\n{said}", block.text);
        }
        self.keep_fingerprint(said);
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
        fs::create_dir(&home).expect("a home");
        fs::write(home.join(".password"), format!("{PASSWORD}\n{PASSWORD}\n")).expect("a password");
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
            .map(|(name, address, _)| format!("{address} {name}.example {name}\\n"))
            .collect();
        // What is written to these directories is of this host only.
        let setup = format!(
            "hostname {name}.example\n\
             mkdir .own\n\
             mount -t tmpfs own .own\n\
             mkdir .own/{{etc,work,lib}}\n\
             mount -t overlay -o lowerdir=/etc,upperdir=.own/etc,workdir=.own/work etc /etc\n\
             printf '127.0.0.1 localhost\\n{names}' >/etc/hosts\n\
             mount --bind .own/lib /var/lib\n\
             mount -t tmpfs run /run\n\
             echo ready\n\
             exec sleep infinity"
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

/// Ends programs in good order, and asks that they were there until then.
fn end(mut processes: Vec<(&str, Process)>) {
    for (host, process) in &mut processes {
        // It is the chapter's own doing if it ended well before.
        descendants(process.pid(), &mut |pid| {
            let _ = kill(pid, Signal::SIGTERM);
        });
        let status = process.wait();
        assert!(status.success(), "in the background of {host}: {status}\n{}", process.said());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !thread::panicking() {
            end(self.background.drain(..).collect());
        }
    }
}
