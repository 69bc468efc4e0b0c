//! Where a user's files are: the XDG base directories, on Windows the application data.

use std::env;
use std::path::PathBuf;

/// Directory below those of the user.
const NAME: &str = "rpcap";

/// The file of known hosts.
pub fn hosts() -> Option<PathBuf> {
    Some(directory("XDG_CONFIG_HOME", ".config", "APPDATA")?.join("hosts.toml"))
}

/// The file of devices that known hosts had.
pub fn devices() -> Option<PathBuf> {
    Some(directory("XDG_CACHE_HOME", ".cache", "LOCALAPPDATA")?.join("devices.json"))
}

fn directory(variable: &str, otherwise: &str, windows: &str) -> Option<PathBuf> {
    let variable = if cfg!(windows) { windows } else { variable };
    // The XDG specification has relative paths ignored.
    let named = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match named {
        Some(path) => path,
        None => home()?.join(otherwise),
    };
    Some(base.join(NAME))
}

/// The user's home directory.
pub fn home() -> Option<PathBuf> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
