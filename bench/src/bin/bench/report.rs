//! What was measured, as markdown and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cipher::Speeds;
use crate::impact::{Impact, ImpactRow};
use crate::modes::{Peak, Row};
use crate::subject::Sample;
use crate::syscalls::Calls;

/// What is written where there is nothing to compare with.
const NONE: &str = "–";

/// The middle value; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 {
        return f64::NAN;
    }
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// A table that grows.
struct Table(String);

impl Table {
    /// With the names of its columns; those of numbers start with `>`.
    fn new<const N: usize>(columns: [&str; N]) -> Self {
        let mut table = Self(String::new());
        table.row(columns.map(|c| c.trim_start_matches('>').to_owned()));
        let rule = columns.map(|c| if c.starts_with('>') { "--:|" } else { "---|" });
        let _ = writeln!(table.0, "|{}", rule.concat());
        table
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }
}

impl Row {
    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of).collect())
    }

    fn sum(&self, of: impl Fn(&Sample) -> u64) -> u64 {
        self.samples.iter().map(of).sum()
    }

    fn most(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(of).fold(0.0, f64::max)
    }

    /// What every table starts with: packets, way, daemon.
    fn head(&self) -> [String; 3] {
        let Self { load, subject, .. } = self;
        [load.workload.to_string(), load.data.name().to_owned(), subject.name.to_owned()]
    }

    /// The median CPU time per packet of another daemon that did the same.
    fn cpu_of(&self, rows: &[Row], name: &str) -> Option<f64> {
        let like = |row: &&Row| {
            row.subject.name == name
                && (&row.load.workload, row.load.data) == (&self.load.workload, self.load.data)
        };
        let row = rows.iter().find(like)?;
        Some(row.median(Sample::micros_per_packet))
    }
}

/// CPU and loss.
pub(crate) fn cpu_table(rows: &[Row]) -> String {
    let mut table = Table::new([
        "packets",
        "by",
        "daemon",
        ">packets/s",
        ">lost",
        ">CPU µs/packet: median",
        ">min–max",
        ">× the floor's",
        ">libpcap's is ×",
    ]);
    let ratio = |a: f64, b: f64| format!("{:.2}", a / b);
    for row in rows {
        let [packets, by, daemon] = row.head();
        let median = row.median(Sample::micros_per_packet);
        let max = row.most(Sample::micros_per_packet);
        let each = row.samples.iter().map(Sample::micros_per_packet);
        let min = each.fold(f64::INFINITY, f64::min);
        table.row([
            packets,
            by,
            daemon,
            format!("{:.0}", row.median(|s| s.sent.rate)),
            row.sum(Sample::lost).to_string(),
            format!("{median:.3}"),
            format!("{min:.3}–{max:.3}"),
            row.cpu_of(rows, "floor").map_or(NONE.to_owned(), |floor| ratio(median, floor)),
            row.cpu_of(rows, "libpcap").map_or(NONE.to_owned(), |theirs| ratio(theirs, median)),
        ]);
    }
    table.0
}

/// What encryption adds, and how much of that is the cipher itself.
pub(crate) fn cipher_table(rows: &[Row], speeds: &Speeds) -> String {
    let mut table = Table::new([
        "packets",
        "by",
        "suite",
        ">bytes/packet",
        ">CPU µs/packet: plain",
        ">the cipher alone",
        ">encrypted",
        ">encrypted / (plain + cipher)",
    ]);
    for row in rows.iter().filter(|row| row.load.data.is_encrypted()) {
        let suite = row.samples.iter().find_map(|s| s.drained.suite.clone()).unwrap_or_default();
        let bytes = row.median(|s| s.drained.wire_bytes as f64 / s.drained.packets.max(1) as f64);
        let plain = rows.iter().find(|r| {
            r.load.data == row.load.data.plain()
                && r.subject.name == row.subject.name
                && r.load.workload == row.load.workload
        });
        let plain = plain.map_or(f64::NAN, |r| r.median(Sample::micros_per_packet));
        let cipher = bytes / speeds.of(&suite) * 1e6;
        let encrypted = row.median(Sample::micros_per_packet);
        table.row([
            row.load.workload.to_string(),
            row.load.data.name().to_owned(),
            suite,
            format!("{bytes:.0}"),
            format!("{plain:.3}"),
            format!("{cipher:.3}"),
            format!("{encrypted:.3}"),
            format!("{:.2}", encrypted / (plain + cipher)),
        ]);
    }
    table.0
}

