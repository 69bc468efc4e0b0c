//! The Internet checksum (RFC 1071).

/// A sum that is not folded yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes; all pieces but the last have to be of even length.
    pub(super) fn add(mut self, bytes: &[u8]) -> Self {
        let mut pairs = bytes.chunks_exact(4);
        for four in &mut pairs {
            let word = u32::from_be_bytes([four[0], four[1], four[2], four[3]]);
            self.0 += u64::from(word >> 16) + u64::from(word & 0xffff);
        }
        match *pairs.remainder() {
            [] => {}
            [a] => self.0 += u64::from(u16::from_be_bytes([a, 0])),
            [a, b] => self.0 += u64::from(u16::from_be_bytes([a, b])),
            [a, b, c, ..] => {
                let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, 0]));
                self.0 += u64::from(first) + u64::from(second);
            }
        }
        self
    }

    /// Adds a number.
    pub(super) fn number(mut self, number: u64) -> Self {
        self.0 +=
            (number >> 48) + (number >> 32 & 0xffff) + (number >> 16 & 0xffff) + (number & 0xffff);
        self
    }

    /// The sum in 16 bits.
    pub(super) fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    /// What makes it a checksum.
    pub(super) fn checksum(self) -> u16 {
        !self.folded()
    }
}
