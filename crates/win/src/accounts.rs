//! Accounts of this host and its domain, and whether a password is theirs.
//!
//! Any of these calls may wait for a domain controller.
#![allow(unsafe_code, reason = "the functions of accounts and logons")]

use std::fmt;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::slice;

use windows_sys::Win32::NetworkManagement::NetManagement::{
    LG_INCLUDE_INDIRECT, LOCALGROUP_USERS_INFO_0, MAX_PREFERRED_LENGTH, NetApiBufferFree,
    NetUserGetLocalGroups,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, LOGON32_LOGON_NETWORK, LOGON32_PROVIDER_DEFAULT, LogonUserW,
    LookupAccountNameW, LookupAccountSidW, SidTypeUser, TOKEN_USER, TokenUser,
};
use zeroize::Zeroizing;

use crate::text::{narrow, wide};

/// Most UTF-16 units of a name or a domain's, with their zero: DNLEN and UNLEN are less.
const NAME_MAX: usize = 512;

/// The last number of the identifier of the administrator that every Windows has.
const ADMINISTRATOR: u32 = 500;

/// A security identifier: a byte 1, the number of numbers, six bytes, then the numbers.
#[derive(Clone, Copy)]
struct Sid([u32; SID_UNITS]);

/// In fours of bytes: SECURITY_MAX_SID_SIZE.
const SID_UNITS: usize = 17;

impl Sid {
    fn numbers(&self) -> &[u32] {
        let [_, count, ..] = self.0[0].to_le_bytes();
        self.0.get(..2 + usize::from(count)).unwrap_or(&self.0)
    }
}

impl PartialEq for Sid {
    fn eq(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
    }
}

/// Why a password was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is empty, or has something in it that no password has.
    #[error("no password that could be somebody's")]
    Malformed,
    /// Windows says no: the password is wrong, or the account locked, disabled or not for logons from
    /// the network. With its reason.
    #[error("the logon was refused (Windows error {0})")]
    Refused(i32),
    /// Windows logged somebody else on, such as the guest.
    #[error("somebody else was logged on")]
    Other,
}

/// A user's account.
#[derive(Clone, PartialEq)]
pub struct Account {
    sid: Sid,
    domain: String,
    name: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.full_name())
    }
}

