use super::{Malformed, MessageType, Reader, VERSION, write_message};

/// The order of bytes within numbers on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first, as on x86 and ARM.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The order of the host that this code runs on.
    pub const HOST: Self = if cfg!(target_endian = "little") { Self::Little } else { Self::Big };
}

/// A number that looks different in either byte order.
const MAGIC: u32 = 0xa1b2_c3d4;

/// How a client says who it is (docs/protocol.md, "AUTH").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthRequest<'a> {
    /// Nobody in particular; allowed only where the daemon says so.
    Null,
    /// A name and a password, in the clear unless the connection is encrypted.
    Password {
        /// User name as sent: any bytes.
        user: &'a [u8],
        /// Password as sent: any bytes.
        password: &'a [u8],
    },
    /// A type that this protocol does not know.
    Unknown(u16),
}

impl<'a> AuthRequest<'a> {
    /// Reads the payload. The strings of an unknown type are not looked at.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let kind = r.u16()?;
        let _unused = r.u16()?;
        let (user_len, password_len) = (r.u16()?, r.u16()?);
        Ok(match kind {
            0 => Self::Null,
            1 => Self::Password {
                user: r.take(user_len.into())?,
                password: r.take(password_len.into())?,
            },
            other => Self::Unknown(other),
        })
    }

    /// Appends the message. Strings beyond 65,535 bytes cannot be told and are an error.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let too_long = |_| Malformed::Value("user name or password is longer than 65535 bytes");
        let (kind, user, password): (u16, &[u8], &[u8]) = match self {
            Self::Null => (0, &[], &[]),
            Self::Password { user, password } => (1, user, password),
            Self::Unknown(kind) => (*kind, &[], &[]),
        };
        let user_len = u16::try_from(user.len()).map_err(too_long)?;
        let password_len = u16::try_from(password.len()).map_err(too_long)?;
        write_message(out, MessageType::AuthRequest, 0, |b| {
            b.extend_from_slice(&kind.to_be_bytes());
            b.extend_from_slice(&[0; 2]);
            b.extend_from_slice(&user_len.to_be_bytes());
            b.extend_from_slice(&password_len.to_be_bytes());
            b.extend_from_slice(user);
            b.extend_from_slice(password);
        });
        Ok(())
    }
}

/// What a daemon says of itself once it accepts a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthReply {
    /// Lowest protocol version it speaks.
    pub min_version: u8,
    /// Highest protocol version it speaks.
    pub max_version: u8,
    /// Its byte order, where it tells: some link types carry fields in host order.
    pub byte_order: Option<ByteOrder>,
}

impl AuthReply {
    /// What this implementation says on this host.
    pub const OURS: Self =
        Self { min_version: VERSION, max_version: VERSION, byte_order: Some(ByteOrder::HOST) };

    /// Reads the three forms in use: nothing, two bytes, or eight and more.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let mut reply = Self { min_version: 0, max_version: 0, byte_order: None };
        if payload.is_empty() {
            return Ok(reply);
        }
        (reply.min_version, reply.max_version) = (r.u8()?, r.u8()?);
        if reply.min_version > reply.max_version {
            return Err(Malformed::Value("lowest version is above the highest"));
        }
        if r.remaining() > 0 {
            let _pad = r.u16()?;
            reply.byte_order = Some(match r.u32()? {
                MAGIC => ByteOrder::Big,
                m if m == MAGIC.swap_bytes() => ByteOrder::Little,
                _ => return Err(Malformed::Value("byte order mark is neither order")),
            });
        }
        Ok(reply)
    }

    /// Appends the message: eight bytes where the byte order is known, otherwise two.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_message(out, MessageType::AuthReply, 0, |b| {
            b.extend_from_slice(&[self.min_version, self.max_version]);
            if let Some(order) = self.byte_order {
                b.extend_from_slice(&[0; 2]);
                // The one field of the protocol in the sender's own order.
                b.extend_from_slice(&match order {
                    ByteOrder::Big => MAGIC.to_be_bytes(),
                    ByteOrder::Little => MAGIC.to_le_bytes(),
                });
            }
        });
    }
}
