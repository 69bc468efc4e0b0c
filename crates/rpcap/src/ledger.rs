//! What became of every packet.

use std::fmt;

use rpcap_proto::wire::Stats;

use crate::data::Received;
use crate::file::Summary;
use crate::text::Count;

/// A daemon's counters, carried on past 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DaemonCounts {
    /// Passed the kernel's filter.
    pub received: u64,
    /// Of those, dropped by the kernel because the capture buffer was full.
    pub dropped: u64,
    /// Dropped by the interface or its driver, before the filter.
    pub if_dropped: u64,
    /// Given to the data connection.
    pub sent: u64,
}

/// Carries a daemon's counters on past 32 bits, if it is asked often enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Widener {
    counts: DaemonCounts,
    last: Stats,
}

impl Widener {
    /// Takes the counters as the daemon told them.
    pub fn take(&mut self, stats: Stats) {
        let add = |total: &mut u64, last: u32, now: u32| {
            let more = now.wrapping_sub(last);
            // A counter that goes back has not run through four thousand million.
            if more.cast_signed() > 0 {
                *total += u64::from(more);
            }
        };
        let (c, last) = (&mut self.counts, self.last);
        add(&mut c.received, last.received, stats.received);
        add(&mut c.dropped, last.kernel_dropped, stats.kernel_dropped);
        add(&mut c.if_dropped, last.if_dropped, stats.if_dropped);
        add(&mut c.sent, last.sent, stats.sent);
        self.last = stats;
    }

    /// The counters as carried on.
    pub fn counts(&self) -> DaemonCounts {
        self.counts
    }
}

/// What a daemon told of a capture, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Its counters after the end: all of it.
    Final(DaemonCounts),
    /// Its counters shortly before the end; some daemons forget them with the capture. What the
    /// packets' own numbers prove is added.
    Before(DaemonCounts),
    /// Nothing.
    #[default]
    Nothing,
}

/// The ledger of one capture, in packets:
///
/// * received by the filter = dropped by the kernel + captured
/// * captured = sampled out or not sent + sent
/// * sent = delivered + lost in the network
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The daemon's side.
    pub told: Told,
    /// Whether the daemon was asked to leave packets out.
    pub sampled: bool,
    /// This side.
    pub received: Received,
}

/// Whether every packet is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Holds,
    /// As far as the daemon tells.
    HoldsAsFarAsKnown,
    /// It is not: this is wrong.
    Broken(&'static str),
}

impl Ledger {
    /// The daemon's counters as far as they are known.
    pub fn daemon(&self) -> DaemonCounts {
        match self.told {
            Told::Final(counts) => counts,
            Told::Before(counts) => {
                // Whatever came after that was captured and sent too.
                let sent = counts.sent.max(self.received.last_number);
                DaemonCounts {
                    sent,
                    received: counts.received.max(counts.dropped + sent),
                    ..counts
                }
            }
            Told::Nothing => DaemonCounts {
                sent: self.received.last_number,
                received: self.received.last_number,
                ..DaemonCounts::default()
            },
        }
    }

    /// Taken from the kernel by the daemon.
    pub fn captured(&self) -> u64 {
        let daemon = self.daemon();
        daemon.received.saturating_sub(daemon.dropped)
    }

    /// Captured and not sent: left out by sampling, withheld, or impossible to send.
    pub fn unsent(&self) -> u64 {
        self.captured().saturating_sub(self.daemon().sent)
    }

    /// Arrived, each once.
    pub fn delivered(&self) -> u64 {
        self.received.packets
    }

    /// Sent and not arrived.
    pub fn lost(&self) -> u64 {
        self.daemon().sent.saturating_sub(self.delivered())
    }

    /// Whether the three lines add up, judged by numbers that do not depend on each other: the
    /// daemon's counters, the numbers on the packets, and what arrived.
    pub fn verdict(&self) -> Verdict {
        let daemon = self.daemon();
        if daemon.dropped > daemon.received {
            Verdict::Broken("the daemon says that it dropped more than it received")
        } else if daemon.sent > self.captured() {
            Verdict::Broken("the daemon says that it sent more than it captured")
        } else if self.delivered() > daemon.sent {
            Verdict::Broken("more packets came than the daemon says it sent")
        } else if self.received.gaps() > self.lost() + self.unsent() {
            Verdict::Broken("more packets are missing than the daemon says it sent")
        } else if matches!(self.told, Told::Final(_)) {
            Verdict::Holds
        } else {
            Verdict::HoldsAsFarAsKnown
        }
    }

    /// What a capture file says of it, times left out.
    pub fn summary(&self) -> Summary {
        let daemon = self.daemon();
        let told = self.told != Told::Nothing;
        Summary {
            received: told.then_some(daemon.received),
            if_dropped: told.then_some(daemon.if_dropped),
            filter_accepted: told.then_some(daemon.received),
            os_dropped: told.then_some(daemon.dropped),
            delivered: Some(self.delivered()),
            comment: self.to_string(),
            ..Summary::default()
        }
    }

    /// Whether nothing contradicts anything.
    pub fn holds(&self) -> bool {
        !matches!(self.verdict(), Verdict::Broken(_))
    }
}

