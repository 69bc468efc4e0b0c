use super::keys::Keys;
use super::{Cipher, Secret};

/// Epochs whose keys are kept: that of the highest authentic datagram, and those beside it.
const KEPT: usize = 3;

/// One in so many datagrams is tried whose epoch would need a key that is not kept. After a loss that
/// long the capture goes on a few datagrams later, and forged ones cost hardly any derivations.
const TRIED: u32 = 16;

/// A receiver's keys. Those of an epoch are derived once, whoever sends datagrams of it.
#[derive(Debug)]
pub(super) struct Epochs {
    secret: Secret,
    cipher: Cipher,
    uses: u64,
    /// The highest epoch of an authentic datagram.
    top: u32,
    /// By epoch, modulo how many there are.
    kept: [Option<(u32, Keys)>; KEPT],
    /// Datagrams since the last authentic one that would have needed another key.
    ahead: u32,
}

impl Epochs {
    pub(super) fn new(secret: Secret, cipher: Cipher, uses: u64) -> Self {
        Self { secret, cipher, uses: uses.max(1), top: 0, kept: [None, None, None], ahead: 0 }
    }

    pub(super) fn with_uses(self, uses: u64) -> Self {
        Self::new(self.secret, self.cipher, uses)
    }

    pub(super) fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Decrypts what has its tag at the end, if it is authentic: how long it is then.
    pub(super) fn open(&mut self, number: u64, clear: &[u8], data: &mut [u8]) -> Option<usize> {
        let epoch = u32::try_from(number / self.uses).ok()?;
        let derived;
        let keys = if epoch.abs_diff(self.top) <= 1 {
            let kept = &mut self.kept[epoch as usize % KEPT];
            if kept.as_ref().is_none_or(|(of, _)| *of != epoch) {
                *kept = Some((epoch, self.secret.keys(self.cipher, epoch)?));
            }
            &kept.as_ref()?.1
        } else {
            // What is further behind is outside the window, but where tests make epochs short.
            if epoch > self.top {
                let before = self.ahead;
                self.ahead = before.wrapping_add(1);
                if !before.is_multiple_of(TRIED) {
                    return None;
                }
            }
            derived = self.secret.keys(self.cipher, epoch)?;
            &derived
        };
        let length = keys.open(number, clear, data)?.len();
        if epoch > self.top {
            self.top = epoch;
            self.ahead = 0;
        }
        Some(length)
    }
}
