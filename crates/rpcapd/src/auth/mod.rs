//! Who may log in, with a password or a certificate, and what they may then do.

mod file;
mod manage;
#[cfg(target_os = "linux")]
mod pam;
mod throttle;
#[cfg(windows)]
mod windows;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};

use crate::cli::Cli;
use crate::devices::Rules;
use crate::locked::lock;
use throttle::Throttle;

pub use file::{Owner, ReadError};
pub use manage::{UserCommand, run};
#[cfg(target_os = "linux")]
pub use pam::{HelperArgs, run as answer_daemon};
#[cfg(windows)]
pub(crate) use windows::check as check_accounts;

/// Most bytes of a name and of a password.
const NAME_MAX: usize = 256;
const PASSWORD_MAX: usize = 1024;

/// What is computed for a name that nobody has, so that it takes as long as for one that somebody
/// has: the hash of a password that was thrown away.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXRoaW5nIHJhbmRvbQ$\
                      3qvXmQ3oWbqvJqg8bZfT1v3l0c2m1n4o5p6q7r8s9tA";

/// With accounts of the system, a refusal is answered so long after the request, or twice as long and so
/// on: how long PAM takes tells who has an account.
const REFUSAL: Duration = Duration::from_secs(2);

/// Whose rights accounts of the system have that the file of users does not name.
const ANYBODY: &str = "*";

/// Those who may log in.
#[derive(Clone, Debug, Default)]
pub struct Users(BTreeMap<String, User>);

/// One who may log in, in at least one of these ways.
#[derive(Clone, Debug)]
struct User {
    /// What the password is compared with, in PHC's notation.
    password: Option<String>,
    /// Whether a certificate with this name is enough.
    certificate: bool,
    /// Whether the password is that of the system's account.
    pam: bool,
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
    /// Whether one who logged in may stay; `accounts`: whether accounts of the system are let in at
    /// all.
    pub fn allow(&self, name: &str, by: By, accounts: bool) -> bool {
        let user = self.0.get(name);
        match by {
            By::Password => user.is_some_and(|user| user.password.is_some()),
            By::Certificate => user.is_some_and(|user| user.certificate),
            By::Account => accounts && self.account(name).is_none_or(|user| user.pam),
        }
    }

    /// Whom a certificate with this name lets in, if anybody.
    pub fn of_certificate(&self, name: &str) -> Option<Identity> {
        let user = self.0.get(name).filter(|user| user.certificate)?;
        Some(Identity::new(name, By::Certificate, user.rights.clone()))
    }

    fn find(&self, name: &[u8]) -> Option<(&String, &User)> {
        str::from_utf8(name).ok().and_then(|name| self.0.get_key_value(name))
    }

    /// What the file says of an account of the system, if it says anything. To Windows capitals are
    /// small letters.
    fn account(&self, name: &str) -> Option<&User> {
        let is_it = |listed: &str| listed.to_lowercase() == name.to_lowercase();
        match cfg!(windows) {
            true => self.0.iter().find(|(listed, _)| is_it(listed)).map(|(_, user)| user),
            false => self.0.get(name),
        }
    }

    /// The rights of an account of the system.
    #[cfg(any(target_os = "linux", windows, test))]
    fn of_account(&self, name: &str) -> Rights {
        let user = self.account(name).or_else(|| self.0.get(ANYBODY));
        user.map(|user| user.rights.clone()).unwrap_or_default()
    }
}

/// How somebody proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By a password that the file of users has.
    Password,
    /// By the certificate that it showed at the beginning of TLS.
    Certificate,
    /// By the password of an account of the system: PAM's, or Windows'.
    Account,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password => "password",
            Self::Certificate => "certificate",
            Self::Account if cfg!(windows) => "windows",
            Self::Account => "pam",
        })
    }
}

/// Who a client is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user's name.
    pub name: String,
    /// How that is known.
    pub by: By,
    /// The user's rights.
    pub rights: Rights,
}

impl Identity {
    fn new(name: &str, by: By, rights: Rights) -> Self {
        Self { name: name.to_owned(), by, rights }
    }
}

/// Names of accounts or groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl std::str::FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
        match names.iter().any(String::is_empty) {
            true => Err("expected names, separated by commas".to_owned()),
            false => Ok(Self(names)),
        }
    }
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
    /// The user logs in by other means.
    #[error("the file of users has no password for this user")]
    NoPassword,
    /// The system, or what asks it.
    #[error("{0}")]
    Account(&'static str),
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
    /// Held while the system is asked about an account, one at a time too.
    asking: Mutex<()>,
    #[cfg(target_os = "linux")]
    helper: Option<pam::Helper>,
    #[cfg(windows)]
    logons: Option<windows::Logons>,
}

