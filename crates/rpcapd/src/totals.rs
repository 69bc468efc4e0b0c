//! What became of all packets since the daemon began, for counters that never go back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::ledger::Ledger;

/// Most pairs of a device and a client that are told apart, so that clients that come from ever new
/// addresses cost no memory.
const PAIRS: usize = 1000;

/// What devices and clients beyond those are called.
const OTHERS: &str = "others";

/// Ledgers by device and client, summed up.
#[derive(Clone, Debug, Default)]
pub struct Totals(BTreeMap<(String, String), Ledger>);

impl Totals {
    /// Adds a capture.
    pub fn add(&mut self, device: &str, peer: IpAddr, ledger: &Ledger) {
        let mut pair = (device.to_owned(), peer.to_string());
        if !self.0.contains_key(&pair) && self.0.len() >= PAIRS {
            pair = (OTHERS.to_owned(), OTHERS.to_owned());
        }
        let total = self.0.entry(pair).or_default();
        *total = total.plus(ledger);
    }

    /// The totals: device, client and what became of their packets.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Ledger)> {
        self.0.iter().map(|((device, peer), ledger)| (device.as_str(), peer.as_str(), ledger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_without_end_are_summed_up() {
        let ledger = Ledger { received: 1, ..Ledger::default() };
        let mut totals = Totals::default();
        for n in 0..2000u32 {
            totals.add("eth0", IpAddr::from(n.to_be_bytes()), &ledger);
        }
        // A known one stays by itself.
        totals.add("eth0", IpAddr::from([0, 0, 0, 1]), &ledger);
        let all: Vec<_> = totals.iter().collect();
        assert_eq!(all.len(), PAIRS + 1);
        assert_eq!(all.iter().map(|(_, _, l)| l.received).sum::<u64>(), 2001);
        let of = |peer| all.iter().find(|(_, p, _)| *p == peer).unwrap().2.received;
        assert_eq!((of("0.0.0.1"), of(OTHERS)), (2, 1000));
    }
}