impl fmt::Display for Ledger {
    /// Several lines, the last without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let daemon = self.daemon();
        let (unsent, at_least) = (
            match (self.sampled, self.told) {
                (true, _) => "sampled out or not sent",
                (false, Told::Before(_)) => "not sent yet when last asked",
                _ => "not sent",
            },
            if matches!(self.told, Told::Final(_)) { "" } else { ", at least" },
        );
        let mut line = |name: &str, total, [(a, left), (b, right)]: [(u64, &str); 2], end: &str| {
            writeln!(
                f,
                "{name:<22} {:>13} = {} {left} + {} {right}{end}",
                Count(total),
                Count(a),
                Count(b)
            )
        };
        if self.told != Told::Nothing {
            line(
                "received by the filter",
                daemon.received,
                [(daemon.dropped, "dropped by the kernel"), (self.captured(), "captured")],
                at_least,
            )?;
            line(
                "captured",
                self.captured(),
                [(self.unsent(), unsent), (daemon.sent, "sent")],
                at_least,
            )?;
        }
        line(
            "sent",
            daemon.sent,
            [(self.delivered(), "delivered"), (self.lost(), "lost in the network")],
            at_least,
        )?;
        let r = &self.received;
        for (n, what) in [
            (daemon.if_dropped, "packets dropped by the interface, before the filter"),
            (r.surplus, "packets delivered after no more were wanted"),
            (r.duplicates, "packets delivered twice or too late to tell"),
            (r.udpstr.lost, "datagrams lost in the network"),
            (r.overflowed, "datagrams dropped by this host, where too many waited"),
            (r.udpstr.broken, "packets lost because their last part was"),
            (r.udpstr.duplicates, "datagrams delivered twice"),
            (r.udpstr.late, "datagrams too late to be used"),
            (r.udpstr.reordered, "datagrams put back in order"),
            (r.malformed + r.udpstr.malformed, "datagrams that are no packets"),
            (r.truncated, "datagrams longer than any can be"),
            (r.foreign, "datagrams from somebody else"),
            (r.sealed.clear, "datagrams that were not encrypted, refused"),
            (r.sealed.forged, "datagrams forged or changed on the way, refused"),
            (r.sealed.replayed, "encrypted datagrams that came twice"),
            (r.sealed.old, "encrypted datagrams too late to tell whether they came before"),
        ] {
            if n > 0 {
                writeln!(f, "also: {} {what}", Count(n))?;
            }
        }
        match (self.verdict(), self.told) {
            (Verdict::Holds, _) => f.write_str("The ledger adds up."),
            (Verdict::Broken(why), _) => write!(f, "The ledger does not add up: {why}."),
            (_, Told::Before(_)) => f.write_str(
                "The ledger adds up as far as it is known: this daemon keeps no counters after \
                 the end.",
            ),
            _ => f.write_str("The daemon told no counters: what it dropped is not known."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger {
            told: Told::Final(DaemonCounts {
                received: 1300,
                dropped: 100,
                if_dropped: 0,
                sent: 1190,
            }),
            sampled: false,
            received: Received { packets: 1180, last_number: 1189, ..Received::default() },
        }
    }

    #[test]
    fn adds_up_and_says_how() {
        assert_eq!(ledger().verdict(), Verdict::Holds);
        assert_eq!(
            ledger().to_string(),
            "\
received by the filter         1,300 = 100 dropped by the kernel + 1,200 captured
captured                       1,200 = 10 not sent + 1,190 sent
sent                           1,190 = 1,180 delivered + 10 lost in the network
The ledger adds up."
        );
    }

    #[test]
    fn what_became_of_udpstr_datagrams_is_told() {
        let mut l = ledger();
        l.received.malformed = 1;
        l.received.overflowed = 1100;
        l.received.udpstr = rpcap_proto::udpstr::Counts {
            lost: 1200,
            duplicates: 2,
            late: 3,
            reordered: 4,
            malformed: 5,
            broken: 6,
            ..Default::default()
        };
        let text = l.to_string();
        let also: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("also: ")).collect();
        assert_eq!(
            also,
            [
                "1,200 datagrams lost in the network",
                "1,100 datagrams dropped by this host, where too many waited",
                "6 packets lost because their last part was",
                "2 datagrams delivered twice",
                "3 datagrams too late to be used",
                "4 datagrams put back in order",
                "6 datagrams that are no packets",
            ]
        );
        assert!(l.holds());
    }

    #[test]
    fn contradictions_are_found() {
        let with = |change: &dyn Fn(&mut DaemonCounts, &mut Received)| {
            let mut l = ledger();
            let Told::Final(counts) = &mut l.told else { unreachable!() };
            change(counts, &mut l.received);
            l.holds()
        };
        assert!(with(&|_, _| {}));
        assert!(!with(&|c, _| c.dropped = 1301));
        assert!(!with(&|c, _| c.sent = 1201));
        assert!(!with(&|_, r| r.packets = 1191));
        assert!(!with(&|_, r| r.last_number = 1201));
    }

    #[test]
    fn a_daemon_that_forgets_does_not_make_it_lie() {
        let mut l = ledger();
        l.told = Told::Before(DaemonCounts { received: 900, dropped: 0, if_dropped: 0, sent: 900 });
        assert_eq!(l.verdict(), Verdict::HoldsAsFarAsKnown);
        assert_eq!((l.captured(), l.daemon().sent, l.lost()), (1189, 1189, 9));
        l.told = Told::Nothing;
        assert_eq!((l.verdict(), l.lost()), (Verdict::HoldsAsFarAsKnown, 9));
        assert!(l.to_string().ends_with("is not known."));
    }

    #[test]
    fn counters_go_on_past_32_bits() {
        let mut w = Widener::default();
        for received in [u32::MAX / 2, u32::MAX - 1, 10, 5] {
            w.take(Stats { received, ..Stats::default() });
        }
        assert_eq!(w.counts().received, (1 << 32) + 10);
    }
}
