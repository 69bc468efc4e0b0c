//! The last hour, in memory: what came, and what was lost.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Web;
use crate::collector::stream::Stream;
use crate::locked::lock;

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);
/// Looks for each point that is kept.
const STEP: u32 = 5;
/// Points that are kept of each stream: an hour.
const POINTS: usize = 720;
/// Points of all streams together: 1,000 agents for an hour, 24 MB.
const ALL_POINTS: usize = 1000 * POINTS;

/// Packets and bytes so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    packets: u64,
    bytes: u64,
    lost: u64,
    dropped: u64,
    not_written: u64,
}

/// How much of it in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Rates {
    packets_per_second: f32,
    bits_per_second: f32,
    /// Lost in the network.
    lost_per_second: f32,
    /// Dropped by the agent's kernel.
    dropped_per_second: f32,
    /// Not taken by an output, or for want of room before it.
    not_written_per_second: f32,
}

/// A while.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    /// Its end, in seconds since 1970.
    time: u32,
    #[serde(flatten)]
    rates: Rates,
}

/// What is remembered of a stream.
#[derive(Debug, Default)]
struct Track {
    last: Counts,
    rates: Rates,
    /// As it was at the newest point.
    at_point: Counts,
    points: VecDeque<Point>,
}

/// What is remembered of all.
#[derive(Debug)]
pub(super) struct Histories {
    tracks: HashMap<u32, Track>,
    all: Track,
    /// Of streams that were forgotten.
    gone: Counts,
    looks: u32,
    looked: Instant,
    pointed: Instant,
}

/// The last hour of a stream, or of all.
#[derive(Debug, Serialize)]
pub(super) struct History {
    /// Seconds from point to point.
    step: u32,
    points: Vec<Point>,
}

impl Default for Histories {
    fn default() -> Self {
        let now = Instant::now();
        let (tracks, all, gone) = Default::default();
        Self { tracks, all, gone, looks: 0, looked: now, pointed: now }
    }
}

/// Looks each second. Ends with the runtime.
pub(super) async fn keep(web: Arc<Web>) {
    let mut tick = interval_at(Instant::now() + TICK, TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let streams = web.shared.registry.streams();
        let counts = streams.iter().map(|stream| (stream.id, Counts::of(stream)));
        lock(&web.histories).look(counts, Instant::now(), SystemTime::now());
        web.ticks.send_modify(|ticks| *ticks += 1);
    }
}

impl Histories {
    /// How much comes of a stream.
    pub(super) fn rates(&self, stream: u32) -> Rates {
        self.tracks.get(&stream).map(|track| track.rates).unwrap_or_default()
    }

    /// The last hour of a stream.
    pub(super) fn of(&self, stream: u32) -> History {
        History::of(self.tracks.get(&stream).unwrap_or(&Track::default()))
    }

    /// The last hour of all streams together.
    pub(super) fn of_all(&self) -> History {
        History::of(&self.all)
    }

    fn look(
        &mut self,
        counts: impl Iterator<Item = (u32, Counts)>,
        now: Instant,
        clock: SystemTime,
    ) {
        let time = now.duration_since(self.looked);
        self.looked = now;
        self.looks += 1;
        let point = self.looks.is_multiple_of(STEP).then(|| {
            let time = now.duration_since(self.pointed);
            self.pointed = now;
            let clock = clock.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            (u32::try_from(clock).unwrap_or(u32::MAX), time)
        });
        let mut tracks = std::mem::take(&mut self.tracks);
        let mut sum = Counts::default();
        for (stream, counts) in counts {
            sum.add(&counts);
            let mut track = tracks.remove(&stream).unwrap_or_default();
            track.look(counts, time);
            self.tracks.insert(stream, track);
        }
        // Those that are left are forgotten by the registry; what came of them was not nothing.
        tracks.values().for_each(|track| self.gone.add(&track.last));
        sum.add(&self.gone);
        self.all.look(sum, time);
        if let Some((clock, time)) = point {
            let mut kept: usize = self.tracks.values().map(|track| track.points.len()).sum();
            for track in self.tracks.values_mut() {
                let full = kept >= ALL_POINTS;
                kept += usize::from(track.point(clock, time, full));
            }
            self.all.point(clock, time, false);
        }
    }
}

impl Track {
    fn look(&mut self, counts: Counts, time: Duration) {
        self.rates = Rates::between(&self.last, &counts, time);
        self.last = counts;
    }

