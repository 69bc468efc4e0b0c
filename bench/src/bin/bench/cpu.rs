//! What a daemon costs: the CPU time of all its processes and threads.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Where cgroup v2 is: alone, or beside v1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The CPU time of a process, its threads, and the processes that it starts.
pub(crate) enum Meter {
    /// Counted by the kernel for a group that the process is put into.
    Cgroup(PathBuf),
    /// Added up over the process group's CPU clocks, where there is no cgroup to be had. A process
    /// that ended in between would be missing; the daemons' live as long as their captures.
    Clocks(u32),
}

impl Meter {
    /// For a process that leads its process group and has no children yet.
    pub(crate) fn new(pid: u32) -> Self {
        for root in ROOTS {
            if Path::new(root).join("cgroup.controllers").exists() {
                let group = Path::new(root).join(format!("rpcapd-bench-{pid}"));
                let entered = fs::create_dir(&group)
                    .and_then(|()| fs::write(group.join("cgroup.procs"), pid.to_string()));
                let meter = Self::Cgroup(group);
                if entered.is_ok() && meter.read().is_ok() {
                    return meter;
                }
            }
        }
        Self::Clocks(pid)
    }

    /// How it measures, for the report.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Cgroup(_) => "cgroup v2, cpu.stat",
            Self::Clocks(_) => "CPU clocks of the process group",
        }
    }

    /// The time so far.
    pub(crate) fn read(&self) -> anyhow::Result<Duration> {
        match self {
            Self::Cgroup(group) => {
                let text = fs::read_to_string(group.join("cpu.stat"))?;
                let usage = text.lines().find_map(|l| l.strip_prefix("usage_usec "));
                let usage = usage.context("cpu.stat has no usage_usec")?;
                Ok(Duration::from_micros(usage.parse()?))
            }
            Self::Clocks(group) => group_members(*group).into_iter().map(cpu_clock).sum(),
        }
    }
}

/// The CPU time of a process, all its threads included.
fn cpu_clock(pid: u32) -> anyhow::Result<Duration> {
    Ok(clock_getcpuclockid(Pid::from_raw(pid as i32))?.now()?.into())
}

/// A thread of the kernel's own.
pub(crate) struct KernelThread(Option<u32>);

impl KernelThread {
    /// The one that takes over a core's network work when there is much of it.
    pub(crate) fn softirqd(core: usize) -> Self {
        let name = format!("ksoftirqd/{core}");
        let is_it = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        Self(processes().into_iter().find(is_it))
    }

    /// Its CPU time, or none if it cannot be seen from here.
    pub(crate) fn read(&self) -> Duration {
        self.0.and_then(|pid| cpu_clock(pid).ok()).unwrap_or_default()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Self::Cgroup(group) = self {
            // It fails while a process is in it: those that were killed may take a moment.
            for _ in 0..50 {
                if fs::remove_dir(&*group).is_ok() {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// The processes of a process group.
pub(crate) fn group_members(group: u32) -> Vec<u32> {
    let is_member = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Name in parentheses, state, parent, group.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(2).is_some_and(|g| g == group.to_string())
    };
    processes().into_iter().filter(is_member).collect()
}

fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// The time for which the hypervisor gave a core to somebody else, to a hundredth of a second.
pub(crate) fn stolen(core: usize) -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|l| l.strip_prefix(&format!("cpu{core} ")));
    let ticks = line.and_then(|l| l.split(' ').nth(7)?.parse().ok()).unwrap_or(0);
    Duration::from_millis(10 * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_a_group_go_on() {
        let meter = Meter::Clocks(nix::unistd::getpgrp().as_raw() as u32);
        let start = meter.read().unwrap();
        while meter.read().unwrap() < start + Duration::from_millis(1) {}
        assert!(group_members(std::process::id().wrapping_add(1 << 30)).is_empty());
    }
}
