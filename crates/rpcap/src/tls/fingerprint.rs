use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};

const LENGTH: usize = 32;

/// What a certificate is known by: SHA-256 of all of it (DER).
///
/// It is shown as `rpcapd tls init` and openssl do, `AB:CD:…`, and read in that form or without
/// colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; LENGTH]);

/// Why a text is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fingerprint is SHA-256: 64 hexadecimal digits, with or without a colon after every second"
)]
pub struct NoFingerprint;

impl Fingerprint {
    /// That of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; LENGTH];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let mut digits = Vec::with_capacity(2 * LENGTH);
        for (place, c) in text.trim().chars().enumerate() {
            match c.to_digit(16) {
                Some(digit) => digits.push(digit as u8),
                None if c == ':' && place % 3 == 2 => {}
                None => return Err(NoFingerprint),
            }
        }
        let mut bytes = [0; LENGTH];
        if digits.len() != 2 * LENGTH || text.trim().ends_with(':') {
            return Err(NoFingerprint);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_every_way_and_read_again() {
        let print = Fingerprint::of(b"abc");
        // FIPS 180-2, appendix B.1.
        let plain = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let shown = print.to_string();
        assert!(shown.starts_with("BA:78:16:BF:"), "{shown}");
        assert_eq!(shown.replace(':', "").to_lowercase(), plain);
        for text in [plain, &plain.to_uppercase(), &shown, &format!(" {shown}\n")] {
            assert_eq!(text.parse(), Ok(print), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        let plain = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let colons = Fingerprint::of(b"abc").to_string();
        for text in [
            "",
            ":",
            &plain[1..],
            &format!("{plain}00"),
            &format!("{plain}:"),
            &format!("{colons}:"),
            &format!(":{colons}"),
            &colons.replacen(':', "::", 1),
            &plain.replace('b', "g"),
            &plain.replacen("ba", "é", 1),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(NoFingerprint), "{text}");
        }
    }
}
