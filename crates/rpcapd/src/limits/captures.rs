//! How many captures there may be, and how much memory for packets they may have together.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::locked::lock;

/// What runs.
#[derive(Debug, Default)]
pub struct Captures(Mutex<InUse>);

/// What is in use, and what was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Captures.
    pub captures: usize,
    /// Bytes of their rings and of what waits to be sent.
    pub bytes: u64,
    /// Captures that were refused since the daemon began, because there were enough or for their
    /// memory.
    pub refused: u64,
}

/// The most that may be in use; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Most {
    /// Captures (`--max-captures`).
    pub captures: Option<usize>,
    /// Bytes (`--max-memory`).
    pub bytes: Option<u64>,
}

/// Why there is no room for a capture.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// There are as many as there may be.
    #[error("{0} captures run, which is the limit here: end one, or raise --max-captures")]
    Captures(usize),
    /// There is not enough memory left of what there may be.
    #[error(
        "a capture here takes {needed} bytes of memory, and {used} of {most} are in use by \
         {captures} captures: end one, lower --buffer or raise --max-memory"
    )]
    Memory {
        /// Bytes that it would take.
        needed: u64,
        /// Bytes that others have.
        used: u64,
        /// How many others.
        captures: usize,
        /// Bytes that there may be in all.
        most: u64,
    },
}

impl Captures {
    /// Sets a place and so many bytes aside, until the result is dropped.
    ///
    /// # Errors
    ///
    /// There are not so many left.
    pub fn reserve(self: &Arc<Self>, most: Most, bytes: u64) -> Result<Reserved, Full> {
        let mut now = self.lock();
        let sum = now.bytes.saturating_add(bytes);
        let full = match most {
            Most { captures: Some(most), .. } if now.captures >= most => {
                Some(Full::Captures(now.captures))
            }
            Most { bytes: Some(most), .. } if sum > most => {
                Some(Full::Memory { needed: bytes, used: now.bytes, captures: now.captures, most })
            }
            _ => None,
        };
        if let Some(full) = full {
            now.refused += 1;
            return Err(full);
        }
        now.captures += 1;
        now.bytes = sum;
        Ok(Reserved { captures: Arc::clone(self), bytes })
    }

    /// What is in use, as of now.
    pub fn in_use(&self) -> InUse {
        *self.lock()
    }

    /// A panic elsewhere leaves nothing half-done in it.
    fn lock(&self) -> MutexGuard<'_, InUse> {
        lock(&self.0)
    }
}

/// What a capture has; given back however it ends.
#[derive(Debug)]
pub struct Reserved {
    captures: Arc<Captures>,
    bytes: u64,
}

impl Reserved {
    /// Gives back what was not needed after all.
    pub fn shrink(&mut self, bytes: u64) {
        let unused = self.bytes.saturating_sub(bytes);
        self.bytes -= unused;
        self.captures.lock().bytes -= unused;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut now = self.captures.lock();
        now.captures -= 1;
        now.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_as_much_as_there_may_be_and_no_more() {
        let captures = Arc::new(Captures::default());
        let most = Most { captures: Some(2), bytes: Some(100) };
        let mut first = captures.reserve(most, 60).unwrap();
        let refused = captures.reserve(most, 41).unwrap_err();
        assert_eq!(refused, Full::Memory { needed: 41, used: 60, captures: 1, most: 100 });
        first.shrink(50);
        let second = captures.reserve(most, 50).unwrap();
        assert_eq!(captures.reserve(most, 0).unwrap_err(), Full::Captures(2));
        assert_eq!(captures.in_use(), InUse { captures: 2, bytes: 100, refused: 2 });
        drop((first, second));
        assert_eq!(captures.in_use(), InUse { captures: 0, bytes: 0, refused: 2 });
    }

    #[test]
    fn without_limits_everything_is_counted_and_nothing_refused() {
        let captures = Arc::new(Captures::default());
        let all: Vec<_> =
            (0..3).map(|_| captures.reserve(Most::default(), u64::MAX / 4).unwrap()).collect();
        assert_eq!(captures.in_use().captures, all.len());
        // Not even a sum that does not fit is within a limit.
        let most = Most { bytes: Some(u64::MAX - 1), ..Most::default() };
        assert!(captures.reserve(most, u64::MAX).is_err());
    }
}
