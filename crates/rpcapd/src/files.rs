//! The operator's files: read within bounds, replaced as a whole.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A path as it can be logged.
pub(crate) fn shown(path: &Path) -> String {
    let text = path.display().to_string().escape_debug().to_string();
    // Windows has backslashes where others have none.
    if cfg!(windows) { text.replace(r"\\", r"\") } else { text }
}

/// Why a file was not read. Those who ask say it in their own words.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The system does not let us.
    System(io::Error),
    /// It is a directory, a pipe or a device.
    NoFile,
    /// It has more bytes than were asked for at most.
    TooLong,
    /// The check says so.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix says with a file who may read it"))]
    Refused(String),
}

impl From<io::Error> for Unread {
    fn from(e: io::Error) -> Self {
        Self::System(e)
    }
}

/// The bytes of a file, `longest` at most, if `check` lets it pass.
pub(crate) fn read(
    path: &Path,
    longest: u64,
    check: impl FnOnce(&File) -> Result<(), Unread>,
) -> Result<Vec<u8>, Unread> {
    // Asked first, as opening a pipe would wait for whoever writes into it.
    if !fs::metadata(path).map_err(explained)?.is_file() {
        return Err(Unread::NoFile);
    }
    let file = File::open(path).map_err(explained)?;
    check(&file)?;
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > longest {
        true => Err(Unread::TooLong),
        false => Ok(bytes),
    }
}

/// Says who may not read a file: the daemon runs as another user than the one that started it.
fn explained(e: io::Error) -> io::Error {
    #[cfg(unix)]
    if e.kind() == io::ErrorKind::PermissionDenied {
        let user = rustix::process::geteuid().as_raw();
        let text = format!("{e}: user {user} must be able to read it (chown or chgrp)");
        return io::Error::new(e.kind(), text);
    }
    e
}

/// Writes beside a file, then takes its place. A new file is its owner's alone, another one stays as
/// it was; `finish` gets what that was, and the one that is to follow it.
pub(crate) fn replace(
    path: &Path,
    text: &str,
    finish: impl FnOnce(&Metadata, &File) -> io::Result<()>,
) -> io::Result<()> {
    // What a link leads to, and neither a device nor a pipe.
    let path = match fs::canonicalize(path) {
        Ok(path) if path.is_file() => path,
        Ok(_) => return Err(io::Error::other("there is something that is no file")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(e) => return Err(e),
    };
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    let beside = PathBuf::from(beside);
    let written = hide(&beside).and_then(|()| file.write_all(text.as_bytes())).and_then(|()| {
        if let Ok(old) = fs::metadata(&path) {
            file.set_permissions(old.permissions())?;
            finish(&old, &file)?;
        }
        file.sync_all()
    });
    drop(file);
    written.and_then(|()| fs::rename(&beside, &path)).inspect_err(|_| {
        // It is of no use to anybody; that it stays does no harm.
        let _ = fs::remove_file(&beside);
    })
}

/// Where a file of the configuration is, if nobody says anything: at this place, and on Windows with
/// this name (or none, for the directory) where programs have what is for all users.
pub(crate) fn configuration(unix: &str, name: &str) -> PathBuf {
    if cfg!(unix) {
        return unix.into();
    }
    let data = std::env::var_os("ProgramData").unwrap_or_else(|| r"C:\ProgramData".into());
    let directory = PathBuf::from(data).join("rpcapd");
    if name.is_empty() { directory } else { directory.join(name) }
}

/// Keeps a file that was just made from others than its owner, and on Windows from others than
/// administrators and the service.
pub(crate) fn hide(path: &Path) -> io::Result<()> {
    #[cfg(windows)]
    {
        use win::rights::{protect, service_sid};
        protect(path, &service_sid(crate::service::NAME))
    }
    // Here it was made so.
    #[cfg(not(windows))]
    {
        let _ = path;
        Ok(())
    }
}

/// Makes a directory that is not there yet, on Windows for administrators and the service alone: what
/// is for all users is everybody's to write to otherwise.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    hide(path)
}

/// Where a file of the running daemon is, if nobody says anything: for root at `system`, for others
/// by this name where their session has such things, or nowhere.
#[cfg(unix)]
pub(crate) fn runtime_path(system: &str, name: &str) -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(system.into());
    }
    std::env::var_os("XDG_RUNTIME_DIR").map(|directory| PathBuf::from(directory).join(name))
}
