//! CPU time of the threads that capture and send, of all captures together.
//!
//! Time is cut into periods of 100 ms, and each has a budget. A thread notes what it used once a block
//! (or batch), by the clock of its own CPU time. Two things follow, and nothing but these numbers
//! enters into them:
//!
//! * **Pause.** Once a period's budget is used up, blocks go back to the kernel unread until the period
//!   ends, their packets counted. That costs a fraction of a microsecond a block, so the budget holds
//!   at any rate of packets. What the last block took above it is missing in the next period.
//! * **Level.** A period that had to be paused raises the level by one: at level `n` one of `2^n` flows
//!   is forwarded, both directions of it, so that what still comes is whole conversations. At the
//!   last level pauses do the rest. Ten periods one after the other that used no more than two fifths
//!   of the budget lower it by one, because half as many flows left out may cost twice as much. In
//!   between it stays.
//!
//! So a load that goes on ends where sampling alone keeps to the budget, and when it is over, every
//! flow is back after a second for each level.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::locked::lock;

/// What a budget is for.
pub const PERIOD: Duration = Duration::from_millis(100);

/// The level at which one of 64 flows is forwarded.
const FLOWS: u8 = 6;

/// The level above it, at which pauses are all that is left.
const LAST: u8 = FLOWS + 1;

/// Calm periods until the level sinks.
const CALM: u32 = 10;

/// Budgets that can be missing.
const DEBT: u32 = 10;

/// How often a change is logged at most.
const SAY: Duration = Duration::from_secs(1);

/// Percent of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u32);

/// As it is given on the command line.
impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl std::str::FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_end_matches('%').parse() {
            Ok(percent @ 1..=10_000) => Ok(Self(percent)),
            _ => Err("expected percent of one core, from 1% to 10000%".to_owned()),
        }
    }
}

/// What a block's packets may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Nothing: the budget is used up.
    pub paused: bool,
    /// The sampling of flows; 0 is none.
    pub level: u8,
    /// Whether a change was not logged yet.
    untold: bool,
}

impl Standing {
    /// The bits of a flow's number that are 0 if the flow is forwarded.
    pub fn mask(self) -> u64 {
        (1 << self.level.min(FLOWS)) - 1
    }
}

/// CPU time for all captures.
#[derive(Debug)]
pub struct Budget {
    share: Percent,
    /// For a period.
    budget: Duration,
    /// Makes it impossible to choose packets such that their flow is left out, or is not.
    pub(super) keys: [u64; 2],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the period began.
    since: Instant,
    used: Duration,
    /// Of `used`: what an earlier period took.
    debt: Duration,
    level: u8,
    /// Calm periods so far.
    calm: u32,
    /// The level as it was logged last, and when.
    told: (u8, Option<Instant>),
}

impl State {
    /// Goes on to the period of `now`.
    fn advance(&mut self, now: Instant, budget: Duration) {
        let periods = now.saturating_duration_since(self.since).as_nanos() / PERIOD.as_nanos();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        // What can change within them changes within so many.
        for _ in 0..periods.min(1 + DEBT + CALM * u32::from(LAST)) {
            self.close(budget);
        }
        self.since += PERIOD * periods;
    }

    fn close(&mut self, budget: Duration) {
        if self.used * 5 <= budget * 2 {
            self.calm += 1;
            if self.calm >= CALM {
                self.calm = 0;
                self.level = self.level.saturating_sub(1);
            }
        } else {
            self.calm = 0;
            // One that began paused says nothing new.
            if self.used >= budget && self.debt < budget {
                self.level = (self.level + 1).min(LAST);
            }
        }
        self.debt = self.used.saturating_sub(budget).min(budget * DEBT);
        self.used = self.debt;
    }

    /// The level to tell of, if it is time.
    fn news(&mut self, now: Instant) -> Option<u8> {
        let (told, at) = self.told;
        let due = at.is_none_or(|at| now.saturating_duration_since(at) >= SAY);
        if self.level == told || !due {
            return None;
        }
        self.told = (self.level, Some(now));
        Some(self.level)
    }
}

impl Budget {
    /// This share of one core.
    pub fn new(share: Percent) -> Self {
        let state = State {
            since: Instant::now(),
            used: Duration::ZERO,
            debt: Duration::ZERO,
            level: 0,
            calm: 0,
            told: (0, None),
        };
        Self {
            share,
            budget: PERIOD * share.0 / 100,
            keys: [0u8, 1].map(|i| RandomState::new().hash_one(i)),
            state: Mutex::new(state),
        }
    }

    /// Notes CPU time that was used.
    fn charge(&self, now: Instant, used: Duration) -> Standing {
        let mut state = self.lock();
        state.advance(now, self.budget);
        state.used += used;
        let news = state.news(now);
        let standing = Standing {
            paused: state.used >= self.budget,
            level: state.level,
            untold: state.level != state.told.0,
        };
        drop(state);
        if let Some(level) = news {
            self.tell(level);
        }
        standing
    }

