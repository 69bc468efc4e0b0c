//! Which numbers were there already (RFC 4303 section 3.4.3).

/// Numbers that are remembered behind the highest.
pub(super) const WINDOW: u64 = 4096;

const WORDS: usize = (WINDOW / 64) as usize;

/// What is known of the numbers of authentic datagrams.
#[derive(Debug)]
pub(super) struct Replay {
    /// The highest number and one, or 0 if there was none.
    next: u64,
    /// A bit for each of the last [`WINDOW`] numbers, at its place modulo that.
    seen: [u64; WORDS],
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    New,
    Seen,
    TooOld,
}

impl Replay {
    pub(super) fn new() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }

    /// The number whose lower half this is, as near to the next one as can be.
    pub(super) fn extend(&self, low: u32) -> Option<u64> {
        // How far it is from the next one, forwards or backwards.
        let distance = low.wrapping_sub(self.next as u32) as i32;
        self.next.checked_add_signed(distance.into())
    }

    pub(super) fn place(&self, number: u64) -> Place {
        if number >= self.next {
            Place::New
        } else if self.next - number > WINDOW {
            Place::TooOld
        } else if self.bit(number).1 & self.seen[self.bit(number).0] == 0 {
            Place::New
        } else {
            Place::Seen
        }
    }

    /// Notes an authentic one.
    pub(super) fn note(&mut self, number: u64) {
        // Those in between have not been there.
        let skipped = number.saturating_sub(self.next);
        if skipped >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for between in self.next..number {
                let (word, bit) = self.bit(between);
                self.seen[word] &= !bit;
            }
        }
        let (word, bit) = self.bit(number);
        self.seen[word] |= bit;
        self.next = self.next.max(number.saturating_add(1));
    }

    fn bit(&self, number: u64) -> (usize, u64) {
        let at = number % WINDOW;
        ((at / 64) as usize, 1 << (at % 64))
    }
}
