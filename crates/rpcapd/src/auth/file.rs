//! The file of users: toml, a table for each.
//!
//! ```toml
//! [alice]
//! password = "$argon2id$v=19$m=19456,t=2,p=1$..."   # or certificate = true, or pam = true;
//!                                                  # windows = true is another name of that
//! devices = "eth*,!eth3"
//! filter = "not port 22"
//! snaplen = 128
//! ```

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use argon2::password_hash::phc::PasswordHash;
use rpcap_proto::wire::SNAPLEN_MAX;
use serde::{Deserialize, Serialize};

use super::{ANYBODY, NAME_MAX, Rights, User, Users};
use crate::cli;
use crate::files::{self, Unread, shown};
use crate::logging::escaped;

/// Most bytes of a file.
const SIZE_MAX: u64 = 16 * 1024 * 1024;

/// Most kilobytes of memory that comparing one password may take.
const MEMORY_MAX: u32 = 256 * 1024;

/// Most times that it may go over that memory. Others who log in wait meanwhile.
const PASSES_MAX: u32 = 16;

/// Why the users could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system does not let us.
    #[error("{}: {source}", shown(path))]
    System {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// The contents are wrong, or others can get at them.
    #[error("{}: {reason}", shown(path))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, and with whom.
        reason: String,
    },
}

/// A user as the file has it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) certificate: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not", alias = "windows")]
    pub(super) pam: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) devices: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) snaplen: Option<u32>,
}

/// The contents of a file.
pub(super) type Entries = BTreeMap<String, Entry>;

/// Whom a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user, by its number.
    User(u32),
    /// A group, by its number.
    Group(u32),
}

impl Users {
    /// Reads a file that only its owner can read or write: root, this process's user, or one that
    /// `trusts` is true of. If it is root's, its group may read it that is this process's or trusted.
    pub fn read(path: &Path, trusts: impl Fn(Owner) -> bool) -> Result<Self, ReadError> {
        Self::check(path, read(path, trusts)?)
    }

    /// The same from its text; errors name `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ReadError> {
        Self::check(path, parse(path, text)?)
    }

    fn check(path: &Path, entries: Entries) -> Result<Self, ReadError> {
        let check = |(name, entry): (String, Entry)| {
            let user = user(&name, &entry);
            user.map(|user| (name.clone(), user)).map_err(|reason| ReadError::Wrong {
                path: path.to_owned(),
                reason: format!("{}: {reason}", name.escape_debug()),
            })
        };
        entries.into_iter().map(check).collect::<Result<_, _>>().map(Self)
    }
}

/// What an entry means, or why it means nothing.
pub(super) fn user(name: &str, entry: &Entry) -> Result<User, String> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
        return Err(format!("expected a name of 1 to {NAME_MAX} bytes"));
    }
    match &entry.password {
        Some(_) if entry.pam => return Err("password and pam: one of them is meant".to_owned()),
        Some(password) => check_hash(password).map_err(|e| format!("password: {e}"))?,
        None if !entry.pam && !entry.certificate => {
            return Err("expected password, certificate = true or pam = true".to_owned());
        }
        None => {}
    }
    if name == ANYBODY && (entry.certificate || !entry.pam) {
        return Err("this is for pam = true only".to_owned());
    }
    if entry.certificate && name.contains(|c: char| c.is_ascii_uppercase()) {
        return Err("certificate: names of certificates are compared in small letters".to_owned());
    }
    if let Some(filter) = &entry.filter {
        cli::filter(filter).map_err(|e| format!("filter: {e}"))?;
    }
    if !entry.snaplen.is_none_or(|s| (1..=SNAPLEN_MAX).contains(&s)) {
        return Err(format!("snaplen: expected a number from 1 to {SNAPLEN_MAX}"));
    }
    let devices = entry.devices.as_deref().map(str::parse).transpose();
    let devices = devices.map_err(|e| format!("devices: {e}"))?;
    let rights = Rights { devices, filter: entry.filter.clone(), snaplen: entry.snaplen };
    let Entry { password, certificate, pam, .. } = entry.clone();
    Ok(User { password, certificate, pam, rights })
}