    /// The sampling of flows as of now: 0 is none, `n` one of `2^n`; the one above 6 is 1 of 64, with
    /// pauses.
    pub fn level(&self) -> u8 {
        let mut state = self.lock();
        state.advance(Instant::now(), self.budget);
        state.level
    }

    fn tell(&self, level: u8) {
        let Self { share, .. } = self;
        let flows = 1 << level.min(FLOWS);
        match level {
            0 => tracing::info!("CPU limit of {share}: every flow is forwarded again"),
            LAST => tracing::warn!("CPU limit of {share}: 1 of {flows} flows is forwarded, paused"),
            _ => tracing::warn!("CPU limit of {share}: 1 of {flows} flows is forwarded"),
        }
    }

    /// A panic elsewhere leaves nothing half-done in it.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// What the thread that it was made on uses.
#[derive(Debug)]
pub struct Meter {
    budget: Arc<Budget>,
    before: Duration,
}

impl Meter {
    /// From now on.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { budget, before: thread_time() }
    }

    /// Notes what was used since it was asked last.
    pub fn charge(&mut self, now: Instant) -> Standing {
        let time = thread_time();
        let used = time.saturating_sub(std::mem::replace(&mut self.before, time));
        self.budget.charge(now, used)
    }

    pub(super) fn keys(&self) -> [u64; 2] {
        self.budget.keys
    }
}

/// CPU time of the calling thread.
#[cfg(target_os = "linux")]
fn thread_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// CPU time of the calling thread.
#[cfg(windows)]
fn thread_time() -> Duration {
    win::thread::cpu_time().unwrap_or_default()
}

/// Settings say that there is no limit here.
#[cfg(not(any(target_os = "linux", windows)))]
fn thread_time() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A budget, its clock, and packets that take so much CPU time a millisecond if all are
    /// forwarded.
    struct Load {
        budget: Budget,
        now: Instant,
    }

    impl Load {
        fn new(percent: u32) -> Self {
            let budget = Budget::new(Percent(percent));
            let now = budget.lock().since;
            Self { budget, now }
        }

        /// A block a millisecond, which costs 1 µs where it is left out; the CPU time that was used.
        fn run(&mut self, ms: u32, cost: Duration) -> Duration {
            let mut sum = Duration::ZERO;
            let mut standing = self.budget.charge(self.now, Duration::ZERO);
            for _ in 0..ms {
                let flows = 1 << standing.level.min(FLOWS);
                let cost = if standing.paused { MS / 1000 } else { cost / flows };
                sum += cost;
                self.now += MS;
                standing = self.budget.charge(self.now, cost);
            }
            sum
        }
    }

    #[test]
    fn within_the_budget_nothing_is_left_out() {
        let mut load = Load::new(25);
        load.run(2000, MS / 5);
        assert_eq!(load.budget.charge(load.now, MS), Standing::default());
        assert_eq!(load.budget.level(), 0);
    }

    #[test]
    fn the_budget_holds_at_any_load_and_all_comes_back() {
        for cost in [MS / 2, MS, MS * 9, MS * 200] {
            let mut load = Load::new(10);
            let used = load.run(10_000, cost);
            // A period can lack what one block takes above it.
            let most = MS * 1000 + cost + MS * 15;
            assert!(used <= most, "{cost:?} a ms: {used:?}");
            assert!(load.budget.lock().level > 0, "{cost:?}");
            load.run(9000, MS / 1000);
            assert_eq!(load.budget.lock().level, 0, "{cost:?}");
        }
    }

    #[test]
    fn a_load_that_goes_on_is_sampled_without_pauses() {
        let mut load = Load::new(10);
        load.run(2000, MS);
        let before = load.budget.lock().level;
        // A tenth of a core takes one of 16 flows of this, which is more than two fifths.
        let used = load.run(10_000, MS);
        assert_eq!((load.budget.lock().level, before), (4, 4));
        assert!(used > MS * 400, "{used:?}");
    }

    #[test]
    fn the_level_sinks_by_itself_when_nothing_comes_at_all() {
        let mut load = Load::new(10);
        load.run(5000, MS * 20);
        assert_eq!(load.budget.lock().level, LAST);
        let later = load.now + Duration::from_secs(3600);
        assert_eq!(load.budget.charge(later, Duration::ZERO), Standing::default());
    }

    #[test]
    fn changes_are_told_once_a_second() {
        let mut load = Load::new(10);
        let mut told = Vec::new();
        for _ in 0..30 {
            load.run(100, MS * 100);
            told.extend(load.budget.lock().told.1);
        }
        told.dedup();
        assert!(told.len() > 1);
        assert!(told.windows(2).all(|w| w[1] - w[0] >= SAY), "{told:?}");
    }

    #[test]
    fn shares_of_a_core() {
        for (text, percent) in [("25%", Some(25)), ("25", Some(25)), ("150%", Some(150))] {
            assert_eq!(text.parse().ok(), percent.map(Percent), "{text}");
        }
        for text in ["", "0%", "%", "-5%", "2.5%", "25%%5", "10001%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
        assert_eq!(Percent(25).to_string(), "25%");
    }
}
