//! What the kernel counts of the daemon's host: bytes on an interface, and fragments.
//!
//! Of the network namespace that the calling thread is in.

use std::fs;

use anyhow::Context;

/// Bytes of the headers around the payload of one frame: at least those of Ethernet and IP, as a
/// fragment has them; at most those, and TCP's with its options.
const HEADERS: std::ops::RangeInclusive<u64> = 34..=14 + 20 + 60;

/// What went out of an interface. A veth pair takes large segments whole, and counts each as one
/// frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// With all headers from Ethernet's on.
    pub(crate) bytes: u64,
    /// Frames.
    pub(crate) frames: u64,
}

impl Traffic {
    /// So far.
    pub(crate) fn out_of(interface: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/thread-self/net/dev")?;
        Self::parse(&text, interface).with_context(|| format!("no counters of {interface}"))
    }

    fn parse(text: &str, interface: &str) -> Option<Self> {
        let line = text.lines().find_map(|l| l.trim_start().strip_prefix(interface))?;
        let mut sent = line.strip_prefix(':')?.split_whitespace().skip(8);
        Some(Self { bytes: sent.next()?.parse().ok()?, frames: sent.next()?.parse().ok()? })
    }

    /// What went out after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { bytes: self.bytes - earlier.bytes, frames: self.frames - earlier.frames }
    }

    /// Whether it can be `payload` bytes, each sent once, in their headers and with little else.
    pub(crate) fn carries(self, payload: u64) -> bool {
        // The few frames of a connection that nothing is sent on.
        const BESIDES: u64 = 16;
        let least = HEADERS.start() * self.frames.saturating_sub(BESIDES);
        let most = HEADERS.end() * self.frames;
        self.bytes.checked_sub(payload).is_some_and(|headers| (least..=most).contains(&headers))
    }
}

/// IP fragments that were made so far.
pub(crate) fn fragments() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
    counter(&text, "Ip:", "FragCreates").context("no FragCreates in snmp")
}

/// A counter of a table as `/proc/net/snmp` has it: a line of names, then one of values.
fn counter(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|l| l.starts_with(table));
    let (names, values) = lines.next().zip(lines.next())?;
    let at = names.split(' ').position(|n| n == name)?;
    values.split(' ').nth(at)?.parse().ok()
}

/// Whether somebody listens on a TCP port over IPv4.
pub(crate) fn listens(port: u16) -> bool {
    let text = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    is_listening(&text, port)
}

fn is_listening(text: &str, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    text.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        // Local address, the other one, state: 0A is LISTEN.
        let local = fields.next().is_some_and(|a| a.ends_with(&wanted));
        local && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let dev = "Inter-|   Receive                            |  Transmit\n \
                   face |bytes    packets errs drop fifo frame compressed multicast|bytes \n\
                   bench-daemon: 1 2 0 0 0 0 0 0 300 4 0 0 0 0 0 0\n    \
                   lo:      11      12    0    0    0     0          0         0       13      14\n";
        let traffic = |name| Traffic::parse(dev, name).map(|t| (t.bytes, t.frames));
        assert_eq!(traffic("bench-daemon"), Some((300, 4)));
        assert_eq!(traffic("lo"), Some((13, 14)));
        assert_eq!(traffic("bench"), None);
        let snmp = "Ip: Forwarding FragOKs FragCreates\nIp: 1 2 3\nIcmp: InMsgs\nIcmp: 9\n";
        assert_eq!(counter(snmp, "Ip:", "FragCreates"), Some(3));
        assert_eq!(counter(snmp, "Icmp:", "FragCreates"), None);
    }

    #[test]
    fn bytes_on_the_wire_are_the_payload_and_headers() {
        let traffic = Traffic { bytes: 100_000 + 100 * 42, frames: 100 };
        assert!(traffic.carries(100_000));
        // Twice the payload, and less than it.
        assert!(!traffic.carries(50_000) && !traffic.carries(110_000));
    }

    #[test]
    fn a_listener_is_told_from_a_connection() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
                     0: 010012C6:1451 00000000:0000 0A 00000000:00000000\n   \
                     1: 010012C6:07D2 020012C6:C001 01 00000000:00000000\n";
        assert!(is_listening(table, 5201));
        assert!(!is_listening(table, 2002) && !is_listening(table, 0x451));
    }
}
