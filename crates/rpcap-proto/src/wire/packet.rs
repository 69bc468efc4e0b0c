use core::time::Duration;

use super::{HEADER_LEN, Header, Malformed, MessageType, Reader, VERSION};

/// Bytes of the header before every packet's data.
pub const PACKET_HEADER_LEN: usize = 20;

/// Bytes that a PACKET message adds to a packet.
pub const MESSAGE_OVERHEAD: usize = HEADER_LEN + PACKET_HEADER_LEN;

/// Largest snaplen, as libpcap has it.
pub const SNAPLEN_MAX: u32 = 262_144;

/// Whether the checksum of TCP or UDP in a packet is what goes over the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Checksum {
    /// Nobody said.
    #[default]
    Unknown,
    /// It is.
    Ready,
    /// The sender left it to its network card, behind the place where packets are captured.
    NotReady,
}

/// The second word of a packet's time: microseconds, as all daemons have it, or nanoseconds with what
/// is known of the checksum (docs/protocol.md, "Nanoseconds"). It says itself which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fraction(pub u32);

impl Fraction {
    const UNKNOWN: u32 = 1 << 30;
    const READY: u32 = 2 << 30;
    const NOT_READY: u32 = 3 << 30;

    /// Microseconds.
    #[inline]
    pub const fn micros(micros: u32) -> Self {
        Self(micros)
    }

    /// Nanoseconds, fewer than 2^30, for a client that offered [`StartFlags::NANOS`](super::StartFlags::NANOS).
    #[inline]
    pub const fn nanos(nanos: u32, checksum: Checksum) -> Self {
        let mark = match checksum {
            Checksum::Unknown => Self::UNKNOWN,
            Checksum::Ready => Self::READY,
            Checksum::NotReady => Self::NOT_READY,
        };
        Self(nanos & !Self::NOT_READY | mark)
    }

    /// What is known of the checksum.
    pub const fn checksum(self) -> Checksum {
        match self.0 & Self::NOT_READY {
            Self::READY => Checksum::Ready,
            Self::NOT_READY => Checksum::NotReady,
            _ => Checksum::Unknown,
        }
    }

    /// Nanoseconds, whatever the form. A peer may have said more than a second.
    pub fn in_nanos(self) -> u64 {
        match self.0 & Self::NOT_READY {
            0 => u64::from(self.0) * 1000,
            _ => u64::from(self.0 & !Self::NOT_READY),
        }
    }
}

/// What is said of every packet (docs/protocol.md, "PACKET").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketHeader {
    /// Seconds since 1970.
    pub secs: u32,
    /// The rest of the time, in one of two forms.
    pub fraction: Fraction,
    /// Bytes of the packet that follow.
    pub caplen: u32,
    /// Bytes the packet had on the wire.
    pub len: u32,
    /// Its number in the capture, from 1; a gap is a loss on the way.
    pub npkt: u32,
}

impl PacketHeader {
    /// Time of capture since 1970.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.secs.into()) + Duration::from_nanos(self.fraction.in_nanos())
    }

    /// Reads the header.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            secs: r.u32()?,
            fraction: Fraction(r.u32()?),
            caplen: r.u32()?,
            len: r.u32()?,
            npkt: r.u32()?,
        })
    }

    /// The header's bytes.
    #[inline]
    pub fn to_bytes(self) -> [u8; PACKET_HEADER_LEN] {
        let mut bytes = [0; PACKET_HEADER_LEN];
        bytes[0..4].copy_from_slice(&self.secs.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.fraction.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.caplen.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.len.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.npkt.to_be_bytes());
        bytes
    }

    /// The bytes before the data when the packet is a message of its own. The length is the true
    /// one in 32 bits.
    #[inline]
    pub fn to_message_bytes(self) -> [u8; MESSAGE_OVERHEAD] {
        let len = self.caplen.saturating_add(PACKET_HEADER_LEN as u32);
        let header = Header { version: VERSION, kind: MessageType::Packet, value: 0, len };
        let mut bytes = [0; MESSAGE_OVERHEAD];
        bytes[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        bytes[HEADER_LEN..].copy_from_slice(&self.to_bytes());
        bytes
    }
}

/// A PACKET message at the front of a stream or in a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketMessage<'a> {
    /// What is said of the packet.
    pub header: PacketHeader,
    /// Its `caplen` bytes.
    pub data: &'a [u8],
    /// Bytes of the whole message.
    pub size: usize,
}

