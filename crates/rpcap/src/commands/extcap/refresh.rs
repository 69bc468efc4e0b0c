//! Asks known hosts for their devices.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use rpcap::extcap::hosts::Host;
use rpcap::extcap::places;
use rpcap::text::plural;
use rpcap_proto::wire::Device;

use super::target::Target;
use crate::exit;
use crate::say::{note, say};

/// How long a host may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Within this time hosts are not asked again in the background: Wireshark may list its interfaces
/// several times in a row.
const FRESH: Duration = Duration::from_secs(30);

/// Asks all known hosts, all at a time.
pub(super) fn run(quiet: bool) -> anyhow::Result<()> {
    let hosts = super::known_hosts()?;
    if hosts.is_empty() && !quiet {
        let path = places::hosts().context("this user has no home directory")?;
        bail!("no hosts are known; {} does not exist or names none", path.display());
    }
    let asked: Vec<_> = hosts
        .iter()
        .map(|host| (host, host.clone()))
        .map(|(host, owned)| (host, thread::spawn(move || ask(&owned))))
        .collect();
    let mut silent = 0;
    let mut answers = Vec::new();
    for (host, thread) in asked {
        match thread.join() {
            Ok(Ok(devices)) => {
                if !quiet {
                    say!("{}: {}", host.name, plural(devices.len() as u64, "device", "devices"));
                }
                answers.push((host.key(), devices));
            }
            Ok(Err(error)) => {
                silent += 1;
                if !quiet {
                    note!("rpcap: {}: {}", host.name, exit::line(&error));
                }
            }
            Err(_) => bail!("a thread panicked; this is a bug"),
        }
    }
    super::change_cache(|cache| {
        let mut keys: Vec<_> = hosts.iter().map(Host::key).collect();
        keys.push(super::LAST.to_owned());
        cache.retain(&keys);
        for (key, devices) in answers {
            cache.set(&key, &devices);
        }
    });
    if silent > 0 && !quiet {
        bail!("{silent} of {} could not be asked", plural(hosts.len() as u64, "host", "hosts"));
    }
    Ok(())
}

fn ask(host: &Host) -> anyhow::Result<Vec<Device>> {
    let target = Target::host(host, TIMEOUT);
    if target.credentials_at_hand()?.is_none() {
        bail!("its user has no password file, and nobody is asked for a password for this");
    }
    let mut client = target.connect(&Default::default())?;
    let devices = client.devices()?;
    client.close();
    Ok(devices)
}

/// Has another process ask them, if it is time. Nothing here is worth failing for: what is known
/// was answered already.
pub(super) fn in_background(hosts: &[Host]) {
    let (false, Some(path)) = (hosts.is_empty(), places::devices()) else {
        return;
    };
    let mark = path.with_extension("asked");
    let age = fs::metadata(&mark).and_then(|m| m.modified()).map(|time| time.elapsed());
    if matches!(age, Ok(Ok(age)) if age < FRESH) {
        return;
    }
    if let Some(directory) = path.parent() {
        let _ = fs::create_dir_all(directory);
    }
    // Without a mark every call would start a process.
    if fs::write(&mark, "").is_ok()
        && let Ok(program) = std::env::current_exe()
    {
        let _ = detached(&program).spawn();
    }
}

/// A process that keeps no pipe of Wireshark's open, and is not interrupted together with it.
fn detached(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["extcap", "refresh", "--quiet"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    {
        // DETACHED_PROCESS: no console, and no window for one.
        std::os::windows::process::CommandExt::creation_flags(&mut command, 0x8);
    }
    command
}