    /// Adds a point, in the place of the oldest one if there are enough, or there is no room for more;
    /// whether there is one more than before.
    fn point(&mut self, clock: u32, time: Duration, full: bool) -> bool {
        let rates = Rates::between(&self.at_point, &self.last, time);
        self.at_point = self.last;
        let replaces = full || self.points.len() >= POINTS;
        if replaces && self.points.pop_front().is_none() {
            return false;
        }
        self.points.push_back(Point { time: clock, rates });
        !replaces
    }
}

impl Counts {
    fn of(stream: &Stream) -> Self {
        let (totals, fates) = (stream.totals(), stream.fates());
        Self {
            packets: totals.delivered,
            bytes: totals.bytes,
            lost: totals.lost,
            dropped: totals.dropped,
            not_written: fates.iter().map(|f| f.not_written + f.overflowed).sum(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.dropped += other.dropped;
        self.not_written += other.not_written;
    }
}

impl Rates {
    fn between(before: &Counts, after: &Counts, time: Duration) -> Self {
        // What was thought to be lost may come late.
        let rate = |before: u64, after: u64| {
            let rate = after.saturating_sub(before) as f64 / time.as_secs_f64().max(0.001);
            ((rate * 10.0).round() / 10.0) as f32
        };
        Self {
            packets_per_second: rate(before.packets, after.packets),
            bits_per_second: rate(before.bytes * 8, after.bytes * 8),
            lost_per_second: rate(before.lost, after.lost),
            dropped_per_second: rate(before.dropped, after.dropped),
            not_written_per_second: rate(before.not_written, after.not_written),
        }
    }
}

impl History {
    fn of(track: &Track) -> Self {
        let step = STEP * TICK.as_secs() as u32;
        Self { step, points: track.points.iter().copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock(Histories, Instant, SystemTime);

    impl Clock {
        fn new() -> Self {
            let (histories, now) = (Histories::default(), SystemTime::UNIX_EPOCH);
            let at = histories.looked;
            Self(histories, at, now)
        }

        fn second(&mut self, counts: &[(u32, u64)]) {
            self.1 += TICK;
            self.2 += TICK;
            let counts = counts.iter().map(|(id, packets)| {
                let bytes = packets * 100;
                (*id, Counts { packets: *packets, bytes, ..Counts::default() })
            });
            self.0.look(counts, self.1, self.2);
        }
    }

    #[test]
    fn rates_are_those_of_the_last_second_and_points_those_of_five() {
        let mut clock = Clock::new();
        for n in 1..=5 {
            clock.second(&[(1, n * 10), (2, n * n)]);
        }
        let rates = clock.0.rates(1);
        assert_eq!((rates.packets_per_second, rates.bits_per_second), (10.0, 8000.0));
        assert_eq!(clock.0.rates(2).packets_per_second, 9.0);
        assert_eq!(clock.0.rates(3), Rates::default());
        let points = clock.0.of(2).points;
        assert_eq!(points.len(), 1);
        assert_eq!((points[0].time, points[0].rates.packets_per_second), (5, 5.0));
        assert_eq!(clock.0.of_all().points[0].rates.packets_per_second, 15.0);
        let json = serde_json::to_value(clock.0.of(2)).unwrap();
        assert_eq!(json["step"], 5);
        assert_eq!(json["points"][0]["lost-per-second"], 0.0);
    }

    #[test]
    fn what_is_forgotten_leaves_no_dent_and_no_point() {
        let mut clock = Clock::new();
        (0..5).for_each(|_| clock.second(&[(1, 50), (2, 100)]));
        (0..5).for_each(|n| clock.second(&[(1, 50 + n)]));
        assert!(clock.0.of(2).points.is_empty());
        let all = clock.0.of_all().points;
        assert_eq!(all[0].rates.packets_per_second, 30.0);
        assert_eq!(all[1].rates.packets_per_second, 0.8);
    }

    #[test]
    fn an_hour_is_kept_and_there_is_an_end_to_all_of_them() {
        let mut clock = Clock::new();
        for n in 0..3700 {
            clock.second(&[(1, n)]);
        }
        let points = clock.0.of(1).points;
        assert_eq!((points.len(), points[0].time, points[719].time), (POINTS, 105, 3700));
        // More streams than there is room for: each has a little less, none is left out.
        let mut track = Track::default();
        assert!(track.point(1, TICK, false) && !track.point(2, TICK, true));
        assert_eq!((track.points.len(), track.points[0].time), (1, 2));
        assert!(!Track::default().point(1, TICK, true));
    }
}
