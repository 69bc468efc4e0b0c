/// How many numbers are remembered.
pub(super) const HISTORY: u32 = 1024;

/// Which of the last numbers came, to tell a datagram that is late from one that is doubled.
#[derive(Clone, Debug)]
pub(super) struct History([u64; (HISTORY / 64) as usize]);

impl History {
    /// No number came.
    pub(super) fn new() -> Self {
        Self([0; (HISTORY / 64) as usize])
    }

    /// The next number's fate; it takes the place of the oldest one.
    #[inline]
    pub(super) fn record(&mut self, seqno: u32, came: bool) {
        let (word, bit) = Self::place(seqno);
        self.0[word] = self.0[word] & !bit | if came { bit } else { 0 };
    }

    /// Many numbers from `seqno` on that did not come.
    pub(super) fn skip(&mut self, seqno: u32, count: u32) {
        if count >= HISTORY {
            *self = Self::new();
            return;
        }
        for i in 0..count {
            self.record(seqno.wrapping_add(i), false);
        }
    }

    /// Whether one of the last numbers came.
    pub(super) fn came(&self, seqno: u32) -> bool {
        let (word, bit) = Self::place(seqno);
        self.0[word] & bit != 0
    }

    fn place(seqno: u32) -> (usize, u64) {
        ((seqno % HISTORY / 64) as usize, 1 << (seqno % 64))
    }
}
