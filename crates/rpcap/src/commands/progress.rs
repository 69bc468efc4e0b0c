use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use rpcap::data::Gauge;
use rpcap::ledger::DaemonCounts;
use rpcap::text::Count;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(1);

/// One line on a terminal that is written over again and again.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    last: Instant,
    packets: u64,
    bytes: u64,
}

impl Progress {
    /// Progress on standard error, if a person looks at it.
    pub(super) fn new() -> Option<Self> {
        io::stderr().is_terminal().then(|| Self {
            shown: false,
            last: Instant::now(),
            packets: 0,
            bytes: 0,
        })
    }

    /// Whether it is time for a line.
    pub(super) fn is_due(&self) -> bool {
        self.last.elapsed() >= EVERY
    }

    /// Shows how things are.
    pub(super) fn show(&mut self, gauge: &Gauge, counts: Option<DaemonCounts>) {
        let (packets, bytes) = (gauge.packets(), gauge.bytes());
        let seconds = self.last.elapsed().as_secs_f64();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let mut line = format!(
            "{} packets, {}packets/s, {}bit/s, lost {}",
            Count(packets),
            metric(rate(packets, self.packets)),
            metric(rate(bytes, self.bytes) * 8.0),
            Count(gauge.gaps())
        );
        if let Some(counts) = counts {
            line.push_str(&format!(", dropped {}", Count(counts.dropped)));
        }
        (self.packets, self.bytes, self.last, self.shown) = (packets, bytes, Instant::now(), true);
        // To the start of the line, and what is left of the one before is cleared.
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Makes room for something else.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// A number with three digits or so and its prefix.
pub(super) fn metric(n: f64) -> String {
    let (n, prefix) = match n {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    match n {
        n if n >= 100.0 || prefix.is_empty() => format!("{n:.0} {prefix}"),
        n => format!("{n:.1} {prefix}"),
    }
}