impl<'a> PacketMessage<'a> {
    /// Reads the message at the front of `bytes`; `None` if it is not complete yet.
    ///
    /// Other daemons state the length modulo 65,536 for packets above 65,515 bytes. Where the
    /// capture length explains the stated one that way and is within `snaplen`, it is believed.
    /// A `snaplen` above [`SNAPLEN_MAX`] counts as that.
    /// Everything else that does not fit together is an error: a stream cannot go on after it.
    pub fn read(bytes: &'a [u8], snaplen: u32) -> Result<Option<Self>, Malformed> {
        let mut r = Reader::new(bytes);
        if r.remaining() < HEADER_LEN {
            return Ok(None);
        }
        let message = Header::read(&mut r)?;
        if message.version != VERSION {
            return Err(Malformed::Value("packet message of an unknown version"));
        }
        if message.kind != MessageType::Packet {
            return Err(Malformed::Value("not a packet message"));
        }
        // Nothing longer was ever asked for, whatever number was.
        let snaplen = snaplen.min(SNAPLEN_MAX);
        // Only a length that wrapped can be below that of the packet's own header, and none does
        // within a small snaplen.
        if message.len < PACKET_HEADER_LEN as u32 && snaplen < 65_536 - PACKET_HEADER_LEN as u32 {
            return Err(Malformed::Short);
        }
        if r.remaining() < PACKET_HEADER_LEN {
            return Ok(None);
        }
        let header = PacketHeader::read(&mut r)?;
        if header.caplen > snaplen {
            return Err(Malformed::Value("packet is longer than the snaplen"));
        }
        let needed = header.caplen + PACKET_HEADER_LEN as u32;
        let stated = if needed > message.len && needed % 65_536 == message.len {
            needed
        } else {
            message.len
        };
        if needed > stated {
            return Err(Malformed::Value("packet is longer than its message"));
        }
        if stated > snaplen + PACKET_HEADER_LEN as u32 {
            return Err(Malformed::Value("packet message is longer than the snaplen allows"));
        }
        let Ok(data) = r.take(header.caplen as usize) else {
            return Ok(None);
        };
        if r.take((stated - needed) as usize).is_err() {
            return Ok(None);
        }
        Ok(Some(Self { header, data, size: HEADER_LEN + stated as usize }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(caplen: u32, stated: u32) -> Vec<u8> {
        let header = PacketHeader { caplen, len: caplen, npkt: 1, ..PacketHeader::default() };
        let mut bytes = header.to_message_bytes().to_vec();
        bytes[4..8].copy_from_slice(&stated.to_be_bytes());
        bytes.resize(MESSAGE_OVERHEAD + caplen as usize, 7);
        bytes
    }

    #[test]
    fn the_second_word_of_a_time_says_what_it_is() {
        let of = |word| (Fraction(word).in_nanos(), Fraction(word).checksum());
        assert_eq!(of(999_999), (999_999_000, Checksum::Unknown));
        // A daemon's microseconds may be more than a second has.
        assert_eq!(of((1 << 30) - 1), (1_073_741_823_000, Checksum::Unknown));
        for checksum in [Checksum::Unknown, Checksum::Ready, Checksum::NotReady] {
            for nanos in [0, 1, 999_999_999, (1 << 30) - 1] {
                let word = Fraction::nanos(nanos, checksum);
                assert_eq!((word.in_nanos(), word.checksum()), (nanos.into(), checksum));
            }
        }
        let last =
            PacketHeader { secs: u32::MAX, fraction: Fraction(u32::MAX), ..Default::default() };
        assert_eq!(last.time(), Duration::new(4_294_967_296, 73_741_823));
    }

    #[test]
    fn d8_112_lengths_that_do_not_fit_are_refused_except_the_wrapped_one() {
        for stated in 0..20 {
            assert!(PacketMessage::read(&message(60, stated), 65_535).is_err(), "{stated}");
        }
        assert!(PacketMessage::read(&message(60, 79), 65_535).is_err());
        assert!(PacketMessage::read(&message(70_000, 70_020), 65_535).is_err());
        let wrapped = message(70_000, (70_000 + 20) % 65_536);
        let read = PacketMessage::read(&wrapped, SNAPLEN_MAX).unwrap().unwrap();
        assert_eq!((read.data.len(), read.size), (70_000, wrapped.len()));
        let surplus = message(60, 84);
        assert_eq!(PacketMessage::read(&surplus, 65_535), Ok(None));
    }
}
