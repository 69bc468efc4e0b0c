//! The collector under measurement: a process, what it costs and what it says.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde_json::Value;

/// The process and where it is to be met.
pub(super) struct Collector {
    child: Child,
    socket: PathBuf,
    pub(super) address: SocketAddr,
}

/// Sums over all agents.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) capturing: usize,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) overflowed: u64,
    pub(super) not_written: u64,
    /// Dropped by the kernel because the socket's buffer was full.
    pub(super) dropped: u64,
    pub(super) unknown: u64,
    pub(super) datagrams: u64,
    pub(super) calls: u64,
}

impl Collector {
    /// Starts one whose files are below `directory`.
    pub(super) fn start(directory: &Path, receivers: &str) -> anyhow::Result<Self> {
        let policy = directory.join("policy.toml");
        std::fs::write(
            &policy,
            "[output.files]\ndirectory = \"captures\"\nfile-size = \"500MB\"\n[[agent]]\n",
        )?;
        let socket = directory.join("status");
        let program = std::env::current_exe()?.with_file_name("rpcap");
        let mut child = Command::new(&program)
            .arg("listen")
            .arg(&policy)
            .args(["--bind", "127.0.0.1", "--port", "0", "--data-port", "0"])
            .args(["--receivers", receivers, "--no-table", "--status"])
            .arg(&socket)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: build it first", program.display()))?;
        let mut lines = BufReader::new(child.stderr.take().context("its standard error")?);
        let mut line = String::new();
        let address = loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                bail!("the collector ended");
            }
            let rest = line.split_once("listening on ").map(|(_, rest)| rest);
            if let Some(address) = rest.and_then(|rest| rest.split(',').next()?.parse().ok()) {
                break address;
            }
        };
        let log = directory.join("log");
        std::thread::spawn(move || {
            let mut to = std::fs::File::create(log)?;
            std::io::copy(&mut lines, &mut to)
        });
        Ok(Self { child, socket, address })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// What it says of all agents together.
    pub(super) fn sums(&self) -> anyhow::Result<Sums> {
        let mut text = String::new();
        UnixStream::connect(&self.socket)?.read_to_string(&mut text)?;
        let status: Value = serde_json::from_str(&text)?;
        let mut sums = Sums::default();
        for agent in status["agents"].as_array().context("no agents")? {
            let n = |key: &str| agent[key].as_u64().unwrap_or(0);
            sums.capturing += usize::from(agent["state"] == "capturing");
            sums.delivered += n("delivered");
            sums.lost += n("lost");
            sums.overflowed += n("overflowed");
            sums.not_written += n("not-written");
        }
        let datagrams = |key: &str| status["datagrams"][key].as_u64().unwrap_or(0);
        sums.dropped = datagrams("dropped");
        sums.unknown = datagrams("unknown");
        sums.datagrams = datagrams("datagrams");
        sums.calls = datagrams("calls");
        Ok(sums)
    }

    /// Seconds of CPU so far, user and kernel.
    pub(super) fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let fields = stat.rsplit_once(')').context("/proc/PID/stat")?.1;
        let ticks: Vec<u64> =
            fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
        let rate = sysconf(SysconfVar::CLK_TCK)?.context("clock ticks")?;
        Ok(ticks.iter().sum::<u64>() as f64 / rate as f64)
    }

    /// Resident memory in KiB.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.split_whitespace().next().context("VmRSS")?.parse()?)
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) -> anyhow::Result<()> {
        Ok(kill(self.pid(), Signal::SIGTERM)?)
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
