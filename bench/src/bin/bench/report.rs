//! What was measured, as markdown.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::subject::{Load, Sample, Subject};

/// All rounds of one daemon under one load.
pub(crate) struct Row {
    /// Which daemon.
    pub(crate) subject: Subject,
    /// What was sent.
    pub(crate) load: Load,
    /// One for each round.
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    fn median(&self) -> f64 {
        median(self.samples.iter().map(Sample::micros_per_packet).collect())
    }
}

/// The middle value; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 {
        return f64::NAN;
    }
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// CPU and loss. The first subject of every workload is what the others are compared to.
pub(crate) fn cpu_table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| packets | by | daemon | asked /s | sent /s | sent | lost | dropped by kernel | late, ms | \
         CPU µs/packet: median | min–max | ratio | ksoftirqd |\n\
         |---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut base = f64::NAN;
    let mut last = None;
    for row in rows {
        let this = (&row.load.workload, row.load.data);
        if last.replace(this) != Some(this) {
            base = row.median();
        }
        let each: Vec<f64> = row.samples.iter().map(Sample::micros_per_packet).collect();
        let min = each.iter().copied().fold(f64::INFINITY, f64::min);
        let max = each.iter().copied().fold(0.0, f64::max);
        let sum = |f: fn(&Sample) -> u64| row.samples.iter().map(f).sum::<u64>();
        let late = row.samples.iter().map(|s| s.sent.late_ms).fold(0.0, f64::max);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {:.0} | {} | {} | {} | {late:.1} | {:.3} | \
             {min:.3}–{max:.3} | {:.2} | {:.3} |",
            row.load.workload,
            row.load.data.name(),
            row.subject.name,
            row.load.rate,
            median(row.samples.iter().map(|s| s.sent.rate).collect()),
            sum(|s| s.sent.packets),
            sum(Sample::lost),
            sum(|s| s.drained.stats.kernel_dropped.into()),
            row.median(),
            row.median() / base,
            median(row.samples.iter().map(Sample::softirq_micros_per_packet).collect()),
        );
    }
    out
}

/// What else it costs: bytes on the wire, and memory.
pub(crate) fn cost_table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| packets | by | daemon | bytes on the wire for a captured byte | datagrams per 1000 packets \
         | fragments | memory, MiB: idle | at most |\n|---|---|---|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let sum = |f: fn(&Sample) -> u64| row.samples.iter().map(f).sum::<u64>();
        let most = |i: usize| row.samples.iter().map(|s| s.memory[i]).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.4} | {:.1} | {} | {:.1} | {:.1} |",
            row.load.workload,
            row.load.data.name(),
            row.subject.name,
            sum(|s| s.drained.wire_bytes) as f64 / sum(|s| s.drained.bytes).max(1) as f64,
            sum(|s| s.drained.datagrams) as f64 * 1e3 / sum(|s| s.drained.packets).max(1) as f64,
            sum(|s| s.fragments),
            most(0) as f64 / 1024.0,
            most(1) as f64 / 1024.0,
        );
    }
    out
}

/// How long packets took.
pub(crate) fn latency_table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| packets | by | daemon | sent /s | sent | lost | ms until it was there: half of them | \
         99 of 100 | all |\n|---|---|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        for sample in &row.samples {
            let [half, most, all] = sample.drained.latency_us.map(|us| us / 1e3);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {:.0} | {} | {} | {half:.2} | {most:.2} | {all:.2} |",
                row.load.workload,
                row.load.data.name(),
                row.subject.name,
                sample.sent.rate,
                sample.sent.packets,
                sample.lost(),
            );
        }
    }
    out
}

/// System calls, by name.
pub(crate) fn syscall_table(rows: &[(Row, Vec<(String, u64)>)]) -> String {
    let mut out = String::from(
        "| packets | by | daemon | sent /s | sent | lost | system calls per 1000 packets | of which \
         |\n|---|---|---|--:|--:|--:|--:|---|\n",
    );
    for (row, calls) in rows {
        for sample in &row.samples {
            let per = |n: u64| n as f64 * 1000.0 / sample.sent.packets.max(1) as f64;
            let which: Vec<String> =
                calls.iter().map(|(name, n)| format!("{name} {:.2}", per(*n))).collect();
            let _ = writeln!(
                out,
                "| {} | {} | {} | {:.0} | {} | {} | {:.2} | {} |",
                row.load.workload,
                row.load.data.name(),
                row.subject.name,
                sample.sent.rate,
                sample.sent.packets,
                sample.lost(),
                per(calls.iter().map(|(_, n)| n).sum()),
                which.join(", "),
            );
        }
    }
    out
}

/// The highest rates.
pub(crate) fn rate_table(rows: &[Row]) -> String {
    let mut out = String::from(
        "| packets | by | daemon | highest loss-free packets/s | Mbit/s | CPU µs/packet | \
         limited by |\n|---|---|---|--:|--:|--:|---|\n",
    );
    for row in rows {
        let Some(sample) = row.samples.last() else {
            let (packets, by) = (&row.load.workload, row.load.data.name());
            let _ = writeln!(out, "| {packets} | {by} | {} | none | | | loss |", row.subject.name);
            continue;
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.0} | {:.0} | {:.3} | {} |",
            row.load.workload,
            row.load.data.name(),
            row.subject.name,
            sample.sent.rate,
            sample.sent.bytes as f64 * 8.0 / sample.sent.seconds / 1e6,
            sample.micros_per_packet(),
            if row.load.rate == 0 { "the sender" } else { "loss" },
        );
    }
    out
}

/// Where and with what it was measured.
pub(crate) fn circumstances(root: &Path, command: &str, notes: &[String]) -> String {
    let mut out = String::new();
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(out, "* {what}: {value}");
    };
    line("date", &output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])));
    line("machine", &machine());
    line("kernel", &read("/proc/sys/kernel/osrelease"));
    line("commit", &commit(root));
    line("command", &format!("`{command}`"));
    for note in notes {
        let _ = writeln!(out, "* {note}");
    }
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
pub(crate) fn output(command: &mut Command) -> String {
    let text = command.output().map(|o| o.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
