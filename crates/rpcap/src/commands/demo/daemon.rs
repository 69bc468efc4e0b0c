use std::collections::VecDeque;
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::say::say;
use anyhow::{Context, anyhow, bail, ensure};
use rpcap::text::harmless;
use rpcap::url::Endpoint;

/// How long the daemon may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of its log that are kept.
const KEPT: usize = 100;

/// The daemon's program: beside this one or on the PATH. Under `cargo run`, cargo is asked for it,
/// so that it is neither missing nor older than this program.
pub(super) fn find() -> anyhow::Result<PathBuf> {
    let name = format!("rpcapd{EXE_SUFFIX}");
    let this = std::env::current_exe().context("cannot find this program's file")?;
    let directory = this.parent().unwrap_or(Path::new("."));
    if let (Some(cargo), Some(manifest)) =
        (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
    {
        return build(&cargo, Path::new(&manifest), directory);
    }
    let beside = directory.join(&name);
    if beside.is_file() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(&name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| anyhow!("no {name} beside this program or on the PATH; install it"))
}

/// Builds it with this program's own profile, which names the directory it is in.
fn build(cargo: &OsStr, manifest: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let profile = match directory.file_name().and_then(OsStr::to_str) {
        None | Some("debug") => "dev",
        Some(named) => named,
    };
    say!("Making sure that rpcapd is built (cargo build --profile {profile} --bin rpcapd) ...");
    let built = Command::new(cargo)
        .args(["build", "--profile", profile, "--bin", "rpcapd"])
        // Which says where the program is, wherever that was configured to be.
        .arg("--message-format=json-render-diagnostics")
        .current_dir(manifest.ancestors().nth(2).unwrap_or(manifest))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(built.status.success(), "cargo could not build rpcapd");
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .find(|program| program.file_stem() == Some("rpcapd".as_ref()))
        .context("cargo does not say where it put rpcapd")
}

/// A running daemon; it ends with this.
pub(super) struct Daemon {
    process: Child,
    log: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    endpoint: Endpoint,
}

impl Daemon {
    /// Starts it on a free port of the loopback device.
    pub(super) fn start(program: &Path, further: &[&OsStr]) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args(["-n", "-b", "127.0.0.1", "-p", "0", "--status-socket", "none"])
            .args(further)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stderr = process.stderr.take();
        let (sender, log) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let lines = stderr.into_iter().flat_map(|s| BufReader::new(s).split(b'\n'));
            for line in lines.map_while(Result::ok) {
                // The daemon must not wait for somebody to read.
                let _ = sender.send(harmless(line.trim_ascii()));
            }
        });
        let mut daemon = Self {
            process,
            log,
            reader: Some(reader),
            endpoint: Endpoint { host: String::new(), port: 0 },
        };
        let address = daemon.wait_until_it_listens()?;
        say!("Started {} on {address}.", program.display());
        daemon.endpoint = Endpoint { host: address.ip().to_string(), port: address.port() };
        Ok(daemon)
    }

    /// Where it listens.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match listening(&line) {
                    Some(address) => return Ok(address),
                    None => said.push(line),
                },
                Err(RecvTimeoutError::Timeout) => {
                    bail!("rpcapd does not say that it listens; it says: {}", said.join(" / "))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("rpcapd did not start: {}", said.join(" / "))
                }
            }
        }
    }

    /// Ends it in an orderly way; the end of its log.
    pub(super) fn stop(mut self) -> VecDeque<String> {
        self.end();
        let mut kept = VecDeque::new();
        for line in self.log.try_iter() {
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(line);
        }
        kept
    }

    fn end(&mut self) {
        // Asked first, as a service manager would; the standard library can only kill.
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        let deadline = Instant::now() + PATIENCE;
        while asked.as_ref().is_ok_and(|s| s.success())
            && Instant::now() < deadline
            && matches!(self.process.try_wait(), Ok(None))
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.reader.is_some() {
            self.end();
        }
    }
}

/// The address in a line of the log that tells one.
fn listening(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("listening on ")?;
    let end = after.find(|c: char| c.is_whitespace() || c == ',');
    after.get(..end.unwrap_or(after.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_in_the_log() {
        let address = "127.0.0.1:34567".parse().ok();
        assert_eq!(listening("2026 INFO rpcapd: listening on 127.0.0.1:34567"), address);
        assert_eq!(listening("INFO listening on 127.0.0.1:34567 tls=no"), address);
        assert_eq!(listening("INFO starting"), None);
        assert!(listening("listening on [::1]:1").is_some());
    }
}
