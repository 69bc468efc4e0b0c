use super::{FilterBlock, Malformed, MessageType, Reader, write_message};

/// The flags of STARTCAP (docs/protocol.md, "STARTCAP").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartFlags(pub u16);

impl StartFlags {
    /// Take every packet of the medium, not only the host's own.
    pub const PROMISC: Self = Self(1);
    /// Packets travel by UDP.
    pub const DATAGRAM: Self = Self(2);
    /// The daemon opens the data connection.
    pub const SERVER_OPEN: Self = Self(4);
    /// Only packets that come in.
    pub const INBOUND: Self = Self(8);
    /// Only packets that go out.
    pub const OUTBOUND: Self = Self(16);
    /// The client takes udpstr datagrams (docs/protocol.md, "Extensions").
    pub const UDPSTR: Self = Self(0x0100);
    /// The client wants to know the port that datagrams come from (docs/protocol.md, "Extensions").
    pub const SOURCE_PORT: Self = Self(0x0200);
    /// The client takes sealed udpstr datagrams (docs/sealed-udp.md).
    pub const SEALED: Self = Self(0x0400);
    /// The client takes times in nanoseconds, and what is known of checksums (docs/protocol.md,
    /// "Nanoseconds").
    pub const NANOS: Self = Self(0x0800);
    /// The client may ask for the daemon's clock (docs/protocol.md, "STATS").
    pub const CLOCK: Self = Self(0x1000);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for StartFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A client's wish to capture from the device it opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRequest {
    /// Most bytes of a packet to send, as asked; the daemon clamps it.
    pub snaplen: u32,
    /// Read timeout in milliseconds: how long the daemon may gather packets.
    pub read_timeout_ms: u32,
    /// See [`StartFlags`]; unknown bits are kept.
    pub flags: StartFlags,
    /// Where the client listens for data, if the daemon is to open the data connection.
    pub port: u16,
    /// What to capture.
    pub filter: FilterBlock,
}

impl StartRequest {
    /// Reads the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        Ok(Self {
            snaplen: r.u32()?,
            read_timeout_ms: r.u32()?,
            flags: StartFlags(r.u16()?),
            port: r.u16()?,
            filter: FilterBlock::read(&mut r)?,
        })
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_message(out, MessageType::StartCaptureRequest, 0, |b| {
            b.extend_from_slice(&self.snaplen.to_be_bytes());
            b.extend_from_slice(&self.read_timeout_ms.to_be_bytes());
            b.extend_from_slice(&self.flags.0.to_be_bytes());
            b.extend_from_slice(&self.port.to_be_bytes());
            self.filter.write(b);
        });
    }
}

/// The daemon's answer to STARTCAP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartReply {
    /// Bytes of the daemon's capture buffer: a hint for the client's receive buffer.
    pub buffer_size: u32,
    /// Where the daemon listens for the data connection; with [`StartFlags::SOURCE_PORT`] in the
    /// extensions, where its datagrams come from; otherwise 0.
    pub port: u16,
    /// Which extensions the daemon chose of those that the client offered; 0 from other daemons.
    pub extensions: u16,
}

impl StartReply {
    /// Reads the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        Ok(Self { buffer_size: r.u32()?, port: r.u16()?, extensions: r.u16()? })
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_message(out, MessageType::StartCaptureReply, 0, |b| {
            b.extend_from_slice(&self.buffer_size.to_be_bytes());
            b.extend_from_slice(&self.port.to_be_bytes());
            b.extend_from_slice(&self.extensions.to_be_bytes());
        });
    }
}

/// How many bytes past its stated length a STARTCAP really has, or `None` while that is unsure.
///
/// WinPcap's and libpcap's clients send a filter of one instruction ("everything") when the user
/// gave none, but state the length of none (docs/protocol.md, "The missing eight bytes"). Such a
/// message ends after one instruction, a list of one is promised, and what follows reads as
/// `ret #k`. A CLOSE starts with the same four bytes but has no payload, so a `k` of zero is not
/// taken for an instruction.
pub fn tolerated_tail(payload: &[u8], following: &[u8]) -> Option<usize> {
    const PROMISES_ONE: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 1];
    const RETURN: [u8; 4] = [0, 6, 0, 0];
    if payload.len() != 20 || payload[12..] != PROMISES_ONE {
        return Some(0);
    }
    let seen = following.len().min(RETURN.len());
    if following[..seen] != RETURN[..seen] {
        return Some(0);
    }
    match following.get(4..8) {
        None => None,
        Some([0, 0, 0, 0]) => Some(0),
        Some(_) => Some(8),
    }
}
