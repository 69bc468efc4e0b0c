//! The small fixed messages: OPEN's reply and sampling.

use super::{Malformed, MessageType, Reader, write_message};

/// Longest device name anybody accepts, in bytes.
pub const DEVICE_NAME_MAX: usize = 1024;

/// The daemon's answer to OPEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReply {
    /// Link type in the daemon's own `DLT_` numbering.
    pub linktype: u32,
}

impl OpenReply {
    /// Reads the payload; the time zone offset that follows is historical and ignored.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let reply = Self { linktype: r.u32()? };
        let _time_zone = r.u32()?;
        Ok(reply)
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_message(out, MessageType::OpenReply, 0, |b| {
            b.extend_from_slice(&self.linktype.to_be_bytes());
            b.extend_from_slice(&[0; 4]);
        });
    }
}

/// Which packets of a capture are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// All of them.
    #[default]
    None,
    /// The first, then every `n`-th after it; at least 2.
    OneEvery(u32),
    /// One, then none until this many milliseconds of packet time have passed; at least 1.
    FirstAfterMs(u32),
}

impl Sampling {
    /// Reads the payload. A count or interval of 0 means no sampling: libpcap's clients send it
    /// for any value.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let [method, ..] = r.array::<4>()?;
        match (method, r.u32()?) {
            (0, _) | (1 | 2, 0) | (1, 1) => Ok(Self::None),
            (1, n) => Ok(Self::OneEvery(n)),
            (2, ms) => Ok(Self::FirstAfterMs(ms)),
            _ => Err(Malformed::Value("Unknown sampling method")),
        }
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (method, value) = match *self {
            Self::None => (0, 0),
            Self::OneEvery(n) => (1, n),
            Self::FirstAfterMs(ms) => (2, ms),
        };
        write_message(out, MessageType::SetSamplingRequest, 0, |b| {
            b.extend_from_slice(&[method, 0, 0, 0]);
            b.extend_from_slice(&value.to_be_bytes());
        });
    }
}
