//! Where every packet of a capture went.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use rpcap_proto::wire::Stats;

/// The pump's counts, shared with the session.
///
/// The pump counts in memory of its own and publishes once a block, so that a packet costs no lock.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

/// What became of the packets that were captured, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken from the kernel's ring.
    pub captured: u64,
    /// Left out by sampling.
    pub sampled: u64,
    /// Given to the data connection.
    pub sent: u64,
    /// Bytes given to the data connection, headers included.
    pub sent_bytes: u64,
    /// Not sent: larger than a datagram can be.
    pub too_large: u64,
    /// Not sent: the client's port was reported unreachable.
    pub unreachable: u64,
    /// Not sent: the host had no room for the datagram.
    pub no_buffers: u64,
    /// Not sent: the data connection was over, or never made.
    pub closed: u64,
}

impl Counters {
    /// Publishes the pump's counts.
    pub fn publish(&self, counts: &Counts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = *counts;
    }

    /// The counts as last published.
    pub fn counts(&self) -> Counts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ledger of one capture, in packets (see `DESIGN.md`, "The ledger").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Passed the kernel's filter.
    pub received: u64,
    /// Of those, dropped by the kernel because the ring was full.
    pub dropped: u64,
    /// Dropped by the interface or its driver, before the filter.
    pub if_dropped: u64,
    /// What became of the others.
    pub counts: Counts,
}

impl Ledger {
    /// Packets that were to be sent and were not, of whatever cause.
    pub fn unsent(&self) -> u64 {
        let c = &self.counts;
        c.too_large + c.unreachable + c.no_buffers + c.closed
    }

    /// Whether every packet is accounted for. While a capture runs, packets are on their way and it
    /// need not be.
    pub fn holds(&self) -> bool {
        let c = &self.counts;
        self.received == self.dropped + c.captured
            && c.captured == c.sampled + c.sent + self.unsent()
    }

    /// The counters as the protocol carries them: the low 32 bits.
    pub fn stats(&self) -> Stats {
        Stats {
            received: self.received as u32,
            if_dropped: self.if_dropped as u32,
            kernel_dropped: self.dropped as u32,
            sent: self.counts.sent as u32,
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        write!(
            f,
            "received={} dropped={} captured={} sampled={} sent={} unsent={}",
            self.received,
            self.dropped,
            c.captured,
            c.sampled,
            c.sent,
            self.unsent()
        )?;
        for (cause, n) in [
            ("too-large", c.too_large),
            ("unreachable", c.unreachable),
            ("no-buffers", c.no_buffers),
            ("closed", c.closed),
        ] {
            if n > 0 {
                write!(f, " unsent-{cause}={n}")?;
            }
        }
        write!(f, " if-dropped={} bytes={}", self.if_dropped, c.sent_bytes)?;
        f.write_str(if self.holds() { " balanced=yes" } else { " balanced=no" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_holds_only_if_nothing_is_missing() {
        let counts = Counts { captured: 9, sampled: 2, sent: 4, closed: 3, ..Counts::default() };
        let ledger = Ledger { received: 10, dropped: 1, if_dropped: 5, counts };
        assert!(ledger.holds());
        assert!(!Ledger { dropped: 2, ..ledger }.holds());
        assert!(!Ledger { counts: Counts { sent: 5, ..counts }, ..ledger }.holds());
        assert_eq!(
            ledger.to_string(),
            "received=10 dropped=1 captured=9 sampled=2 sent=4 unsent=3 unsent-closed=3 \
             if-dropped=5 bytes=0 balanced=yes"
        );
    }
}
