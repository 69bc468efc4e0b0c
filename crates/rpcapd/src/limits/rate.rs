//! What goes on the wire: bits and frames a second, for all captures together.
//!
//! Two token buckets, one for bits and one for frames, which hold a twentieth of a second's worth.
//! Before a packet is framed its capture takes what the packet adds to the wire out of both, or
//! withholds it; nothing is ever delayed. A capture borrows a part of the buckets at a time, so that
//! it does not ask for each packet, and gives back at the end of each block what it did not use.
//! While something is borrowed the buckets fill up to that much less. So in any stretch of time `t`,
//! whoever borrows what and for how long, no more is let through than the rate times `t` and one
//! bucket.
//!
//! The wire is taken for Ethernet. A frame is a datagram or a TCP segment with its headers: Ethernet's
//! (14 bytes, and 4 of its check sequence), IP's (20 or 40), and UDP's (8) or TCP's (32, with time
//! stamps). Acknowledgements, retransmissions and the control connection are not counted.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::locked::lock;

/// Of a second: what a bucket holds. It has to outlast the time between two blocks of the ring.
const BURST: u64 = 20;

/// What a bucket holds at least: the largest packet that is likely, one of 64 KiB, has to fit.
const BURST_BITS: u64 = 128 * 1024 * 8;
const BURST_FRAMES: u64 = 128;

/// The part of a bucket that is borrowed at a time.
const PART: u64 = 16;

/// Levels are kept in billionths, so that a nanosecond is always worth a whole number of them.
const NANO: u64 = 1_000_000_000;

/// Most bits a second that can be set. Its bucket in billionths fits into 64 bits.
pub const BITS_MAX: u64 = 100_000_000_000;

/// Most frames a second that can be set.
pub const FRAMES_MAX: u64 = 1_000_000_000;

/// How much may go on the wire, as the operator says (`--max-rate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second.
    pub bits: Option<u64>,
    /// Frames a second.
    pub frames: Option<u64>,
}

/// As it is given on the command line.
impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.bits, self.frames) {
            (Some(bits), Some(frames)) => write!(f, "{bits}bit,{frames}pps"),
            (Some(bits), None) => write!(f, "{bits}bit"),
            (None, Some(frames)) => write!(f, "{frames}pps"),
            (None, None) => Ok(()),
        }
    }
}

/// What a packet adds to a data connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes, headers of TCP and UDP and below not counted.
    pub bytes: usize,
    /// Frames that it begins.
    pub frames: usize,
}

/// Bytes of a frame besides what it carries.
pub fn overhead(datagrams: bool, peer: IpAddr) -> u64 {
    const ETHERNET: u64 = 14 + 4;
    let ip = if peer.to_canonical().is_ipv4() { 20 } else { 40 };
    ETHERNET + ip + if datagrams { 8 } else { 20 + 12 }
}

/// Tokens: bits, frames.
type Tokens = [u64; 2];

/// What all captures draw from.
#[derive(Debug)]
pub struct Bucket(Mutex<State>);

#[derive(Debug)]
struct State {
    at: Instant,
    /// `None` is without limit.
    levels: [Option<Level>; 2],
}

#[derive(Debug)]
struct Level {
    /// Tokens a second.
    rate: u64,
    /// Most tokens, those that are borrowed among them.
    size: u64,
    /// Billionths of tokens that are there.
    free: u64,
    /// Tokens that are borrowed.
    lent: u64,
}

impl Level {
    fn new(rate: u64, least: u64) -> Self {
        let size = (rate / BURST).max(least);
        Self { rate, size, free: size * NANO, lent: 0 }
    }

    fn fill(&mut self, nanos: u64) {
        let room = (self.size - self.lent) * NANO;
        self.free = self.free.saturating_add(self.rate.saturating_mul(nanos)).min(room);
    }

    fn lend(&mut self, least: u64) -> u64 {
        if least == 0 {
            return 0;
        }
        let tokens = (self.size / PART).max(least).min(self.free / NANO);
        self.free -= tokens * NANO;
        self.lent += tokens;
        tokens
    }
}

impl Bucket {
    /// Full.
    pub fn new(rate: Rate) -> Self {
        let levels = [
            rate.bits.map(|rate| Level::new(rate, BURST_BITS)),
            rate.frames.map(|rate| Level::new(rate, BURST_FRAMES)),
        ];
        Self(Mutex::new(State { at: Instant::now(), levels }))
    }

