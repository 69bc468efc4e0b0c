use super::keys::Keys;
use super::{CLEAR, Cipher, FIRST, KEY_USES, Secret, TYPE};
use crate::batch::{Batch, Datagram};
use crate::udpstr::DATAGRAM_HEADER_LEN;

/// Seals the datagrams of one capture, in the order in which they were packed.
#[derive(Debug)]
pub struct Sealer {
    secret: Secret,
    cipher: Cipher,
    uses: u64,
    /// The number of the next datagram.
    number: u64,
    /// Those of the last epoch that was needed.
    keys: Option<(u32, Keys)>,
}

impl Sealer {
    /// For a capture's datagrams from number 0 on.
    pub fn new(secret: Secret, cipher: Cipher) -> Self {
        Self { secret, cipher, uses: KEY_USES, number: 0, keys: None }
    }

    /// Takes another key after so many datagrams, and starts with another number: for tests.
    #[must_use]
    pub fn with(self, uses: u64, number: u64) -> Self {
        Self { uses: uses.max(1), number, ..self }
    }

    /// Memory for what a batch of so many bytes and datagrams becomes.
    pub fn batch(bytes: usize, datagrams: usize) -> Batch {
        Batch::with_capacity(bytes + datagrams * super::OVERHEAD, datagrams)
    }

    /// Appends the datagrams of a batch, sealed, to another one. Whether that could be done: it
    /// cannot when there are no numbers left, nor with what is no udpstr. Does not allocate, but
    /// once in [`KEY_USES`] datagrams.
    #[must_use]
    pub fn seal(&mut self, batch: &Batch, out: &mut Batch) -> bool {
        (0..batch.datagrams())
            .map_while(|i| batch.datagram(i))
            .all(|datagram| self.datagram(&datagram, out).is_some())
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, out: &mut Batch) -> Option<()> {
        let (header, rest) = datagram.bytes.split_first_chunk::<DATAGRAM_HEADER_LEN>()?;
        let [_, _, first @ .., s0, s1, s2, s3] = *header;
        let number = self.number;
        debug_assert_eq!(u32::from_be_bytes([s0, s1, s2, s3]), number as u32);
        let epoch = u32::try_from(number / self.uses).ok()?;
        let keys = match &self.keys {
            Some((of, keys)) if *of == epoch => keys,
            _ => {
                let keys = self.secret.keys(self.cipher, epoch)?;
                &self.keys.insert((epoch, keys)).1
            }
        };
        let start = out.len();
        out.extend(&[0, TYPE, 0, 0]);
        out.extend(&(number as u32).to_be_bytes());
        out.extend(&first);
        out.extend(rest);
        let (clear, data) = out.tail_mut(start).split_at_mut(CLEAR);
        debug_assert_eq!(data.len(), FIRST + rest.len());
        let tag = keys.seal(number, clear, data)?;
        out.extend(tag.as_ref());
        out.close(datagram.packets, datagram.continues);
        // Never used again, whatever becomes of the datagram.
        self.number = number.checked_add(1)?;
        Some(())
    }
}
