//! Who may log in with a password, and what they may then do.

mod file;
mod manage;
mod throttle;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};

use crate::devices::Rules;
use crate::locked::lock;
use throttle::Throttle;

pub use file::ReadError;
pub use manage::{UserCommand, run};

/// Most bytes of a name and of a password.
const NAME_MAX: usize = 256;
const PASSWORD_MAX: usize = 1024;

/// What is computed for a name that nobody has, so that it takes as long as for one that somebody
/// has: the hash of a password that was thrown away.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXRoaW5nIHJhbmRvbQ$\
                      3qvXmQ3oWbqvJqg8bZfT1v3l0c2m1n4o5p6q7r8s9tA";

/// Those who may log in.
#[derive(Clone, Debug, Default)]
pub struct Users(BTreeMap<String, User>);

/// One who may log in.
#[derive(Clone, Debug)]
struct User {
    /// What the password is compared with, in PHC's notation.
    password: String,
    rights: Rights,
}

/// What a user may do besides what every client may: nothing here gives more.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// The devices that there are for the user.
    pub devices: Option<Rules>,
    /// A filter (pcap-filter(7)) that packets must pass besides the user's own.
    pub filter: Option<String>,
    /// Most bytes of each packet.
    pub snaplen: Option<u32>,
}

impl Users {
    /// Whether somebody is called so.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Who a client is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user's name.
    pub name: String,
    /// The user's rights.
    pub rights: Rights,
}

/// Why a login was refused: for the log, not for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name or the password is not as one can be.
    #[error("no name and password that could be somebody's")]
    Malformed,
    /// Nobody is called so.
    #[error("unknown user")]
    UnknownUser,
    /// The password is another one.
    #[error("wrong password")]
    WrongPassword,
    /// Too many were refused from this address before; nothing was compared.
    #[error("too many refusals from this address: not looked at")]
    Throttled,
}

/// Compares passwords.
#[derive(Debug, Default)]
pub struct Doorkeeper {
    throttle: Mutex<Throttle>,
    /// Held while a password is compared, which takes 19 MiB: one at a time.
    comparing: Mutex<()>,
}

impl Doorkeeper {
    /// Lets a user in, or not. Takes some hundredths of a second, and longer if others are being
    /// looked at.
    pub fn login(
        &self,
        users: &Users,
        from: IpAddr,
        name: &[u8],
        password: &[u8],
    ) -> Result<Identity, Refusal> {
        let _alone = lock(&self.comparing);
        // Only now: many may have come at once.
        if lock(&self.throttle).is_closed(from, Instant::now()) {
            return Err(Refusal::Throttled);
        }
        let result = compare(users, name, password);
        let mut throttle = lock(&self.throttle);
        match &result {
            Ok(_) => throttle.accepted(from),
            Err(_) => throttle.refused(from, Instant::now()),
        }
        result
    }
}

fn compare(users: &Users, name: &[u8], password: &[u8]) -> Result<Identity, Refusal> {
    let fits = |text: &[u8], max| text.len() <= max && !text.contains(&0);
    if name.is_empty() || !fits(name, NAME_MAX) || !fits(password, PASSWORD_MAX) {
        return Err(Refusal::Malformed);
    }
    let found = str::from_utf8(name).ok().and_then(|name| users.0.get_key_value(name));
    let hash = found.map_or(NOBODY, |(_, user)| &user.password);
    let matches = PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
    match found {
        None => Err(Refusal::UnknownUser),
        Some(_) if !matches => Err(Refusal::WrongPassword),
        Some((name, user)) => Ok(Identity { name: name.clone(), rights: user.rights.clone() }),
    }
}
