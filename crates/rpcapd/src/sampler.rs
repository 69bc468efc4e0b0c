//! Which packets of a capture are delivered.

use std::time::Duration;

use rpcap_proto::wire::Sampling;

/// Applies [`Sampling`] to packets in the order they come.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// Packets to leave out before the next one is kept.
    skip: u32,
    /// Packet time up to which packets are left out.
    until: Duration,
}

impl Sampler {
    /// For the packets of one capture.
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, skip: 0, until: Duration::ZERO }
    }

    /// Whether to deliver a packet that was captured at `at`, since 1970.
    #[inline]
    pub fn keeps(&mut self, at: Duration) -> bool {
        match self.sampling {
            Sampling::None => true,
            Sampling::OneEvery(n) => {
                if self.skip > 0 {
                    self.skip -= 1;
                    return false;
                }
                self.skip = n.saturating_sub(1);
                true
            }
            Sampling::FirstAfterMs(ms) => {
                let interval = Duration::from_millis(ms.into());
                // A clock that was set back does not silence the capture until it has caught up.
                let waiting = at < self.until && self.until - at <= interval;
                if !waiting {
                    self.until = at + interval;
                }
                !waiting
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sampling: Sampling, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut sampler = Sampler::new(sampling);
        times.into_iter().filter(|ms| sampler.keeps(Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn one_of_every_n_starting_with_the_first() {
        assert_eq!(kept(Sampling::OneEvery(3), 0..8), [0, 3, 6]);
        assert_eq!(kept(Sampling::OneEvery(1), 0..3), [0, 1, 2]);
        assert_eq!(kept(Sampling::None, 0..3), [0, 1, 2]);
    }

    #[test]
    fn the_first_after_an_interval_of_packet_time() {
        let times = [1000, 1001, 1099, 1100, 1150, 1200, 5000, 5001];
        assert_eq!(kept(Sampling::FirstAfterMs(100), times), [1000, 1100, 1200, 5000]);
        assert_eq!(kept(Sampling::FirstAfterMs(100), [5000, 10, 20, 110]), [5000, 10, 110]);
    }
}