impl Doorkeeper {
    /// With what asks the system about accounts if these options want it: a helper that asks PAM keeps
    /// the rights of now. To be called before they are given up.
    pub fn start(cli: &Cli) -> anyhow::Result<Self> {
        let _ = cli;
        Ok(Self {
            #[cfg(target_os = "linux")]
            helper: pam::Helper::start(cli)?,
            #[cfg(windows)]
            logons: windows::Logons::start(cli)?,
            ..Self::default()
        })
    }

    /// Lets a user in, or not. Takes some hundredths of a second, and longer if others are being
    /// looked at. `accounts`: whether those of the system are let in; refusals take seconds then.
    pub fn login(
        &self,
        users: &Users,
        accounts: bool,
        from: IpAddr,
        name: &[u8],
        password: &[u8],
    ) -> Result<Identity, Refusal> {
        let since = Instant::now();
        let of_system = accounts && users.find(name).is_none_or(|(_, user)| user.pam);
        let result = match of_system {
            true => self.look(&self.asking, from, || self.ask(users, from, name, password)),
            false => self.look(&self.comparing, from, || compare(users, name, password)),
        };
        if accounts && !matches!(result, Ok(_) | Err(Refusal::Throttled)) {
            let steps = since.elapsed().as_nanos() / REFUSAL.as_nanos() + 1;
            let answer = since + REFUSAL * u32::try_from(steps).unwrap_or(u32::MAX);
            thread::sleep(answer.saturating_duration_since(Instant::now()));
        }
        result
    }

    /// Decides, unless too many were refused before.
    fn look(
        &self,
        one_at_a_time: &Mutex<()>,
        from: IpAddr,
        decide: impl FnOnce() -> Result<Identity, Refusal>,
    ) -> Result<Identity, Refusal> {
        let _alone = lock(one_at_a_time);
        // Only now: many may have come at once.
        if lock(&self.throttle).is_closed(from, Instant::now()) {
            return Err(Refusal::Throttled);
        }
        let result = decide();
        let mut throttle = lock(&self.throttle);
        match &result {
            Ok(_) => throttle.accepted(from),
            Err(_) => throttle.refused(from, Instant::now()),
        }
        result
    }

    #[cfg(target_os = "linux")]
    fn ask(
        &self,
        users: &Users,
        from: IpAddr,
        name: &[u8],
        password: &[u8],
    ) -> Result<Identity, Refusal> {
        let helper =
            self.helper.as_ref().ok_or(Refusal::Account("--pam is heeded after a restart"))?;
        let name = str::from_utf8(name).map_err(|_| Refusal::Malformed)?;
        helper.login(from, name, password).map_err(Refusal::Account)?;
        Ok(Identity::new(name, By::Account, users.of_account(name)))
    }

    #[cfg(windows)]
    fn ask(
        &self,
        users: &Users,
        _from: IpAddr,
        name: &[u8],
        password: &[u8],
    ) -> Result<Identity, Refusal> {
        const LATER: Refusal = Refusal::Account("--windows-users is heeded after a restart");
        let logons = self.logons.as_ref().ok_or(LATER)?;
        let name = str::from_utf8(name).map_err(|_| Refusal::Malformed)?;
        // Its own name: the one that was given may be spelt in other ways.
        let name = logons.login(name, password).map_err(Refusal::Account)?;
        if !users.allow(&name, By::Account, true) {
            return Err(Refusal::Account("the file of users lets this name in by other means"));
        }
        Ok(Identity::new(&name, By::Account, users.of_account(&name)))
    }

    #[cfg(not(any(target_os = "linux", windows)))]
    fn ask(&self, _: &Users, _: IpAddr, _: &[u8], _: &[u8]) -> Result<Identity, Refusal> {
        Err(Refusal::UnknownUser)
    }
}

fn compare(users: &Users, name: &[u8], password: &[u8]) -> Result<Identity, Refusal> {
    let fits = |text: &[u8], max| text.len() <= max && !text.contains(&0);
    if name.is_empty() || !fits(name, NAME_MAX) || !fits(password, PASSWORD_MAX) {
        return Err(Refusal::Malformed);
    }
    let found = users.find(name);
    let hash = found.and_then(|(_, user)| user.password.as_deref());
    let matches = PasswordHash::new(hash.unwrap_or(NOBODY))
        .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
    match found {
        None => Err(Refusal::UnknownUser),
        Some(_) if hash.is_none() => Err(Refusal::NoPassword),
        Some(_) if !matches => Err(Refusal::WrongPassword),
        Some((name, user)) => Ok(Identity::new(name, By::Password, user.rights.clone())),
    }
}
