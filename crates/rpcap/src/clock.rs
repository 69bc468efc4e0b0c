//! How far a daemon's clock is from this host's.
//!
//! Packets have the time of the host that captured them. A daemon that can ([`StartFlags::CLOCK`])
//! tells its clock with its counters, and four times make an offset, as NTP has it: t0 here, when it
//! was asked; t1 and t2 there, when it had read the question and answered it; t3 here, when the
//! answer came. The offset is ((t1 − t0) + (t2 − t3)) / 2. Whatever part of the way took how long, it
//! is wrong by half of what both ways took together, at most.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

#[cfg(doc)]
use rpcap_proto::wire::StartFlags;
use rpcap_proto::wire::{Clock, Stats};

use crate::file::nanos;

/// How many exchanges are remembered.
const REMEMBERED: usize = 8;

/// What two clocks may come apart in a second, in nanoseconds: what NTP takes for it.
const DRIFT: u128 = 15_000;

/// Questions at the beginning of a capture. The first one often takes longest.
pub(crate) const FIRST: usize = 4;

/// After this, no more are asked at the beginning: the way is long, and one has to do.
pub(crate) const FIRST_WITHIN: Duration = Duration::from_millis(20);

/// The daemon's clock minus this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Offset {
    /// Nanoseconds; less than 0 if the daemon's is behind.
    pub nanos: i64,
    /// How many nanoseconds it may be wrong, either way.
    pub error: u64,
}

impl fmt::Display for Offset {
    /// As it stands in files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clock-offset-ns={} error-ns={}", self.nanos, self.error)
    }
}

impl Offset {
    /// The same for people.
    pub fn in_words(&self) -> String {
        let millis = |nanos: u64| format!("{}.{:06}", nanos / 1_000_000, nanos % 1_000_000);
        let way = if self.nanos < 0 { "behind" } else { "ahead of" };
        let (offset, error) = (millis(self.nanos.unsigned_abs()), millis(self.error));
        format!("The daemon's clock is {offset} ms {way} this host's, give or take {error} ms.")
    }
}

/// When a daemon was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    wall: Option<u64>,
    at: Instant,
}

impl Question {
    /// It is about to be sent.
    pub(crate) fn now() -> Self {
        // In this order what comes between the two makes the way longer, and so the error larger.
        let at = Instant::now();
        Self { wall: nanos(SystemTime::now()), at }
    }
}

/// An exchange that told something.
#[derive(Clone, Copy, Debug)]
struct Sample {
    offset: Offset,
    at: Instant,
}

impl Sample {
    /// `None` for times that cannot be: a clock was set meanwhile, or they are made up.
    fn new(sent: u64, elapsed: Duration, clock: Clock, at: Instant) -> Option<Self> {
        let elapsed = i128::try_from(elapsed.as_nanos()).ok()?;
        let [t0, t1, t2] = [sent, clock.taken, clock.replied].map(i128::from);
        // Not what the clock says then: if somebody sets it meanwhile, only t0 is wrong.
        let t3 = t0 + elapsed;
        let travelled = elapsed - (t2 - t1);
        if t2 < t1 || travelled < 0 {
            return None;
        }
        let nanos = i64::try_from(((t1 - t0) + (t2 - t3)) / 2).ok()?;
        // Halves are rounded up.
        let error = u64::try_from(travelled / 2 + 1).ok()?;
        Some(Self { offset: Offset { nanos, error }, at })
    }

    /// The offset, as wrong as it may be by now.
    fn aged(&self, now: Instant) -> Offset {
        let age = now.saturating_duration_since(self.at);
        let drift = age.as_nanos() * DRIFT / 1_000_000_000;
        let error = self.offset.error.saturating_add(u64::try_from(drift).unwrap_or(u64::MAX));
        Offset { error, ..self.offset }
    }
}

/// The last exchanges of a capture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Estimate {
    samples: [Option<Sample>; REMEMBERED],
    next: usize,
}

impl Estimate {
    /// The answer to a question came just now; its counters.
    pub(crate) fn answered(
        &mut self,
        question: Question,
        (stats, clock): (Stats, Option<Clock>),
    ) -> Stats {
        let elapsed = question.at.elapsed();
        if let (Some(sent), Some(clock)) = (question.wall, clock)
            && let Some(sample) = Sample::new(sent, elapsed, clock, question.at + elapsed)
        {
            self.take(sample);
        }
        stats
    }

