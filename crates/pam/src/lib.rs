//! Whether the system's accounts take a name and a password: libpam (Linux-PAM), loaded at run time.
//!
//! PAM runs modules that the administrator chose, in this process and as long as they like: they may
//! hang, crash or end it. Call this in a process of its own that can be killed.
#![cfg(target_os = "linux")]

mod conversation;
mod library;

use std::ffi::CString;

use library::{Functions, Transaction};

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// libpam is not on this host, or is unusable.
    #[error("libpam.so.0 cannot be loaded ({0}): install libpam0g (Debian, Ubuntu) or pam")]
    NoLibrary(String),
    /// Something contains a zero byte.
    #[error("a zero byte in a name or a password")]
    Malformed,
    /// The name or the password is wrong; with the number that PAM gives to the reason.
    #[error("name and password refused (PAM error {0})")]
    Authentication(i32),
    /// The account may not be used: it is locked or has expired, or its password has.
    #[error("the account may not be used (PAM error {0})")]
    Account(i32),
    /// A module took the name for another one.
    #[error("PAM took the name for another one")]
    OtherUser,
    /// PAM itself does not work.
    #[error("PAM does not work (PAM error {0})")]
    System(i32),
}

/// Who asks to be let in.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The service, a file in `/etc/pam.d`.
    pub service: &'a str,
    /// The account's name.
    pub user: &'a str,
    /// The password, given to every prompt that does not show what is typed.
    pub password: &'a [u8],
    /// The host that it comes from, for the modules and their logs.
    pub from: &'a str,
}

/// Whether libpam can be used.
pub fn available() -> Result<(), Refusal> {
    Functions::get().map(drop)
}

/// Whether the account exists, has this password and may be used now. It takes as long as the modules
/// do, without the delay that some ask for after a refusal: the caller has its own.
pub fn authenticate(attempt: &Attempt<'_>) -> Result<(), Refusal> {
    let text = |text: &str| CString::new(text).map_err(|_| Refusal::Malformed);
    if attempt.password.contains(&0) {
        return Err(Refusal::Malformed);
    }
    let (service, user) = (text(attempt.service)?, text(attempt.user)?);
    let from = text(attempt.from)?;
    let mut transaction = Transaction::start(Functions::get()?, &service, &user, attempt.password)?;
    transaction.set_remote_host(&from)?;
    transaction.without_delay()?;
    transaction.authenticate()?;
    transaction.check_account()?;
    match transaction.user() {
        Some(name) if name == user.as_c_str() => Ok(()),
        _ => Err(Refusal::OtherUser),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_bytes_never_reach_pam() {
        let attempt = Attempt { service: "s", user: "u", password: b"p", from: "192.0.2.1" };
        for wrong in [
            Attempt { service: "s\0", ..attempt },
            Attempt { user: "root\0x", ..attempt },
            Attempt { password: b"p\0", ..attempt },
            Attempt { from: "\0", ..attempt },
        ] {
            assert_eq!(authenticate(&wrong), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn nobody_is_let_in_who_does_not_exist() {
        let attempt = Attempt {
            service: "rpcapd-no-such-service",
            user: "no-such-user",
            password: b"p",
            from: "192.0.2.1",
        };
        assert!(authenticate(&attempt).is_err());
    }
}
