//! Where and with what it was measured.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The head of a report.
pub fn circumstances(root: &Path, command: &str) -> String {
    let mut out = String::new();
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(out, "* {what}: {value}");
    };
    line("date", &output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])));
    line("machine", &machine());
    line("kernel", &read("/proc/sys/kernel/osrelease"));
    line("commit", &commit(root));
    line("command", &format!("`{command}`"));
    out
}

fn machine() -> String {
    let cpuinfo = read("/proc/cpuinfo");
    let models: Vec<&str> = cpuinfo
        .lines()
        .filter(|l| l.starts_with("model name"))
        .filter_map(|l| Some(l.split_once(':')?.1.trim()))
        .collect();
    let meminfo = read("/proc/meminfo");
    let memory =
        meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")?.split_whitespace().next());
    let gib = memory.and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0 / 1024.0;
    let virtual_machine = if cpuinfo.contains(" hypervisor") { ", a virtual machine" } else { "" };
    let model = models.first().copied().unwrap_or(std::env::consts::ARCH);
    format!("{} cores of {model}{virtual_machine}, {gib:.1} GiB", models.len())
}

fn commit(root: &Path) -> String {
    let git = |args: &[&str]| output(Command::new("git").arg("-C").arg(root).args(args));
    let changed = if git(&["status", "--porcelain"]).is_empty() { "" } else { ", with changes" };
    format!("{}{changed}", git(&["rev-parse", "--short=12", "HEAD"]))
}

/// What a program prints, or nothing.
pub fn output(command: &mut Command) -> String {
    let text = command.output().map(|o| o.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
