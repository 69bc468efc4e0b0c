//! `rpcap demo`: the real daemon and the real client over real sockets, without configuration.
//!
//! Where this may be done, everything happens in a network of its own: this program starts itself
//! again in a new network namespace (as *near*), and there once more in another (as *far*), with a
//! virtual cable between the two. The namespaces go with their processes, so there is nothing to
//! clean up, whatever happens. Where it may not, the daemon serves a shipped capture file as a
//! device.

mod cable;
mod daemon;
mod show;
mod traffic;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use self::daemon::Daemon;
use self::show::{Enough, Shown};
use crate::cli::{Demo, DemoPart};
use crate::say::{note, say};

/// The device, in either way of doing it.
const DEVICE: &str = "demo0";

/// What the near part ends with when it could not get as far as to start anything.
const NO_CABLE: i32 = 77;

/// A second and a half of web, name service, echoes and pings over the cable, captured by the demo.
static TRAFFIC: &[u8] = include_bytes!("../../../demo/traffic.pcap");

pub(crate) fn run(args: &Demo) -> anyhow::Result<()> {
    match args.part {
        Some(DemoPart::Far) => return cable::far(),
        Some(DemoPart::Near) => return near(args),
        None => {}
    }
    let rpcapd = daemon::find()?;
    let why = match args.replay {
        true => "as asked".to_owned(),
        false => match isolated(args, &rpcapd)? {
            None => return Ok(()),
            Some(why) => format!("no virtual cable can be made here: {why}"),
        },
    };
    say!("Serving a shipped capture file as device {DEVICE} ({why}).");
    replay(args, &rpcapd)
}

/// Runs the near part in a network of its own; why not, if that cannot be had.
fn isolated(args: &Demo, rpcapd: &Path) -> anyhow::Result<Option<String>> {
    if !cfg!(target_os = "linux") {
        return Ok(Some("this is not Linux".to_owned()));
    }
    let output = std::path::absolute(&args.output).context("cannot find the output file")?;
    let mut why = String::new();
    // As root, otherwise as the root of a user namespace, where that is allowed.
    for options in [&["--net"][..], &["--user", "--map-root-user", "--net"]] {
        let probe = Command::new("unshare")
            .args(options)
            .args(["ip", "link", "set", "lo", "up"])
            .stdin(Stdio::null())
            .output();
        match probe {
            Ok(probe) if probe.status.success() => {}
            Ok(probe) => {
                why = rpcap::text::harmless(probe.stderr.trim_ascii());
                continue;
            }
            Err(error) => {
                why = format!("unshare: {error}");
                continue;
            }
        }
        let status = Command::new("unshare")
            .args(options)
            .arg(std::env::current_exe().context("cannot find this program's file")?)
            .args(["demo", "--part", "near", "--rpcapd"])
            .arg(rpcapd)
            .arg("--output")
            .arg(&output)
            .status()
            .context("cannot start the demonstration")?;
        return match status.code() {
            Some(0) => Ok(None),
            Some(NO_CABLE) => Ok(Some("see above".to_owned())),
            // It has said why.
            code => std::process::exit(code.unwrap_or(1)),
        };
    }
    Ok(Some(why))
}

fn near(args: &Demo) -> anyhow::Result<()> {
    let rpcapd = args.rpcapd.as_deref().context("--part needs --rpcapd")?;
    let cable = match cable::lay() {
        Ok(cable) => cable,
        Err(error) => {
            note!("rpcap: {}", crate::exit::line(&error));
            std::process::exit(NO_CABLE);
        }
    };
    say!(
        "Made a network for this alone, with a cable: {DEVICE} ({}) to {}.",
        cable::NEAR,
        cable::FAR
    );
    let daemon = Daemon::start(rpcapd, &[])?;
    let shown = show::show(&daemon, &args.output, |_| {
        traffic::make().context("cannot make traffic")?;
        Ok(Enough::Now)
    })?;
    drop(cable);
    conclude(daemon, &args.output, &shown)
}

fn replay(args: &Demo, rpcapd: &Path) -> anyhow::Result<()> {
    let file = TemporaryFile::new(TRAFFIC).context("cannot write a temporary file")?;
    let mut served = std::ffi::OsString::from(format!("{DEVICE}="));
    served.push(&file.path);
    let daemon = Daemon::start(rpcapd, &["--replay".as_ref(), &served])?;
    let expected = packets_in(TRAFFIC);
    let shown = show::show(&daemon, &args.output, |received| {
        Ok(if received < expected { Enough::NotYet } else { Enough::Now })
    })?;
    conclude(daemon, &args.output, &shown)
}

/// The last word: whether every packet is accounted for.
fn conclude(daemon: Daemon, output: &Path, shown: &Shown) -> anyhow::Result<()> {
    let log = daemon.stop();
    if let Some(line) = log.iter().rev().find(|line| line.contains("balanced=")) {
        say!("rpcapd's own account of it:\n  {line}");
    }
    if shown.packets == 0 {
        bail!("no packet came");
    }
    match shown.ledger.verdict() {
        rpcap::ledger::Verdict::Holds => {}
        _ => bail!("the ledger does not add up"),
    }
    say!(
        "\nWrote {}: open it in Wireshark, or: tcpdump -nr {0}",
        rpcap::text::harmless(output.display().to_string().as_bytes())
    );
    Ok(())
}

/// How many packets a pcap file of this host's byte order holds.
fn packets_in(file: &[u8]) -> u64 {
    let (mut rest, mut packets) = (file.get(24..).unwrap_or_default(), 0);
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let caplen = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let Some(next) = after.get(caplen as usize..) else {
            break;
        };
        (rest, packets) = (next, packets + 1);
    }
    packets
}

/// A file that is gone with its owner.
struct TemporaryFile {
    directory: PathBuf,
    path: PathBuf,
}

impl TemporaryFile {
    fn new(contents: &[u8]) -> io::Result<Self> {
        let name = format!("rpcap-demo-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        // Fails if somebody else made it first.
        std::fs::create_dir(&directory)?;
        let path = directory.join("traffic.pcap");
        let file = Self { directory, path };
        std::fs::write(&file.path, contents)?;
        Ok(file)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_shipped_file_is_whole() {
        assert!(super::packets_in(super::TRAFFIC) > 50);
    }
}
