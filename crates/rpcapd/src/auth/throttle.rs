//! Addresses from which logins were refused wait longer and longer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Refusals in a row that cost nothing but the second that each costs.
const FREE: u32 = 5;

/// The first wait, which doubles, and the longest.
const WAIT: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];

/// How long a refusal is remembered.
const MEMORY: Duration = Duration::from_secs(600);

/// Addresses that are remembered; beyond it those that were refused longest ago are forgotten.
const ADDRESSES: usize = 4096;

/// Refusals in a row, by address.
#[derive(Debug, Default)]
pub(super) struct Throttle(HashMap<IpAddr, Refused>);

#[derive(Clone, Copy, Debug)]
struct Refused {
    times: u32,
    last: Instant,
}

impl Throttle {
    /// Whether nothing from this address is looked at now.
    pub(super) fn is_closed(&self, from: IpAddr, now: Instant) -> bool {
        self.0.get(&network(from)).is_some_and(|r| now.duration_since(r.last) < wait(r.times))
    }

    /// A login was accepted.
    pub(super) fn accepted(&mut self, from: IpAddr) {
        self.0.remove(&network(from));
    }

    /// A login was refused.
    pub(super) fn refused(&mut self, from: IpAddr, now: Instant) {
        let recent = |r: &Refused| now.duration_since(r.last) < MEMORY;
        if self.0.len() >= ADDRESSES {
            self.0.retain(|_, r| recent(r));
        }
        if self.0.len() >= ADDRESSES
            && let Some(oldest) = self.0.iter().min_by_key(|(_, r)| r.last).map(|(a, _)| *a)
        {
            self.0.remove(&oldest);
        }
        let known = self.0.get(&network(from)).copied().filter(recent);
        let times = known.map_or(0, |r| r.times).saturating_add(1);
        self.0.insert(network(from), Refused { times, last: now });
    }
}

fn wait(times: u32) -> Duration {
    match times.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(n) => WAIT[0].saturating_mul(1 << n.min(10)).min(WAIT[1]),
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let mut throttle = Throttle::default();
        let from = "192.0.2.1".parse().unwrap();
        let start = Instant::now();
        for _ in 1..FREE {
            throttle.refused(from, start);
            assert!(!throttle.is_closed(from, start));
        }
        let at = |seconds| start + Duration::from_secs(seconds);
        throttle.refused(from, start);
        assert!(throttle.is_closed(from, at(1)) && !throttle.is_closed(from, at(2)));
        assert!(!throttle.is_closed("192.0.2.2".parse().unwrap(), start), "nobody else waits");
        throttle.refused(from, at(2));
        assert!(throttle.is_closed(from, at(5)) && !throttle.is_closed(from, at(6)));
        for _ in 0..1_000 {
            throttle.refused(from, at(6));
        }
        assert!(throttle.is_closed(from, at(65)) && !throttle.is_closed(from, at(66)));
        throttle.accepted(from);
        assert!(!throttle.is_closed(from, at(6)));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut throttle = Throttle::default();
        let from = "192.0.2.1".parse().unwrap();
        let start = Instant::now();
        for _ in 0..10 {
            throttle.refused(from, start);
        }
        let later = start + MEMORY;
        throttle.refused(from, later);
        assert!(!throttle.is_closed(from, later));
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_an_ipv4_address_in_ipv6_is_itself() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(ip("2001:db8::1")), network(ip("2001:db8::ffff:0:1")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..10_000u32 {
            throttle.refused(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(throttle.0.len(), ADDRESSES);
    }
}