    /// Lends at least this much, and so much more that it is worth asking; `None` if that is not
    /// there.
    fn borrow(&self, now: Instant, least: Tokens) -> Option<Tokens> {
        let mut state = self.at(now);
        let short = |(level, least): (&Option<Level>, &u64)| {
            level.as_ref().is_some_and(|level| level.free / NANO < *least)
        };
        if state.levels.iter().zip(&least).any(short) {
            return None;
        }
        let mut tokens = [0; 2];
        for ((level, least), tokens) in state.levels.iter_mut().zip(least).zip(&mut tokens) {
            *tokens = level.as_mut().map_or(0, |level| level.lend(least));
        }
        Some(tokens)
    }

    /// Ends a loan, of which this much was not used.
    fn give_back(&self, now: Instant, lent: Tokens, unused: Tokens) {
        let mut state = self.at(now);
        for (i, level) in state.levels.iter_mut().enumerate() {
            if let Some(level) = level {
                level.lent -= lent[i];
                level.free += unused[i] * NANO;
            }
        }
    }

    /// As of now. What was lent until now had no place to be filled up.
    fn at(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        // Another thread may have looked at the clock earlier and come later.
        let nanos = now.saturating_duration_since(state.at).as_nanos();
        state.at = state.at.max(now);
        for level in state.levels.iter_mut().flatten() {
            level.fill(u64::try_from(nanos).unwrap_or(u64::MAX));
        }
        state
    }

    /// A panic elsewhere leaves nothing half-done in it.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

/// A capture's loan from the bucket.
#[derive(Debug)]
pub struct Share {
    bucket: Arc<Bucket>,
    /// Bytes of a frame besides what it carries.
    overhead: u64,
    /// Whether there is a limit.
    limited: [bool; 2],
    lent: Tokens,
    left: Tokens,
    /// The bucket had not enough for a packet of this block. It is not asked again, as more would
    /// be asked for each packet; smaller packets may take what is left here.
    dry: bool,
}

impl Share {
    /// Of nothing yet.
    pub fn new(bucket: Arc<Bucket>, overhead: u64) -> Self {
        let limited = bucket.lock().levels.each_ref().map(Option::is_some);
        Self { bucket, overhead, limited, lent: [0; 2], left: [0; 2], dry: false }
    }

    /// Begins a block.
    pub fn begin(&mut self) {
        self.dry = false;
    }

    /// Whether a packet of this cost may go; then it is paid. The clock is looked at for a loan,
    /// not for each packet.
    #[inline]
    pub fn pays(&mut self, cost: Cost, clock: impl FnOnce() -> Instant) -> bool {
        let bits = (cost.bytes as u64 + cost.frames as u64 * self.overhead) * 8;
        let cost = [bits, cost.frames as u64];
        let missing = |left: &Tokens, i: usize| {
            if self.limited[i] { cost[i].saturating_sub(left[i]) } else { 0 }
        };
        let more = [missing(&self.left, 0), missing(&self.left, 1)];
        if more != [0; 2] && !self.borrow(more, clock) {
            return false;
        }
        for (left, cost) in self.left.iter_mut().zip(cost) {
            *left = left.saturating_sub(cost);
        }
        true
    }

    fn borrow(&mut self, more: Tokens, clock: impl FnOnce() -> Instant) -> bool {
        if self.dry {
            return false;
        }
        let Some(tokens) = self.bucket.borrow(clock(), more) else {
            self.dry = true;
            return false;
        };
        for (i, tokens) in tokens.into_iter().enumerate() {
            self.lent[i] += tokens;
            self.left[i] += tokens;
        }
        true
    }