impl Account {
    /// The account that a name means: `name`, `DOMAIN\name` or `name@domain`. An error is that there is
    /// none, or that it is a group's or a machine's.
    pub fn find(name: &str) -> io::Result<Self> {
        if name.is_empty() || name.contains('\0') {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let name = wide(name);
        let mut sid = Sid([0; SID_UNITS]);
        let mut length = size_of::<Sid>() as u32;
        let mut domain = [0; NAME_MAX];
        let mut domain_length = NAME_MAX as u32;
        let mut kind = 0;
        // SAFETY: no system means this one; the name ends in a zero; the identifier and the domain have
        // room for as much as is said.
        let found = unsafe {
            LookupAccountNameW(
                ptr::null(),
                name.as_ptr(),
                (&raw mut sid).cast(),
                &raw mut length,
                domain.as_mut_ptr(),
                &raw mut domain_length,
                &raw mut kind,
            )
        };
        if found == 0 {
            return Err(io::Error::last_os_error());
        }
        match kind == SidTypeUser {
            true => Self::of(sid),
            false => Err(io::Error::other("this is no user's account")),
        }
    }

    fn of(mut sid: Sid) -> io::Result<Self> {
        let (mut name, mut domain) = ([0; NAME_MAX], [0; NAME_MAX]);
        let (mut name_length, mut domain_length) = (NAME_MAX as u32, NAME_MAX as u32);
        let mut kind = 0;
        // SAFETY: the identifier is one, from Windows; names have room for as much as is said.
        let found = unsafe {
            LookupAccountSidW(
                ptr::null(),
                (&raw mut sid).cast(),
                name.as_mut_ptr(),
                &raw mut name_length,
                domain.as_mut_ptr(),
                &raw mut domain_length,
                &raw mut kind,
            )
        };
        match found {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(Self { sid, domain: narrow(&domain), name: narrow(&name) }),
        }
    }

    /// `DOMAIN\name`, spelt as Windows does; the domain of local accounts is the host's name.
    pub fn full_name(&self) -> String {
        format!(r"{}\{}", self.domain, self.name)
    }

    /// What the account is called here: without the domain if it is this host's own.
    pub fn short_name(&self) -> String {
        let here = std::env::var("COMPUTERNAME").unwrap_or_default();
        match self.domain.eq_ignore_ascii_case(&here) {
            true => self.name.clone(),
            false => self.full_name(),
        }
    }

    /// Whether it is the administrator that every Windows or domain has, whatever it is called.
    pub fn is_administrator(&self) -> bool {
        self.sid.numbers().last() == Some(&ADMINISTRATOR)
    }

    /// The local groups that it is a member of, or a group of it.
    pub fn local_groups(&self) -> io::Result<Vec<String>> {
        let name = wide(&self.full_name());
        let (mut buffer, mut read, mut all) = (ptr::null_mut(), 0, 0);
        // SAFETY: no server means this one; the name ends in a zero; the other places are valid for
        // writes, and the buffer is Windows' own.
        let error = unsafe {
            NetUserGetLocalGroups(
                ptr::null(),
                name.as_ptr(),
                0,
                LG_INCLUDE_INDIRECT,
                &raw mut buffer,
                MAX_PREFERRED_LENGTH,
                &raw mut read,
                &raw mut all,
            )
        };
        let groups = Groups(buffer.cast(), read as usize);
        match error {
            0 => Ok(groups.names()),
            error => Err(io::Error::from_raw_os_error(error.cast_signed())),
        }
    }

    /// Whether the password is this account's, and the account may be used over the network now. As
    /// for any logon, Windows counts what it refuses, and may lock the account.
    pub fn check(&self, password: &[u8]) -> Result<(), Refusal> {
        let password = str::from_utf8(password).map_err(|_| Refusal::Malformed)?;
        // An account without a password is nobody's.
        if password.is_empty() || password.contains('\0') {
            return Err(Refusal::Malformed);
        }
        // As long as it can get: growing would leave a copy of the password behind.
        let mut units = Zeroizing::new(Vec::with_capacity(password.len() + 1));
        units.extend(password.encode_utf16().chain([0]));
        let refused = |e: io::Error| Refusal::Refused(e.raw_os_error().unwrap_or(0));
        let token = self.log_on(&units).map_err(refused)?;
        match user_of(&token).map_err(refused)? == self.sid {
            true => Ok(()),
            false => Err(Refusal::Other),
        }
    }

    /// `password` ends in a zero.
    fn log_on(&self, password: &[u16]) -> io::Result<OwnedHandle> {
        let (name, domain) = (wide(&self.name), wide(&self.domain));
        let mut token = ptr::null_mut();
        // SAFETY: the three texts end in a zero; the token's place is valid for writes.
        let done = unsafe {
            LogonUserW(
                name.as_ptr(),
                domain.as_ptr(),
                password.as_ptr(),
                LOGON32_LOGON_NETWORK,
                LOGON32_PROVIDER_DEFAULT,
                &raw mut token,
            )
        };
        if done == 0 || token.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the token is ours to close.
        Ok(unsafe { OwnedHandle::from_raw_handle(token) })
    }
}

/// Whose token it is.
fn user_of(token: &OwnedHandle) -> io::Result<Sid> {
    /// A TOKEN_USER, with the identifier that it points to behind it.
    #[repr(C)]
    struct Answer {
        user: TOKEN_USER,
        room: Sid,
    }

    // SAFETY: it consists of numbers and a pointer, for which zero is a value.
    let mut answer: Answer = unsafe { std::mem::zeroed() };
    let mut length = 0;
    // SAFETY: the handle is open; the answer has room for as much as is said.
    let done = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            (&raw mut answer).cast(),
            size_of::<Answer>() as u32,
            &raw mut length,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // What is needed is behind the pointer: it is copied from there rather than from `room`.
    let from = answer.user.User.Sid.cast::<u8>();
    if from.is_null() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: an identifier has at least its revision and its count.
    let head = unsafe { slice::from_raw_parts(from, 2) };
    let length = (8 + 4 * usize::from(head[1])).min(size_of::<Sid>());
    // SAFETY: it is as long as its count says, 68 bytes at most.
    let bytes = unsafe { slice::from_raw_parts(from, length) };
    let mut sid = Sid([0; SID_UNITS]);
    for (unit, bytes) in sid.0.iter_mut().zip(bytes.chunks_exact(4)) {
        *unit = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Ok(sid)
}

/// Names of groups, in a buffer of Windows' own.
struct Groups(*mut LOCALGROUP_USERS_INFO_0, usize);

impl Groups {
    fn names(&self) -> Vec<String> {
        if self.0.is_null() {
            return Vec::new();
        }
        // SAFETY: so many entries were read, into a buffer that is freed by `drop`.
        let entries = unsafe { slice::from_raw_parts(self.0, self.1) };
        let name = |entry: &LOCALGROUP_USERS_INFO_0| {
            let start = entry.lgrui0_name;
            let unit = |n: usize| {
                // SAFETY: the name ends in a zero, and nothing behind it is looked at.
                let unit = unsafe { start.add(n) };
                // SAFETY: the same.
                unsafe { unit.read() }
            };
            let units: Vec<u16> = (0..NAME_MAX).map(unit).take_while(|&unit| unit != 0).collect();
            String::from_utf16_lossy(&units)
        };
        entries.iter().filter(|entry| !entry.lgrui0_name.is_null()).map(name).collect()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it is from NetUserGetLocalGroups, and is not used after this.
            unsafe { NetApiBufferFree(self.0.cast()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Account {
        Account::find(&std::env::var("USERNAME").unwrap()).unwrap()
    }

    #[test]
    fn who_runs_this_has_an_account() {
        let account = me();
        assert_eq!(Account::find(&account.full_name()).unwrap(), account);
        assert!(account.full_name().ends_with(&account.short_name()));
        account.local_groups().unwrap();
    }

    #[test]
    fn names_that_are_nobodys_account() {
        for name in ["", "no-such-account-here", r"NT AUTHORITY\SYSTEM", "Everyone", "x\0"] {
            assert!(Account::find(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn no_password_that_is_not_the_accounts_is_taken() {
        let account = me();
        for password in [&b""[..], b"\xff", b"zero\0"] {
            assert_eq!(account.check(password), Err(Refusal::Malformed));
        }
        assert!(account.check(b"surely not this one").is_err());
    }

    #[test]
    fn identifiers_are_equal_in_what_they_say() {
        // S-1-5-21-1-500, and with something behind it.
        let sid = |rest: u32| {
            let mut units = [0; SID_UNITS];
            units[..6].copy_from_slice(&[0x0301, 0x0500_0000, 21, 1, ADMINISTRATOR, rest]);
            Sid(units)
        };
        assert!(sid(0) == sid(7));
        let account = Account { sid: sid(7), domain: "D".to_owned(), name: "boss".to_owned() };
        assert!(account.is_administrator());
        assert!(!sid(0).numbers().is_empty());
    }
}
