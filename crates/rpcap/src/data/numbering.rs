/// How far back a packet may come and still be told from one that came before.
const WINDOW: u64 = 1024;

/// Follows the numbers that a daemon gives its packets: 1, 2, 3 … modulo 2³².
///
/// The window tells a late packet, which was a gap until then, from one that the network doubled.
#[derive(Clone, Debug)]
pub struct Numbering {
    highest: u64,
    /// Which of the last [`WINDOW`] numbers came; the bit of number `n` is `n % WINDOW`.
    seen: [u64; (WINDOW / 64) as usize],
}

/// Where a number stands among those that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It did not come before.
    New,
    /// It came before, or is so old that this cannot be told.
    Old,
}

impl Default for Numbering {
    fn default() -> Self {
        let mut numbering = Self { highest: 0, seen: [0; (WINDOW / 64) as usize] };
        // The first packet is 1; there is no packet 0.
        numbering.mark(0);
        numbering
    }
}

impl Numbering {
    /// The highest number so far, carried on past 32 bits.
    #[inline]
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Takes the number of a packet that came.
    #[inline]
    pub fn take(&mut self, number: u32) -> Place {
        // The nearer way round the circle.
        let ahead = number.wrapping_sub(self.highest as u32).cast_signed();
        if ahead > 0 {
            let ahead = u64::from(ahead.unsigned_abs());
            if ahead > 1 {
                self.skip(ahead - 1);
            }
            self.highest += ahead;
            self.mark(self.highest);
            return Place::New;
        }
        let back = u64::from(ahead.unsigned_abs());
        match self.highest.checked_sub(back) {
            Some(n) if back < WINDOW && !self.is_marked(n) => {
                self.mark(n);
                Place::New
            }
            _ => Place::Old,
        }
    }

    /// Clears the places of the numbers that were left out.
    fn skip(&mut self, count: u64) {
        if count >= WINDOW {
            self.seen.fill(0);
            return;
        }
        for n in self.highest + 1..=self.highest + count {
            self.seen[(n % WINDOW / 64) as usize] &= !(1 << (n % 64));
        }
    }

    fn mark(&mut self, n: u64) {
        self.seen[(n % WINDOW / 64) as usize] |= 1 << (n % 64);
    }

    fn is_marked(&self, n: u64) -> bool {
        self.seen[(n % WINDOW / 64) as usize] & 1 << (n % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn late_is_new_and_twice_is_old() {
        let mut n = Numbering::default();
        let places: Vec<_> = [1, 2, 5, 3, 3, 5, 6, 0, 4].map(|i| n.take(i)).into();
        use Place::{New, Old};
        assert_eq!(places, [New, New, New, New, Old, Old, New, Old, New]);
        assert_eq!(n.highest(), 6);
    }

    #[test]
    fn goes_on_past_32_bits() {
        let mut n = Numbering { highest: u64::from(u32::MAX) - 1, ..Numbering::default() };
        for number in [u32::MAX, 0, 1] {
            assert_eq!(n.take(number), Place::New);
        }
        assert_eq!(n.highest(), 1 << 32 | 1);
    }

    proptest! {
        /// Against a set that remembers everything.
        #[test]
        fn agrees_with_a_long_memory(steps in proptest::collection::vec(-900i64..1500, 1..400)) {
            let (mut n, mut seen) = (Numbering::default(), std::collections::HashSet::from([0]));
            for step in steps {
                let number = (n.highest() as i64 + step).max(0);
                let back = n.highest() as i64 - number;
                let expected = match back < WINDOW as i64 && seen.insert(number) {
                    true => Place::New,
                    false => Place::Old,
                };
                prop_assert_eq!(n.take(number as u32), expected);
            }
        }
    }
}
