//! Files that may be opened (landlock(7)).
//!
//! There are no rules for ports: a passive daemon connects to any port that its client names, and
//! listens on any that the system chooses or a reload names, so that they would exclude nothing.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use ::landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::{Part, Paths};

/// The newest set of restrictions that is known to leave the daemon what it needs. Later ones also
/// concern paths of sockets, which the log and the name service are reached by.
const KNOWN: ABI = ABI::V6;

/// Interfaces, and what the memory allocator asks.
const SYSTEM: [&str; 3] = ["/sys/class/net", "/sys/devices", "/proc/sys/vm/overcommit_memory"];

/// What looking up a name takes: resolv.conf and others, which are replaced as the network changes,
/// and the libraries that the name service is made of. libpcap is found in the same places.
const NAMES: [&str; 14] = [
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/nix/store",
    "/run/NetworkManager",
    "/run/netconfig",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
];

/// Restricts the calling thread and those that it starts.
pub(super) fn restrict(paths: &Paths) -> Result<Part, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let names: &[&str] = if paths.names { &NAMES } else { &[] };
    let resolvers = if paths.names { resolvers() } else { None };
    let usb = if paths.libpcap { usb_buses() } else { Vec::new() };
    let found: &[&str] = if paths.libpcap { &["/dev"] } else { &[] };
    let libraries = env::var_os("LD_LIBRARY_PATH").filter(|_| paths.names).unwrap_or_default();
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(scope())?
        .create()?;
    // What is not there needs no rule.
    for (paths, access) in [
        (&mut SYSTEM.iter().chain(names).map(Path::new) as &mut dyn Iterator<Item = &Path>, read),
        (&mut env::split_paths(&libraries).collect::<Vec<_>>().iter().map(|p| p.as_path()), read),
        (&mut resolvers.iter().map(|p| p.as_path()), read),
        (&mut paths.read.iter().map(|p| p.as_path()), read),
        (&mut usb.iter().map(|p| p.as_path()), read),
        (&mut found.iter().map(Path::new), AccessFs::ReadDir.into()),
        (&mut paths.remove.iter().map(|p| p.as_path()), AccessFs::RemoveFile.into()),
        // Standard output and standard error of the daemon in the background.
        (&mut ["/dev/null"].iter().map(Path::new), AccessFs::ReadFile | AccessFs::WriteFile),
    ] {
        ruleset = ruleset.add_rules(path_beneath_rules(paths, access))?;
    }
    let status = ruleset.restrict_self()?;
    if let LandlockStatus::Available { effective_abi, .. } = status.landlock {
        tracing::debug!("landlock: {effective_abi:?}");
    }
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Part::Full,
        RulesetStatus::PartiallyEnforced => Part::Partial,
        RulesetStatus::NotEnforced => Part::Unavailable,
    })
}

/// Where the file is that a link in `/etc` leads to, wherever this system has it.
fn resolvers() -> Option<PathBuf> {
    let file = fs::canonicalize("/etc/resolv.conf").ok()?;
    file.parent().filter(|directory| *directory != Path::new("/")).map(Path::to_owned)
}

/// What libpcap captures from USB buses with, and where it finds them.
fn usb_buses() -> Vec<PathBuf> {
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
    let devices = devices.filter(|d| d.file_name().as_bytes().starts_with(b"usbmon"));
    devices.map(|d| d.path()).chain([PathBuf::from("/sys/bus/usb")]).collect()
}

/// No signals to other processes, and none of the sockets that have a name without a file, unless
/// the service manager has such a one.
fn scope() -> BitFlags<Scope> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(socket) if socket.as_bytes().starts_with(b"@") => Scope::Signal.into(),
        _ => Scope::from_all(KNOWN),
    }
}