/// Bytes on the wire, datagrams, and memory.
pub(crate) fn cost_table(rows: &[Row]) -> String {
    let mut table = Table::new([
        "packets",
        "by",
        "daemon",
        ">bytes for a captured byte: payload",
        ">on the interface",
        ">datagrams per 1000 packets",
        ">IP fragments",
        ">memory, MiB: idle",
        ">at most",
    ]);
    for row in rows.iter().filter(|row| !row.samples.is_empty()) {
        let [packets, by, daemon] = row.head();
        let captured = row.sum(|s| s.drained.bytes).max(1) as f64;
        let received = row.sum(|s| s.drained.packets).max(1) as f64;
        table.row([
            packets,
            by,
            daemon,
            format!("{:.4}", row.sum(|s| s.drained.wire_bytes) as f64 / captured),
            format!("{:.4}", row.sum(|s| s.wire.bytes) as f64 / captured),
            format!("{:.1}", row.sum(|s| s.drained.datagrams) as f64 * 1e3 / received),
            row.sum(|s| s.fragments).to_string(),
            format!("{:.1}", row.most(|s| s.memory[0] as f64) / 1024.0),
            format!("{:.1}", row.most(|s| s.memory[1] as f64) / 1024.0),
        ]);
    }
    table.0
}

/// Whether it went as it should.
pub(crate) fn conduct_table(rows: &[Row]) -> String {
    let mut table = Table::new([
        "packets",
        "by",
        "daemon",
        ">asked /s",
        ">sent",
        ">dropped by kernel",
        ">late, ms",
        ">core busy, %",
        ">ksoftirqd µs/packet",
        ">stolen, ms",
    ]);
    for row in rows.iter().filter(|row| !row.samples.is_empty()) {
        let [packets, by, daemon] = row.head();
        table.row([
            packets,
            by,
            daemon,
            row.load.rate.to_string(),
            row.sum(|s| s.sent.packets).to_string(),
            row.sum(|s| s.drained.stats.kernel_dropped.into()).to_string(),
            format!("{:.1}", row.most(|s| s.sent.late_ms)),
            format!("{:.1}", row.median(Sample::busy)),
            format!("{:.3}", row.median(Sample::softirq_micros_per_packet)),
            row.sum(|s| s.stolen.as_millis() as u64).to_string(),
        ]);
    }
    table.0
}

/// How long packets took.
pub(crate) fn latency_table(rows: &[Row]) -> String {
    let mut table = Table::new([
        "packets",
        "by",
        "daemon",
        ">read timeout, ms",
        ">packets/s",
        ">sent",
        ">lost",
        ">last one arrived",
        ">ms: p50",
        ">p99",
        ">max",
    ]);
    for row in rows {
        for sample in &row.samples {
            let [packets, by, daemon] = row.head();
            let [half, most, all] = sample.drained.latency_us.map(|us| format!("{:.2}", us / 1e3));
            let last = sample.drained.last_number == sample.sent.packets;
            table.row([
                packets,
                by,
                daemon,
                row.load.read_timeout.to_string(),
                format!("{:.0}", sample.sent.rate),
                sample.sent.packets.to_string(),
                sample.lost().to_string(),
                if last { "yes" } else { "**no**" }.to_owned(),
                half,
                most,
                all,
            ]);
        }
    }
    table.0
}

/// System calls, by name.
pub(crate) fn syscall_table(rows: &[(Row, Calls)]) -> String {
    let mut table = Table::new([
        "packets",
        "by",
        "daemon",
        ">packets/s",
        ">sent",
        ">lost",
        ">system calls per 1000 packets",
        "of which",
    ]);
    for (row, calls) in rows {
        for sample in &row.samples {
            let [packets, by, daemon] = row.head();
            let per = |n: u64| n as f64 * 1000.0 / sample.sent.packets.max(1) as f64;
            let which: Vec<String> =
                calls.iter().map(|(name, n)| format!("{name} {:.2}", per(*n))).collect();
            table.row([
                packets,
                by,
                daemon,
                format!("{:.0}", sample.sent.rate),
                sample.sent.packets.to_string(),
                sample.lost().to_string(),
                format!("{:.2}", per(calls.iter().map(|(_, n)| n).sum())),
                which.join(", "),
            ]);
        }
    }
    table.0
}

