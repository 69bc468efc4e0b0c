//! What the daemon may do once it is open: no files but its own (landlock), no system calls but
//! those that it needs (seccomp). Both hold for every thread that begins later.

#[cfg(target_os = "linux")]
mod landlock;
mod paths;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod seccomp;

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use paths::Paths;

/// What becomes of what the daemon has no need of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// There is no sandbox
    Off,
    /// System calls are made, and the kernel logs them
    Log,
    /// They are refused, as far as this kernel can
    #[default]
    Enforce,
    /// A system call ends the process: for tests
    #[value(hide = true)]
    Kill,
}

/// How far a part of the sandbox is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Wholly.
    Full,
    /// As far as this kernel knows how.
    Partial,
    /// Nothing is refused, but logged.
    Log,
    /// It was not asked for.
    #[default]
    Off,
    /// This kernel, or system, has no such thing.
    Unavailable,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "enforced",
            Self::Partial => "enforced as far as this kernel can",
            Self::Log => "logged only",
            Self::Off => "off",
            Self::Unavailable => "not available on this system",
        })
    }
}

/// The sandbox that is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Files and other processes.
    pub landlock: Part,
    /// System calls.
    pub seccomp: Part,
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "files (landlock) {}, system calls (seccomp) {}", self.landlock, self.seccomp)
    }
}

/// Other processors have calls of their own, for which there are no lists.
#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod seccomp {
    pub(super) fn restrict(_mode: super::Mode, _libpcap: bool) -> anyhow::Result<super::Part> {
        Ok(super::Part::Unavailable)
    }

    pub(super) fn forwarding_only() {}
}

/// Puts the process into the sandbox, for good. To be called before there are other threads. What
/// the kernel does not know is left out; the result says so.
#[cfg(target_os = "linux")]
pub fn enter(mode: Mode, paths: &Paths) -> anyhow::Result<Sandbox> {
    use anyhow::Context;

    const OFF: &str = "(--sandbox=off does without)";
    rustix::thread::set_no_new_privs(true).context("no_new_privs")?;
    if mode == Mode::Off {
        return Ok(Sandbox::default());
    }
    let landlock = match mode {
        Mode::Log => Part::Off,
        _ => landlock::restrict(paths).with_context(|| format!("landlock {OFF}"))?,
    };
    let seccomp =
        seccomp::restrict(mode, paths.libpcap).with_context(|| format!("seccomp {OFF}"))?;
    Ok(Sandbox { landlock, seccomp })
}

/// There is none on this system.
#[cfg(not(target_os = "linux"))]
pub fn enter(mode: Mode, _paths: &Paths) -> anyhow::Result<Sandbox> {
    let part = if mode == Mode::Off { Part::Off } else { Part::Unavailable };
    Ok(Sandbox { landlock: part, seccomp: part })
}

/// Lets nobody but root look at the process's memory, and writes it nowhere if it crashes: passwords
/// and keys are in it.
pub fn keep_secrets() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{
            DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit,
        };
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// Leaves the calling thread nothing but what forwarding packets takes. Does nothing where there is
/// no sandbox.
pub fn forwarding_only() {
    #[cfg(target_os = "linux")]
    seccomp::forwarding_only();
}
