//! Where every packet of a capture went.

use std::fmt;
use std::sync::Mutex;

use rpcap_proto::wire::Stats;
use serde::{Deserialize, Serialize};

use crate::locked::lock;

/// The counts of a capture's threads, shared with its session.
///
/// Each thread counts in memory of its own and publishes once a batch, so that a packet costs no
/// lock.
#[derive(Debug, Default)]
pub struct Counters {
    taken: Mutex<Taken>,
    sent: Mutex<Sent>,
    way: Mutex<Way>,
}

/// What was taken from the kernel's ring, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// All of it.
    pub captured: u64,
    /// Left out by sampling.
    pub sampled: u64,
    /// Left out to keep to the host's limits.
    #[serde(flatten)]
    pub withheld: Withheld,
    /// Shortened, because a datagram carries no more. They count as sent.
    pub cut: u64,
}

/// What the limits kept back, in packets, by the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// `--max-rate`.
    #[serde(rename = "withheld_rate")]
    pub rate: u64,
    /// `--max-cpu`.
    #[serde(rename = "withheld_cpu")]
    pub cpu: u64,
}

impl Withheld {
    /// By whatever limit.
    pub fn packets(&self) -> u64 {
        self.by_cause().iter().map(|(_, n)| n).sum()
    }

    /// The same, by the limit.
    pub fn by_cause(&self) -> [(&'static str, u64); 2] {
        [("rate", self.rate), ("cpu", self.cpu)]
    }
}

/// What became of the packets that were to be sent, in packets where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Given to the data connection.
    #[serde(rename = "sent")]
    pub packets: u64,
    /// Bytes given to the data connection, headers included.
    pub bytes: u64,
    /// Datagrams given to the data connection.
    pub datagrams: u64,
    /// Not sent: in a datagram that is larger than the path takes.
    #[serde(rename = "unsent_too_large")]
    pub too_large: u64,
    /// Not sent: there is no way to the client.
    #[serde(rename = "unsent_unreachable")]
    pub unreachable: u64,
    /// Not sent: the host had no room for the datagram, for as long as it was waited.
    #[serde(rename = "unsent_no_buffers")]
    pub no_buffers: u64,
    /// Not sent: the host refused the datagram.
    #[serde(rename = "unsent_refused")]
    pub refused: u64,
    /// Not sent: the data connection was over, or never made.
    #[serde(rename = "unsent_closed")]
    pub closed: u64,
    /// Not sent, as ordered (`--dry-run`).
    #[serde(rename = "unsent_dry_run")]
    pub dry_run: u64,
    /// Reports that a datagram did not reach a listener. Which one they do not tell, and hosts
    /// limit how many they send: this explains losses that the receiver counts.
    #[serde(rename = "unreachable_reports")]
    pub reports: u64,
}

/// How datagrams travel, as far as it is not the same for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Most bytes in a datagram; 0 for streams.
    pub datagram_limit: usize,
    /// Whether the kernel takes many datagrams at a time (`UDP_SEGMENT`).
    pub segmentation: bool,
}

/// What became of the packets that were captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// See [`Taken`].
    #[serde(flatten)]
    pub taken: Taken,
    /// See [`Sent`].
    #[serde(flatten)]
    pub sent: Sent,
}

impl Counters {
    /// Publishes what was taken from the ring.
    pub fn publish_taken(&self, taken: &Taken) {
        *lock(&self.taken) = *taken;
    }

    /// Publishes what was sent.
    pub fn publish_sent(&self, sent: &Sent) {
        *lock(&self.sent) = *sent;
    }

    /// Publishes how datagrams travel from now on.
    pub fn publish_way(&self, way: Way) {
        *lock(&self.way) = way;
    }

    /// The counts as last published.
    pub fn counts(&self) -> Counts {
        // What was sent first: it is then at most what was taken.
        let sent = *lock(&self.sent);
        Counts { taken: *lock(&self.taken), sent }
    }

    /// How datagrams travel.
    pub fn way(&self) -> Way {
        *lock(&self.way)
    }
}

impl Sent {
    /// Packets that were to be sent and were not, of whatever cause.
    pub fn unsent(&self) -> u64 {
        self.unsent_by_cause().iter().map(|(_, n)| n).sum()
    }

