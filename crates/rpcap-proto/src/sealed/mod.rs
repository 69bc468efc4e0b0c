//! Sealed udpstr: datagrams that are encrypted and authenticated, for clients with TLS.
//!
//! `docs/sealed-udp.md` has the format, the keys and the limits. The cryptography is ring's, which is
//! also that of the TLS library: AEAD and HKDF, nothing of our own.
//!
//! * [`Sealer`]: a batch of udpstr datagrams into sealed ones.
//! * [`Opener`]: a sealed datagram into the udpstr datagram that it was, once.

mod epochs;
mod keys;
mod open;
mod replay;
mod seal;

pub use self::keys::{Cipher, KEY_USES, Secret};
pub use self::open::{Counts, Opener, Refused};
pub use self::seal::Sealer;

use crate::udpstr::DATAGRAM_HEADER_LEN;

/// The second byte of a sealed datagram.
pub const TYPE: u8 = 111;

/// Bytes that are sent as they are: version, type, two zeros, the lower half of the number.
const CLEAR: usize = 8;

/// Bytes that authenticate the rest.
const TAG: usize = 16;

/// Bytes that a datagram becomes longer by.
pub const OVERHEAD: usize = CLEAR + FIRST + TAG - DATAGRAM_HEADER_LEN;

/// The place of the first packet, which is encrypted.
const FIRST: usize = 2;

/// The label of the secret among what TLS exports (RFC 5705 section 4: for private use).
pub const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL-rpcap-sealed-udpstr";

/// The context of the secret of a capture: how many sealed ones this control connection had before.
pub fn exporter_context(capture: u32) -> [u8; 4] {
    capture.to_be_bytes()
}

#[cfg(test)]
mod tests;
