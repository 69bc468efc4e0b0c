use std::fmt;
use std::str::FromStr;

/// Smallest packet that has room for the headers of [`Workload::frames`].
const MIN: usize = 42;

/// Largest packet over a device with an MTU of 1500.
const MAX: usize = 1514;

/// Where a packet's number is, if it has one: directly behind the headers.
const NUMBER: std::ops::Range<usize> = MIN..MIN + 8;

/// The classical mixture of packet sizes, 7:4:1, in an order that spreads each of them.
const IMIX: [usize; 12] = [64, 594, 64, 64, 594, 64, 64, 594, 64, 64, 594, 1514];

/// Which packets are sent: sizes in bytes, in turn, from the Ethernet header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    name: String,
    sizes: Vec<usize>,
}

impl Workload {
    /// The sizes, in the order of sending; after the last comes the first.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Bytes of the first `count` packets.
    pub fn bytes(&self, count: u64) -> u64 {
        self.bytes_cut(count, usize::MAX)
    }

    /// The same, if no more than `longest` bytes of each count.
    pub fn bytes_cut(&self, count: u64, longest: usize) -> u64 {
        let turn = self.sizes.len() as u64;
        let sum = |n: usize| self.sizes[..n].iter().map(|s| *s.min(&longest) as u64).sum::<u64>();
        count / turn * sum(self.sizes.len()) + sum((count % turn) as usize)
    }

    /// The packets themselves: UDP over IPv4 to a neighbour who does not exist.
    ///
    /// The receiving host's own network stack sees that they are for another station and drops
    /// them at once. Were they for it, it would answer, and the answers would be captured too.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.sizes.iter().map(|size| frame(*size)).collect()
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes = match text {
            "imix" | "mixed" => IMIX.to_vec(),
            list => list
                .split(',')
                .map(|size| match size.parse() {
                    Ok(n) if (MIN..=MAX).contains(&n) => Ok(n),
                    _ => Err(format!("expected \"imix\", or sizes from {MIN} to {MAX}")),
                })
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { name: text.to_owned(), sizes })
    }
}

/// Writes a packet's number into it, if it has room for one.
pub fn set_number(frame: &mut [u8], number: u64) {
    if let Some(at) = frame.get_mut(NUMBER) {
        at.copy_from_slice(&number.to_be_bytes());
    }
}

/// The number that [`set_number`] wrote.
pub fn number_of(frame: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(frame.get(NUMBER)?.try_into().ok()?))
}

fn frame(size: usize) -> Vec<u8> {
    let ip_len = (size - 14) as u16;
    let udp_len = ip_len - 20;
    let mut f = Vec::with_capacity(size);
    f.extend([0x02, 0, 0, 0, 0xbe, 0x02, 0x02, 0, 0, 0, 0xbe, 0x01, 0x08, 0x00]);
    f.extend([0x45, 0]);
    f.extend(ip_len.to_be_bytes());
    f.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    f.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    let sum: u32 = f[14..34].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    f[24..26].copy_from_slice(&sum.to_be_bytes());
    f.extend(7777u16.to_be_bytes());
    f.extend(7777u16.to_be_bytes());
    f.extend(udp_len.to_be_bytes());
    // No UDP checksum, which IPv4 allows.
    f.extend([0, 0]);
    f.resize_with(size, || 0x5a);
    f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixture_is_7_to_4_to_1() {
        let imix: Workload = "imix".parse().unwrap();
        let count = |size| imix.sizes().iter().filter(|s| **s == size).count();
        assert_eq!((count(64), count(594), count(1514)), (7, 4, 1));
        assert_eq!(imix.bytes(12), 7 * 64 + 4 * 594 + 1514);
        assert_eq!(imix.bytes(14), imix.bytes(12) + 64 + 594);
        assert_eq!(imix.bytes_cut(12, 600), 7 * 64 + 4 * 594 + 600);
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for (size, read) in [(42, None), (49, None), (50, Some(7)), (1514, Some(7))] {
            let mut frame = frame(size);
            set_number(&mut frame, 7);
            assert_eq!(number_of(&frame), read, "{size}");
            assert_eq!(frame.len(), size);
        }
    }

    #[test]
    fn frames_have_their_size_and_a_sound_header() {
        for frame in "42,64,1514".parse::<Workload>().unwrap().frames() {
            let sum: u32 =
                frame[14..34].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
            assert_eq!(u16::from_be_bytes([frame[16], frame[17]]) as usize, frame.len() - 14);
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for text in ["", "41", "1515", "64,", "imax"] {
            assert!(text.parse::<Workload>().is_err(), "{text}");
        }
    }
}