/// The highest rates.
pub(crate) fn rate_table(peaks: &[Peak]) -> String {
    let mut table = Table::new([
        "packets",
        "by",
        "daemon",
        ">highest loss-free packets/s",
        ">Mbit/s",
        ">CPU µs/packet",
        ">core busy, %",
        "limited by",
    ]);
    for peak in peaks {
        let [packets, by, daemon] = peak.row.head();
        let limit = peak.limit.name().to_owned();
        let [rate, bits, cpu, busy] = match peak.row.samples.last() {
            Some(sample) => [
                format!("{:.0}", sample.sent.rate),
                format!("{:.0}", sample.sent.bytes as f64 * 8.0 / sample.sent.seconds / 1e6),
                format!("{:.3}", sample.micros_per_packet()),
                format!("{:.0}", sample.busy()),
            ],
            None => ["none", NONE, NONE, NONE].map(str::to_owned),
        };
        table.row([packets, by, daemon, rate, bits, cpu, busy, limit]);
    }
    table.0
}

/// What a daemon does to the programs of its host.
pub(crate) fn impact_table(rows: &[ImpactRow]) -> String {
    let mut table = Table::new([
        "traffic",
        "daemon",
        "by",
        ">throughput: median",
        ">min–max",
        ">% of that without",
        ">packets in the filter",
        ">daemon's loss, %",
        ">daemon's CPU, % of a core",
    ]);
    let throughput = |row: &ImpactRow| median(row.samples.iter().map(|s| s.throughput).collect());
    for row in rows {
        let flow = row.flow;
        let without = rows.iter().find(|r| r.flow == flow && r.daemon.is_none());
        let base = without.map_or(f64::NAN, throughput);
        let each = || row.samples.iter().map(|s| flow.in_units(s.throughput));
        let (min, max) = (each().fold(f64::INFINITY, f64::min), each().fold(0.0, f64::max));
        let received: u64 = row.samples.iter().map(|s| s.received).sum();
        let lost: u64 = row.samples.iter().map(|s| s.lost).sum();
        let captures = row.daemon.is_some();
        let [daemon, by] = row.who();
        let only = |text: String| if captures { text } else { NONE.to_owned() };
        table.row([
            flow.name().to_owned(),
            daemon.to_owned(),
            by.to_owned(),
            format!("{:.2} {}", flow.in_units(throughput(row)), flow.unit()),
            format!("{min:.2}–{max:.2}"),
            only(format!("{:.0}", throughput(row) / base * 100.0)),
            only(received.to_string()),
            only(format!("{:.2}", lost as f64 / received.max(1) as f64 * 100.0)),
            only(format!("{:.0}", median(row.samples.iter().map(|s| s.busy).collect()))),
        ]);
    }
    table.0
}

/// Every measurement by itself, for programs.
pub(crate) fn samples_json(rows: &[Row]) -> Value {
    let of_row = |row: &Row| -> Vec<Value> { row.samples.iter().map(|s| sample(row, s)).collect() };
    rows.iter().flat_map(of_row).collect()
}

fn sample(row: &Row, sample: &Sample) -> Value {
    let [packets, by, daemon] = row.head();
    json!({
        "packets": packets,
        "by": by,
        "daemon": daemon,
        "asked_rate": row.load.rate,
        "read_timeout_ms": row.load.read_timeout,
        "sent": sample.sent,
        "received": sample.drained,
        "expected_bytes": sample.expected_bytes,
        "lost": sample.lost(),
        "cpu_us": sample.cpu.as_micros() as u64,
        "cpu_us_per_packet": sample.micros_per_packet(),
        "ksoftirqd_us": sample.softirq.as_micros() as u64,
        "stolen_us": sample.stolen.as_micros() as u64,
        "interface_bytes": sample.wire.bytes,
        "interface_frames": sample.wire.frames,
        "fragments": sample.fragments,
        "memory_idle_kib": sample.memory[0],
        "memory_peak_kib": sample.memory[1],
    })
}

/// The same of what daemons do to their hosts.
pub(crate) fn impact_json(rows: &[ImpactRow]) -> Value {
    let of_row = |row: &ImpactRow| -> Vec<Value> {
        let [daemon, by] = row.who();
        let value = |s: &Impact| {
            json!({
                "traffic": row.flow.name(),
                "daemon": daemon,
                "by": by,
                "throughput": s.throughput,
                "received": s.received,
                "lost": s.lost,
                "cpu_percent": s.busy,
            })
        };
        row.samples.iter().map(value).collect()
    };
    rows.iter().flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(["what", ">how much"]);
        table.row(["a".to_owned(), "1".to_owned()]);
        assert_eq!(table.0, "| what | how much |\n|---|--:|\n| a | 1 |\n");
    }
}