    /// Ends a block: others may have what is left.
    pub fn end(&mut self, clock: impl FnOnce() -> Instant) {
        if self.lent != [0; 2] {
            self.bucket.give_back(clock(), self.lent, self.left);
            (self.lent, self.left) = ([0; 2], [0; 2]);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.end(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const ONE: Cost = Cost { bytes: 1000, frames: 1 };

    fn bucket(bits: impl Into<Option<u64>>, frames: impl Into<Option<u64>>) -> Arc<Bucket> {
        Arc::new(Bucket::new(Rate { bits: bits.into(), frames: frames.into() }))
    }

    /// How many packets pass of so many that come in one block.
    fn passes(share: &mut Share, now: Instant, packets: u32, cost: Cost) -> u32 {
        share.begin();
        let n = (0..packets).map(|_| u32::from(share.pays(cost, || now))).sum();
        share.end(|| now);
        n
    }

    #[test]
    fn a_bucket_then_the_rate() {
        let bucket = bucket(100_000_000, None);
        let start = Instant::now();
        let mut share = Share::new(Arc::clone(&bucket), 66);
        // 5 Mbit of packets of 8528 bits.
        assert_eq!(passes(&mut share, start, 10_000, ONE), 586);
        assert_eq!(passes(&mut share, start, 10_000, ONE), 0);
        // 10 ms are worth a million bits, and 2,592 were left.
        let later = start + Duration::from_millis(10);
        assert_eq!(passes(&mut share, later, 10_000, ONE), 117);
        // Years fill it, and no more.
        let years = later + Duration::from_secs(1 << 28);
        assert_eq!(passes(&mut share, years, 10_000, ONE), 586);
    }

    #[test]
    fn frames_are_limited_beside_bits() {
        let bucket = bucket(BITS_MAX, 20_000);
        let mut share = Share::new(bucket, 66);
        assert_eq!(passes(&mut share, Instant::now(), 10_000, ONE), 1000);
        let none = Cost { bytes: 100, frames: 0 };
        assert_eq!(passes(&mut share, Instant::now(), 10, none), 10, "it begins no frame");
    }

    #[test]
    fn a_low_rate_lets_a_large_packet_through() {
        let mut share = Share::new(bucket(1000, 1), 78);
        let large = Cost { bytes: 65_549 + 28, frames: 46 };
        assert_eq!(passes(&mut share, Instant::now(), 2, large), 1);
    }

    #[test]
    fn what_is_left_of_a_loan_is_for_others() {
        let bucket = bucket(None, 2000);
        let (mut a, mut b) = (Share::new(Arc::clone(&bucket), 0), Share::new(bucket, 0));
        let now = Instant::now();
        a.begin();
        assert!(a.pays(ONE, || now));
        assert_eq!(passes(&mut b, now, 1000, ONE), 128 - 8, "a has borrowed eight");
        drop(a);
        assert_eq!(passes(&mut b, now, 1000, ONE), 7);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u32),
        Begin(usize),
        Packets(usize, u16, usize),
        End(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            // Up to a tenth of a second.
            (0..100_000_000u32).prop_map(Step::Wait),
            (0..3usize).prop_map(Step::Begin),
            (0..3usize, 0..300u16, 0..9000usize)
                .prop_map(|(who, n, size)| Step::Packets(who, n, size)),
            (0..3usize).prop_map(Step::End),
        ]
    }

    proptest! {
        /// Whenever three captures begin and end their blocks: no stretch of time has more than the
        /// rate times its length and a bucket.
        #[test]
        fn never_more_than_the_rate_and_a_bucket(
            bits in 1_000_000..1_000_000_000u64,
            frames in 100..100_000u64,
            steps in prop::collection::vec(step(), 1..80),
        ) {
            let bucket = bucket(bits, frames);
            let sizes = [(bits / BURST).max(BURST_BITS), (frames / BURST).max(BURST_FRAMES)];
            let mut shares = [(); 3].map(|()| Share::new(Arc::clone(&bucket), 66));
            let start = Instant::now();
            let mut nanos = 0u64;
            let mut passed: Vec<(u64, Tokens)> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(n) => nanos += u64::from(n),
                    Step::Begin(i) => shares[i].begin(),
                    Step::Packets(i, n, bytes) => {
                        let cost = Cost { bytes, frames: bytes.div_ceil(1448) };
                        let now = start + Duration::from_nanos(nanos);
                        let tokens = [(bytes as u64 + cost.frames as u64 * 66) * 8, cost.frames as u64];
                        let n = (0..n).filter(|_| shares[i].pays(cost, || now)).count() as u64;
                        passed.push((nanos, tokens.map(|t| t * n)));
                    }
                    Step::End(i) => shares[i].end(|| start + Duration::from_nanos(nanos)),
                }
            }
            for (from, (begin, _)) in passed.iter().enumerate() {
                let mut sum = [0u128; 2];
                for (end, tokens) in &passed[from..] {
                    for i in 0..2 {
                        sum[i] += u128::from(tokens[i]);
                        let earned = u128::from([bits, frames][i]) * u128::from(end - begin) / u128::from(NANO);
                        prop_assert!(sum[i] <= earned + u128::from(sizes[i]));
                    }
                }
            }
        }
    }
}
