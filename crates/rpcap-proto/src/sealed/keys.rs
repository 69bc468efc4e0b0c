use core::fmt;

use ring::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{self, HKDF_SHA256, KeyType, Prk};
use zeroize::Zeroizing;

/// Datagrams that are sealed with one key: of what the AEADs here allow the least (RFC 9001 section
/// 6.6), for datagrams of any length.
pub const KEY_USES: u64 = 1 << 23;

/// An AEAD, that of the TLS connection's own cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Cipher {
    /// That of a cipher suite of TLS 1.3, by its number (RFC 8446 appendix B.4).
    pub fn of_suite(suite: u16) -> Option<Self> {
        match suite {
            0x1301 => Some(Self::Aes128Gcm),
            0x1302 => Some(Self::Aes256Gcm),
            0x1303 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// Datagrams that are not authentic, after which a receiver believes none (RFC 9001 section 6.6).
    pub(super) fn forgeries_max(self) -> u64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 1 << 52,
            Self::ChaCha20Poly1305 => 1 << 36,
        }
    }
}

/// What both ends of a capture know and nobody else does: 32 bytes that TLS exported. Wiped when it
/// goes.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// Takes what was exported under [`EXPORTER_LABEL`](super::EXPORTER_LABEL).
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The keys of an epoch.
    pub(super) fn keys(&self, cipher: Cipher, epoch: u32) -> Option<Keys> {
        let prk = Prk::new_less_safe(HKDF_SHA256, &*self.0);
        let epoch = epoch.to_be_bytes();
        let derive = |label: &[u8], out: &mut [u8]| {
            let info = [label, &epoch];
            prk.expand(&info, Bytes(out.len())).and_then(|okm| okm.fill(out)).ok()
        };
        let mut key = Zeroizing::new([0; 32]);
        let key = key.get_mut(..cipher.algorithm().key_len())?;
        derive(b"rpcap sealed key", key)?;
        let mut iv = [0; NONCE_LEN];
        derive(b"rpcap sealed iv", &mut iv)?;
        let key = LessSafeKey::new(UnboundKey::new(cipher.algorithm(), key).ok()?);
        Some(Keys { key, iv })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A length that HKDF is asked for.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl From<hkdf::Okm<'_, Bytes>> for Bytes {
    fn from(okm: hkdf::Okm<'_, Bytes>) -> Self {
        Self(okm.len().0)
    }
}

/// The keys of an epoch. What ring keeps of them it does not wipe.
pub(super) struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// As TLS 1.3 has it (RFC 8446 section 5.3): the number, xor the IV.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (n, byte) in nonce[NONCE_LEN - 8..].iter_mut().zip(number.to_be_bytes()) {
            *n ^= byte;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts; the tag.
    pub(super) fn seal(&self, number: u64, clear: &[u8], data: &mut [u8]) -> Option<aead::Tag> {
        self.key.seal_in_place_separate_tag(self.nonce(number), Aad::from(clear), data).ok()
    }

    /// Decrypts what has its tag at the end, if it is authentic.
    pub(super) fn open<'a>(
        &self,
        number: u64,
        clear: &[u8],
        data: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        self.key.open_in_place(self.nonce(number), Aad::from(clear), data).ok()
    }
}
