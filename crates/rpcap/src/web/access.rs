//! `[http]` of the policy: what the page shows itself with, and what those who look at it must know.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use rustls::ServerConfig;

use crate::tls::server_config;

/// The longest file with a password that is read.
const LONGEST: u64 = 4096;
/// What comparing a password may take: kB of memory, and passes over them.
const MOST: (u32, u32) = (1 << 20, 64);

/// Who may look at the page.
pub struct Access {
    /// What connections are encrypted with.
    pub(super) tls: Arc<ServerConfig>,
    /// Names that the page is called by, besides its address.
    pub(super) names: Vec<String>,
    /// Of the password: those who came with another one have to log in again.
    pub(super) version: [u8; 32],
    secret: Secret,
}

/// What a password is compared with.
enum Secret {
    /// A hash in PHC's notation.
    Hash(String),
    /// A code of the password itself, under a key that nobody has.
    Code(Box<(hmac::Key, hmac::Tag)>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The password's file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no password in it, or none that can be compared.
    #[error("{}: {reason}", path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}

impl Access {
    /// Reads a certificate (PEM), with those that vouch for it behind it, its key, and a file whose
    /// first line is the password, or its hash as `rpcapd user` writes it.
    pub fn load(
        cert: &Path,
        key: &Path,
        password: &Path,
        names: Vec<String>,
    ) -> Result<Self, AccessError> {
        let mut tls = server_config(cert, key)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let read = || {
            let mut text = String::new();
            File::open(password)?.take(LONGEST).read_to_string(&mut text)?;
            Ok(text)
        };
        let text =
            read().map_err(|source| AccessError::Read { path: password.to_owned(), source })?;
        let line = text.lines().next().unwrap_or_default();
        let wrong = |reason| AccessError::Password { path: password.to_owned(), reason };
        let secret = match line {
            "" => return Err(wrong("a password in its first line is wanted".to_owned())),
            hash if hash.starts_with("$argon2") => {
                check(hash).map_err(wrong)?;
                Secret::Hash(hash.to_owned())
            }
            plain => {
                let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
                let key = key.map_err(|_| AccessError::Random)?;
                let code = hmac::sign(&key, plain.as_bytes());
                Secret::Code(Box::new((key, code)))
            }
        };
        let mut version = [0; 32];
        version.copy_from_slice(digest(&SHA256, line.as_bytes()).as_ref());
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self { tls: Arc::new(tls), names, version, secret })
    }

    /// Whether this is the password. It takes its time: as long for one as for the other.
    pub(super) fn is_password(&self, password: &[u8]) -> bool {
        match &self.secret {
            Secret::Hash(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Secret::Code(code) => hmac::verify(&code.0, password, code.1.as_ref()).is_ok(),
        }
    }
}

/// Whether a hash can be compared with at a bearable price.
fn check(hash: &str) -> Result<(), String> {
    let hash = PasswordHash::new(hash).map_err(|e| format!("this is no hash: {e}"))?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("{} is not argon2id", hash.algorithm));
    }
    let number = |name| hash.params.get_decimal(name).unwrap_or(u32::MAX);
    if number("m") > MOST.0 || number("t") > MOST.1 {
        return Err("comparing this hash takes too much memory or time".to_owned());
    }
    Ok(())
}
