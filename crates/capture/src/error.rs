//! What went wrong: which call, on what, and what to do about it.

use std::{io, path::PathBuf};

#[cfg(target_os = "linux")]
const PERMISSION: &str = "capturing needs CAP_NET_RAW: run as root, or give the program the capability (setcap \
                          cap_net_raw+ep)";
#[cfg(windows)]
const PERMISSION: &str =
    "run as administrator, or install Npcap without restricting it to administrators";
#[cfg(not(any(target_os = "linux", windows)))]
const PERMISSION: &str = "run as root, or allow reading of /dev/bpf*";

/// Why a capture could not start or go on. The text is one line, made for whoever operates the host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This system has no such thing (yet).
    #[error("{what} is not supported on this system")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// There is no interface of that name.
    #[error("{device}: no such device")]
    NoSuchDevice {
        /// The name asked for.
        device: String,
    },
    /// libpcap is not on this host, or is unusable.
    #[error("capturing needs libpcap, which is missing ({reason}): {}", crate::libpcap::REMEDY)]
    LibraryMissing {
        /// What the system's loader said.
        reason: String,
    },
    /// The process lacks the right to capture: on Linux `CAP_NET_RAW`.
    #[error("{call} on {device}: {source}: {PERMISSION}")]
    PermissionDenied {
        /// The call that was refused.
        call: &'static str,
        /// The interface.
        device: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The interface is not up, or went down during the capture.
    #[error("{device}: the interface is down")]
    InterfaceDown {
        /// The interface.
        device: String,
    },
    /// The interface was removed during the capture.
    #[error("{device}: the interface is gone")]
    InterfaceGone {
        /// The interface.
        device: String,
    },
    /// A filter is no valid program.
    #[error("filter instruction {index}: {reason}")]
    BadFilter {
        /// Which instruction, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A savefile cannot be read, or is none.
    #[error("{}: {reason}", path.display())]
    Savefile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A system call failed.
    #[error("{call} on {target}: {source}{hint}")]
    Call {
        /// The call, or the socket option.
        call: &'static str,
        /// What it was called on.
        target: String,
        /// The system's reason.
        source: io::Error,
        /// What to do about it, with the `: ` that goes before it; or empty.
        hint: &'static str,
    },
}

impl Error {
    /// A failed call without advice.
    pub(crate) fn call(call: &'static str, target: &str, source: impl Into<io::Error>) -> Self {
        Self::Call { call, target: target.to_owned(), source: source.into(), hint: "" }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_names_call_target_reason_and_remedy() {
        let error = Error::Call {
            call: "PACKET_RX_RING",
            target: "eth0".into(),
            source: io::Error::from_raw_os_error(12),
            hint: ": ask for a smaller ring",
        };
        assert_eq!(
            error.to_string(),
            "PACKET_RX_RING on eth0: Cannot allocate memory (os error 12): ask for a smaller ring"
        );
    }
}
