use super::{HEADER_LEN, Header, Malformed, MessageType, Reader, VERSION};

/// Bytes of the header before every packet's data.
pub const PACKET_HEADER_LEN: usize = 20;

/// Bytes that a PACKET message adds to a packet.
pub const MESSAGE_OVERHEAD: usize = HEADER_LEN + PACKET_HEADER_LEN;

/// Largest snaplen, as libpcap has it.
pub const SNAPLEN_MAX: u32 = 262_144;

/// What is said of every packet (docs/protocol.md, "PACKET").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketHeader {
    /// Seconds since 1970.
    pub secs: u32,
    /// Microseconds within the second.
    pub micros: u32,
    /// Bytes of the packet that follow.
    pub caplen: u32,
    /// Bytes the packet had on the wire.
    pub len: u32,
    /// Its number in the capture, from 1; a gap is a loss on the way.
    pub npkt: u32,
}

impl PacketHeader {
    /// Reads the header.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            secs: r.u32()?,
            micros: r.u32()?,
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
        bytes[4..8].copy_from_slice(&self.micros.to_be_bytes());
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