    /// The same, by cause.
    pub fn unsent_by_cause(&self) -> [(&'static str, u64); 6] {
        [
            ("too-large", self.too_large),
            ("unreachable", self.unreachable),
            ("no-buffers", self.no_buffers),
            ("refused", self.refused),
            ("closed", self.closed),
            ("dry-run", self.dry_run),
        ]
    }
}

/// The ledger of one capture, in packets (see `DESIGN.md`, "The ledger").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Passed the kernel's filter.
    pub received: u64,
    /// Of those, dropped by the kernel because the ring was full.
    pub dropped: u64,
    /// Dropped by the interface or its driver, before the filter.
    pub if_dropped: u64,
    /// What became of the others.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Ledger {
    /// Whether every packet is accounted for. While a capture runs, packets are on their way and it
    /// need not be.
    pub fn holds(&self) -> bool {
        let Counts { taken, sent } = &self.counts;
        self.received == self.dropped + taken.captured
            && taken.captured
                == taken.sampled + taken.withheld.packets() + sent.packets + sent.unsent()
    }

    /// The counters as the protocol carries them: the low 32 bits.
    pub fn stats(&self) -> Stats {
        Stats {
            received: self.received as u32,
            if_dropped: self.if_dropped as u32,
            kernel_dropped: self.dropped as u32,
            sent: self.counts.sent.packets as u32,
        }
    }

    /// What came on top of an earlier look at the same capture.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, b: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let (ta, tb) = (&self.counts.taken, &b.counts.taken);
        let (sa, sb) = (&self.counts.sent, &b.counts.sent);
        Self {
            received: f(self.received, b.received),
            dropped: f(self.dropped, b.dropped),
            if_dropped: f(self.if_dropped, b.if_dropped),
            counts: Counts {
                taken: Taken {
                    captured: f(ta.captured, tb.captured),
                    sampled: f(ta.sampled, tb.sampled),
                    withheld: Withheld {
                        rate: f(ta.withheld.rate, tb.withheld.rate),
                        cpu: f(ta.withheld.cpu, tb.withheld.cpu),
                    },
                    cut: f(ta.cut, tb.cut),
                },
                sent: Sent {
                    packets: f(sa.packets, sb.packets),
                    bytes: f(sa.bytes, sb.bytes),
                    datagrams: f(sa.datagrams, sb.datagrams),
                    too_large: f(sa.too_large, sb.too_large),
                    unreachable: f(sa.unreachable, sb.unreachable),
                    no_buffers: f(sa.no_buffers, sb.no_buffers),
                    refused: f(sa.refused, sb.refused),
                    closed: f(sa.closed, sb.closed),
                    dry_run: f(sa.dry_run, sb.dry_run),
                    reports: f(sa.reports, sb.reports),
                },
            },
        }
    }

    /// All counts, without a judgement: for a capture that runs.
    pub fn running(&self) -> impl fmt::Display + '_ {
        Running(self)
    }
}

struct Running<'a>(&'a Ledger);

impl fmt::Display for Running<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let l = self.0;
        let Counts { taken, sent } = &l.counts;
        write!(
            f,
            "received={} dropped={} captured={} sampled={} withheld={} sent={} unsent={}",
            l.received,
            l.dropped,
            taken.captured,
            taken.sampled,
            taken.withheld.packets(),
            sent.packets,
            sent.unsent()
        )?;
        for (cause, n) in taken.withheld.by_cause() {
            if n > 0 {
                write!(f, " withheld-{cause}={n}")?;
            }
        }
        for (cause, n) in sent.unsent_by_cause() {
            if n > 0 {
                write!(f, " unsent-{cause}={n}")?;
            }
        }
        for (what, n) in [
            ("cut", taken.cut),
            ("datagrams", sent.datagrams),
            ("unreachable-reports", sent.reports),
        ] {
            if n > 0 {
                write!(f, " {what}={n}")?;
            }
        }
        write!(f, " if-dropped={} bytes={}", l.if_dropped, sent.bytes)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} balanced={}", self.running(), if self.holds() { "yes" } else { "no" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let taken = Taken {
            captured: 9,
            sampled: 1,
            withheld: Withheld { rate: 1, cpu: 0 },
            ..Taken::default()
        };
        let sent = Sent { packets: 4, closed: 3, ..Sent::default() };
        Ledger { received: 10, dropped: 1, if_dropped: 5, counts: Counts { taken, sent } }
    }

    #[test]
    fn a_ledger_holds_only_if_nothing_is_missing() {
        let ledger = ledger();
        assert!(ledger.holds());
        assert!(!Ledger { dropped: 2, ..ledger }.holds());
        let mut wrong = ledger;
        wrong.counts.sent.packets = 5;
        assert!(!wrong.holds());
        assert_eq!(
            ledger.to_string(),
            "received=10 dropped=1 captured=9 sampled=1 withheld=1 sent=4 unsent=3 \
             withheld-rate=1 unsent-closed=3 if-dropped=5 bytes=0 balanced=yes"
        );
    }

    #[test]
    fn differences_and_totals() {
        let (one, both) = (ledger(), ledger().plus(&ledger()));
        assert_eq!((both.received, both.counts.sent.closed), (20, 6));
        assert_eq!(both.since(&one), one);
        assert!(both.holds());
    }
}
