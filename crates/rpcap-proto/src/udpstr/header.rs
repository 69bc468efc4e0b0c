use crate::wire::PACKET_HEADER_LEN;

/// Bytes before a datagram's first packet or rest of a packet.
pub const DATAGRAM_HEADER_LEN: usize = 8;

/// The second byte of every datagram; a PACKET message has 7 there.
pub const TYPE: u8 = 110;

const VERSION: u8 = 0;

/// In the place of an index: no packet starts in the datagram.
const NONE: u16 = 0xffff;

/// The first bytes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramHeader {
    /// Where the first packet that starts in the datagram does so, counted from the datagram's
    /// first byte; `None` if the datagram is nothing but the middle or the end of one.
    pub first: Option<u16>,
    /// The datagram's number: 0, 1, 2 … modulo 2³².
    pub seqno: u32,
}

impl DatagramHeader {
    /// Reads it; `None` if this is no udpstr datagram, or one whose first packet has no room for
    /// its header.
    #[inline]
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let [VERSION, TYPE, i0, i1, s0, s1, s2, s3, ..] = *datagram else {
            return None;
        };
        let first = match u16::from_be_bytes([i0, i1]) {
            NONE => None,
            first => {
                let at = usize::from(first);
                if at < DATAGRAM_HEADER_LEN || at + PACKET_HEADER_LEN > datagram.len() {
                    return None;
                }
                Some(first)
            }
        };
        Some(Self { first, seqno: u32::from_be_bytes([s0, s1, s2, s3]) })
    }

    /// Its bytes.
    #[inline]
    pub fn to_bytes(self) -> [u8; DATAGRAM_HEADER_LEN] {
        let [i0, i1] = self.first.unwrap_or(NONE).to_be_bytes();
        let [s0, s1, s2, s3] = self.seqno.to_be_bytes();
        [VERSION, TYPE, i0, i1, s0, s1, s2, s3]
    }
}