    fn take(&mut self, sample: Sample) {
        let apart = |before: Offset| {
            let most = u128::from(before.error) + u128::from(sample.offset.error);
            u128::from(before.nanos.abs_diff(sample.offset.nanos)) > most
        };
        // Both cannot be true unless a clock was set, or runs as no clock should.
        if self.offset(sample.at).is_some_and(apart) {
            *self = Self::default();
        }
        self.samples[self.next] = Some(sample);
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// What is known by now: of the last exchanges the one that can be least wrong.
    pub(crate) fn offset(&self, now: Instant) -> Option<Offset> {
        self.samples.iter().flatten().map(|s| s.aged(now)).min_by_key(|offset| offset.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: u64 = 1_700_000_000_000_000_000;

    /// An exchange with a daemon whose clock is off by so much; there, at work, and back in
    /// nanoseconds.
    fn exchange(off: i64, [there, work, back]: [u64; 3], at: Instant) -> Option<Sample> {
        let taken = T0.checked_add_signed(off)?.checked_add(there)?;
        let clock = Clock { taken, replied: taken + work };
        Sample::new(T0, Duration::from_nanos(there + work + back), clock, at)
    }

    proptest! {
        #[test]
        fn never_more_wrong_than_it_says(
            off in -4_000_000_000_000_000..4_000_000_000_000_000i64,
            way in prop::array::uniform3(0..2_000_000_000u64),
        ) {
            let Sample { offset, .. } = exchange(off, way, Instant::now()).unwrap();
            prop_assert!(offset.nanos.abs_diff(off) <= offset.error);
            prop_assert!(offset.error <= (way[0] + way[2]) / 2 + 1);
        }

        #[test]
        fn any_times_are_taken_or_left(sent: u64, elapsed: u64, taken: u64, replied: u64) {
            let mut estimate = Estimate::default();
            let (clock, now) = (Clock { taken, replied }, Instant::now());
            if let Some(sample) = Sample::new(sent, Duration::from_nanos(elapsed), clock, now) {
                estimate.take(sample);
            }
            let later = now + Duration::from_secs(1 << 30);
            prop_assert!(estimate.offset(later).is_none_or(|offset| offset.error > 0));
        }
    }

    #[test]
    fn the_shortest_way_tells_most_until_it_is_old() {
        let start = Instant::now();
        let mut estimate = Estimate::default();
        assert_eq!(estimate.offset(start), None);
        let mut take = |seconds: u64, error: u64| {
            let at = start + Duration::from_secs(seconds);
            // All of the error on one way: the offset looks larger by half of it.
            estimate.take(exchange(-5_000_000, [2 * error, 1000, 0], at).unwrap());
            estimate.offset(at).unwrap()
        };
        assert_eq!(take(0, 400_000), Offset { nanos: -4_600_000, error: 400_001 });
        assert_eq!(take(1, 100_000), Offset { nanos: -4_900_000, error: 100_001 });
        // A worse one, and the better one is ten seconds old.
        assert_eq!(take(11, 300_000), Offset { nanos: -4_900_000, error: 250_001 });
        assert_eq!(take(31, 300_000), Offset { nanos: -4_700_000, error: 300_001 });
        for seconds in 32..32 + REMEMBERED as u64 {
            take(seconds, 500_000);
        }
        assert_eq!(take(40, 500_000).nanos, -4_500_000);
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let start = Instant::now();
        let mut estimate = Estimate::default();
        estimate.take(exchange(7_000_000, [1000, 0, 1000], start).unwrap());
        let later = start + Duration::from_secs(1);
        estimate.take(exchange(-9_000_000, [80_000, 0, 80_000], later).unwrap());
        assert_eq!(estimate.offset(later), Some(Offset { nanos: -9_000_000, error: 80_001 }));
    }

    #[test]
    fn times_that_cannot_be_tell_nothing() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        for (taken, replied) in [(T0, T0 - 1), (T0, T0 + 1_000_000_001), (0, u64::MAX)] {
            assert!(Sample::new(T0, second, Clock { taken, replied }, now).is_none());
        }
        // Further from here than any clock: there is no number for it.
        assert!(
            Sample::new(0, second, Clock { taken: u64::MAX, replied: u64::MAX }, now).is_none()
        );
    }

    #[test]
    fn words() {
        let offset = |nanos| Offset { nanos, error: 50_000 };
        assert_eq!(offset(-1_234_567).to_string(), "clock-offset-ns=-1234567 error-ns=50000");
        assert_eq!(
            offset(-1_234_567).in_words(),
            "The daemon's clock is 1.234567 ms behind this host's, give or take 0.050000 ms."
        );
        assert!(offset(2_000_000_001).in_words().contains("is 2000.000001 ms ahead of this"));
    }
}
