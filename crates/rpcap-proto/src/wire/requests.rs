//! The small fixed messages: OPEN's reply and sampling.

use super::{Malformed, MessageType, Reader, error_text, write_message};

/// Longest device name anybody accepts, in bytes.
pub const DEVICE_NAME_MAX: usize = 1024;

/// The header's value of an OPEN from a client that wants to know the daemon's system, and of a reply
/// that tells it (docs/protocol.md, "OPEN").
pub const TELL_SYSTEM: u16 = 1;

/// Longest name of a system, in bytes.
pub const SYSTEM_MAX: usize = 255;

/// The daemon's answer to OPEN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReply {
    /// Link type in the daemon's own `DLT_` numbering.
    pub linktype: u32,
    /// The daemon's operating system, on one line, if it was asked for and told.
    pub system: Option<String>,
}

impl OpenReply {
    /// Reads the payload of a message with this value in its header; the time zone offset is historical
    /// and ignored.
    pub fn read(payload: &[u8], value: u16) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let linktype = r.u32()?;
        let _time_zone = r.u32()?;
        let told = value & TELL_SYSTEM != 0 && r.remaining() > 0;
        let system = r.take(r.remaining().min(SYSTEM_MAX))?;
        Ok(Self { linktype, system: told.then(|| error_text(system)) })
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let value = if self.system.is_some() { TELL_SYSTEM } else { 0 };
        write_message(out, MessageType::OpenReply, value, |b| {
            b.extend_from_slice(&self.linktype.to_be_bytes());
            b.extend_from_slice(&[0; 4]);
            if let Some(system) = &self.system {
                b.extend_from_slice(&system.as_bytes()[..system.len().min(SYSTEM_MAX)]);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HEADER_LEN;

    #[test]
    fn a_system_is_told_on_one_line_and_only_where_the_header_says_so() {
        let read = |payload: &[u8], value| OpenReply::read(payload, value).unwrap().system;
        let mut bytes = Vec::new();
        OpenReply { linktype: 1, system: Some("Debian 12, Linux 6.1".into()) }.write(&mut bytes);
        assert_eq!(bytes[2..4], [0, 1]);
        let payload = &bytes[HEADER_LEN..];
        assert_eq!(read(payload, 1).as_deref(), Some("Debian 12, Linux 6.1"));
        assert_eq!(read(payload, 0), None);
        assert_eq!(read(&payload[..8], 1), None);
        let hostile = [&[0; 8], &b"a\nb\x1b[2J\xff"[..], &[b'x'; 300]].concat();
        let text = read(&hostile, 1).unwrap();
        assert!(text.starts_with("a\\nb\\u{1b}[2J\\xff"), "{text}");
        assert_eq!(text.matches('x').count(), SYSTEM_MAX - 8 + 1);

        let mut long = Vec::new();
        OpenReply { linktype: 1, system: Some("y".repeat(999)) }.write(&mut long);
        assert_eq!(long.len(), HEADER_LEN + 8 + SYSTEM_MAX);
    }
}