fn check_hash(password: &str) -> Result<(), String> {
    let hash = PasswordHash::new(password);
    let hash = hash.map_err(|e| format!("{e}: set it with rpcapd user add"))?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("{} is not argon2id", hash.algorithm));
    }
    let number = |name| hash.params.get_decimal(name).unwrap_or(u32::MAX);
    if number("m") > MEMORY_MAX {
        return Err(format!("comparing it takes more than {MEMORY_MAX} kB"));
    }
    if number("t") > PASSES_MAX {
        return Err(format!("comparing it takes more than {PASSES_MAX} passes"));
    }
    Ok(())
}

/// Reads what a file says, unchecked.
pub(super) fn read(path: &Path, trusts: impl Fn(Owner) -> bool) -> Result<Entries, ReadError> {
    let wrong = |reason: String| ReadError::Wrong { path: path.to_owned(), reason };
    let system = |source| ReadError::System { path: path.to_owned(), source };
    let bytes =
        files::read(path, SIZE_MAX, |file| private(file, trusts)).map_err(
            |reason| match reason {
                Unread::System(e) => system(e),
                Unread::NoFile => wrong("not a file".to_owned()),
                Unread::TooLong => wrong(format!("longer than {SIZE_MAX} bytes")),
                Unread::Refused(reason) => wrong(reason),
            },
        )?;
    let text = String::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Entries, ReadError> {
    toml::from_str(text).map_err(|e: toml::de::Error| {
        let at = e.span().map_or(0, |span| span.start);
        let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        // A key that is not known is quoted in it, whatever is in it.
        let message = e.message().replace('\n', ", ");
        let reason = format!("line {line}: {}", escaped(&message, false));
        ReadError::Wrong { path: path.to_owned(), reason }
    })
}

/// Whether only its owner, who is we, root or trusted, can get at a file. Where root gives files to a
/// daemon that is not root, as Kubernetes does with secrets, it is by its group that it reads them.
#[cfg(unix)]
fn private(file: &File, trusts: impl Fn(Owner) -> bool) -> Result<(), Unread> {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata()?;
    let owner = metadata.uid();
    let group = metadata.gid();
    let is_ours = || group == rustix::process::getegid().as_raw() || trusts(Owner::Group(group));
    let ours = owner == 0 && is_ours();
    let others = if ours { 0o037 } else { 0o077 };
    if metadata.mode() & others != 0 {
        let reason = "others than its owner can get at it: chmod 600";
        return Err(Unread::Refused(reason.to_owned()));
    }
    if owner != 0 && owner != rustix::process::geteuid().as_raw() && !trusts(Owner::User(owner)) {
        let reason = format!("it belongs to user {owner}, neither to root nor to this user");
        return Err(Unread::Refused(reason));
    }
    Ok(())
}

#[cfg(not(unix))]
fn private(_file: &File, _trusts: impl Fn(Owner) -> bool) -> Result<(), Unread> {
    Ok(())
}

/// Replaces a file as a whole; only its owner can get at it.
pub(super) fn write(path: &Path, entries: &Entries) -> io::Result<()> {
    let text = toml::to_string(entries).map_err(io::Error::other)?;
    // The directory of all that is the daemon's is not there from the beginning.
    #[cfg(windows)]
    if let Some(directory) = path.parent() {
        files::make_directory(directory)?;
    }
    files::replace(path, &text, keep_owner)
}

/// Root may manage the file of another user, and its own that a group reads.
#[cfg(unix)]
fn keep_owner(old: &Metadata, new: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let now = new.metadata()?;
    match (old.uid(), old.gid()) == (now.uid(), now.gid()) {
        true => Ok(()),
        false => fchown(new, Some(old.uid()), Some(old.gid())),
    }
}

#[cfg(not(unix))]
fn keep_owner(_old: &Metadata, _new: &File) -> io::Result<()> {
    Ok(())
}
