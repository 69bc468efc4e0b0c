//! The file of users: toml, a table for each.
//!
//! ```toml
//! [alice]
//! password = "$argon2id$v=19$m=19456,t=2,p=1$..."
//! devices = "eth*,!eth3"
//! filter = "not port 22"
//! snaplen = 128
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use argon2::password_hash::phc::PasswordHash;
use serde::{Deserialize, Serialize};

use super::{NAME_MAX, Rights, User, Users};

/// Most bytes of a file.
const SIZE_MAX: u64 = 16 * 1024 * 1024;

/// Most kilobytes of memory that comparing one password may take.
const MEMORY_MAX: u32 = 256 * 1024;

/// Why the users could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system does not let us.
    #[error("{}: {source}", path.display().to_string().escape_debug())]
    System {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// The contents are wrong, or others can get at them.
    #[error("{}: {reason}", path.display().to_string().escape_debug())]
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
    pub(super) password: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) devices: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) snaplen: Option<u32>,
}

/// The contents of a file.
pub(super) type Entries = BTreeMap<String, Entry>;

impl Users {
    /// Reads a file that only its owner can read or write.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let entries = read(path)?;
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
    let hash = PasswordHash::new(&entry.password)
        .map_err(|e| format!("password: {e}: set it with rpcapd user add"))?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("password: {} is not argon2id", hash.algorithm));
    }
    let memory = hash.params.get_decimal("m").unwrap_or(u32::MAX);
    if memory > MEMORY_MAX {
        return Err(format!("password: comparing it takes more than {MEMORY_MAX} kB"));
    }
    if let Some(filter) = &entry.filter {
        // For some link type: whether it fits a device's is seen when that is opened.
        capture::libpcap::compile(filter, capture::LinkType::ETHERNET, 0xffff, true)
            .map_err(|e| format!("filter: {e}"))?;
    }
    if !entry.snaplen.is_none_or(|s| (1..=262_144).contains(&s)) {
        return Err("snaplen: expected a number from 1 to 262144".to_owned());
    }
    let devices = entry.devices.as_deref().map(str::parse).transpose();
    let devices = devices.map_err(|e| format!("devices: {e}"))?;
    let rights = Rights { devices, filter: entry.filter.clone(), snaplen: entry.snaplen };
    Ok(User { password: entry.password.clone(), rights })
}

/// Reads what a file says, unchecked.
pub(super) fn read(path: &Path) -> Result<Entries, ReadError> {
    let wrong = |reason: String| ReadError::Wrong { path: path.to_owned(), reason };
    let system = |source| ReadError::System { path: path.to_owned(), source };
    // Before it is opened: a pipe would wait for its other end.
    if !fs::metadata(path).map_err(system)?.is_file() {
        return Err(wrong("not a file".to_owned()));
    }
    let file = File::open(path).map_err(system)?;
    private(&file).map_err(system)?.map_err(wrong)?;
    let mut text = String::new();
    file.take(SIZE_MAX + 1).read_to_string(&mut text).map_err(system)?;
    if text.len() as u64 > SIZE_MAX {
        return Err(wrong(format!("longer than {SIZE_MAX} bytes")));
    }
    toml::from_str(&text).map_err(|e: toml::de::Error| {
        let at = e.span().map_or(0, |span| span.start);
        let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
        wrong(format!("line {line}: {}", e.message().replace('\n', ", ")))
    })
}

/// Whether only its owner, who is we or root, can get at a file.
#[cfg(unix)]
fn private(file: &File) -> io::Result<Result<(), String>> {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata()?;
    let owner = metadata.uid();
    if metadata.mode() & 0o077 != 0 {
        return Ok(Err("others than its owner can get at it: chmod 600".to_owned()));
    }
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Ok(Err(format!("it belongs to user {owner}, neither to root nor to this user")));
    }
    Ok(Ok(()))
}

#[cfg(not(unix))]
fn private(_file: &File) -> io::Result<Result<(), String>> {
    Ok(Ok(()))
}

/// Replaces a file as a whole; only its owner can get at it.
pub(super) fn write(path: &Path, entries: &Entries) -> io::Result<()> {
    let text = toml::to_string(entries).map_err(io::Error::other)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let done = written.and_then(|()| keep_owner(path, &file)).and_then(|()| fs::rename(&new, path));
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    done
}

/// Root may manage the file of another user.
#[cfg(unix)]
fn keep_owner(old: &Path, new: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    match fs::metadata(old) {
        Ok(old) if old.uid() != new.metadata()?.uid() => {
            fchown(new, Some(old.uid()), Some(old.gid()))
        }
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn keep_owner(_old: &Path, _new: &File) -> io::Result<()> {
    Ok(())
}
