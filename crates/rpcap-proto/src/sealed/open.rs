use core::ops::Range;

use super::epochs::Epochs;
use super::replay::{Place, Replay};
use super::{CLEAR, Cipher, FIRST, KEY_USES, Secret, TAG, TYPE};
use crate::udpstr::{self, DATAGRAM_HEADER_LEN, DATAGRAM_MAX};

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not sealed, or not as one is.
    #[error("not sealed")]
    Clear,
    /// It is not from the daemon, or was changed on the way.
    #[error("not authentic")]
    Forged,
    /// It was there before.
    #[error("there before")]
    Replayed,
    /// It is so old that it may have been there before.
    #[error("too old")]
    Old,
}

/// What became of datagrams, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Opened.
    pub opened: u64,
    /// See [`Refused::Clear`].
    pub clear: u64,
    /// See [`Refused::Forged`].
    pub forged: u64,
    /// See [`Refused::Replayed`].
    pub replayed: u64,
    /// See [`Refused::Old`].
    pub old: u64,
}

impl Counts {
    /// All that were not opened.
    pub fn refused(&self) -> u64 {
        self.clear + self.forged + self.replayed + self.old
    }
}

/// Opens the datagrams of one capture, each once, in whatever order they come.
///
/// Nothing of a datagram is believed before all of it is authentic. One that is not costs one look at
/// its bytes, and one in many of them the derivation of a key.
#[derive(Debug)]
pub struct Opener {
    epochs: Epochs,
    replay: Replay,
    counts: Counts,
    /// A datagram, while it is opened.
    room: Vec<u8>,
    /// Where in there the last one is that was.
    opened: Range<usize>,
}

impl Opener {
    /// For a capture's datagrams from number 0 on.
    pub fn new(secret: Secret, cipher: Cipher) -> Self {
        Self {
            epochs: Epochs::new(secret, cipher, KEY_USES),
            replay: Replay::new(),
            counts: Counts::default(),
            room: Vec::with_capacity(DATAGRAM_MAX),
            opened: 0..0,
        }
    }

    /// Expects another key after so many datagrams: for tests.
    #[must_use]
    pub fn with(self, uses: u64) -> Self {
        Self { epochs: self.epochs.with_uses(uses), ..self }
    }

    /// What became of datagrams so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The udpstr datagram that was sealed.
    pub fn open(&mut self, datagram: &[u8]) -> Result<&[u8], Refused> {
        self.opened = 0..0;
        match self.try_open(datagram) {
            Ok(range) => {
                self.counts.opened += 1;
                self.opened = range;
                Ok(self.opened())
            }
            Err(refused) => {
                *match refused {
                    Refused::Clear => &mut self.counts.clear,
                    Refused::Forged => &mut self.counts.forged,
                    Refused::Replayed => &mut self.counts.replayed,
                    Refused::Old => &mut self.counts.old,
                } += 1;
                Err(refused)
            }
        }
    }

    /// The udpstr datagram that was opened last, until another one is tried: nothing then, if that
    /// one is refused.
    pub fn opened(&self) -> &[u8] {
        self.room.get(self.opened.clone()).unwrap_or_default()
    }

    /// Where in the room the udpstr datagram is.
    fn try_open(&mut self, datagram: &[u8]) -> Result<Range<usize>, Refused> {
        let Some((clear, sealed)) = datagram.split_first_chunk::<CLEAR>() else {
            return Err(Refused::Clear);
        };
        let [0, TYPE, 0, 0, low @ ..] = *clear else {
            return Err(Refused::Clear);
        };
        if sealed.len() < FIRST + TAG || datagram.len() > DATAGRAM_MAX {
            return Err(Refused::Clear);
        }
        if self.counts.forged >= self.epochs.cipher().forgeries_max() {
            return Err(Refused::Forged);
        }
        let number = self.replay.extend(u32::from_be_bytes(low)).ok_or(Refused::Old)?;
        match self.replay.place(number) {
            Place::New => {}
            Place::Seen => return Err(Refused::Replayed),
            Place::TooOld => return Err(Refused::Old),
        }
        self.room.clear();
        self.room.extend_from_slice(datagram);
        let data = self.room.get_mut(CLEAR..).ok_or(Refused::Clear)?;
        let length = self.epochs.open(number, clear, data).ok_or(Refused::Forged)?;
        self.replay.note(number);
        // The header that it had, in front of what came behind it.
        let start = CLEAR + FIRST - DATAGRAM_HEADER_LEN;
        let [f0, f1] = [self.room[CLEAR], self.room[CLEAR + 1]];
        let [s0, s1, s2, s3] = low;
        let header = [0, udpstr::TYPE, f0, f1, s0, s1, s2, s3];
        self.room[start..start + DATAGRAM_HEADER_LEN].copy_from_slice(&header);
        Ok(start..CLEAR + length)
    }
}
