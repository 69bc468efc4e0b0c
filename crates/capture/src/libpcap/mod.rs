//! libpcap (on Windows: Npcap), loaded when it is first needed: it compiles filter texts, and captures where nothing
//! else does ([`Backend::Libpcap`](crate::Backend)).

mod compile;
mod control;
pub(crate) mod devices;
mod handle;
mod library;
mod link;
mod place;
mod source;

use std::ffi::CString;

pub(crate) use self::source::{Source, linktype};
use crate::{Error, Instruction, LinkType};

/// Why a filter text could not be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The library is not on this host, or is unusable.
    #[error("compiling a filter needs libpcap, which is missing ({reason}): {REMEDY}")]
    LibraryMissing {
        /// What the system's loader said.
        reason: String,
    },
    /// The text is no filter for this link type.
    #[error("filter \"{filter}\": {message}")]
    Syntax {
        /// The text.
        filter: String,
        /// libpcap's words.
        message: String,
    },
    /// The text contains a zero byte.
    #[error("a filter contains a zero byte")]
    InteriorNul,
    /// libpcap refused to start.
    #[error("libpcap: pcap_open_dead failed for link type {linktype}, snaplen {snaplen}")]
    Refused {
        /// The link type.
        linktype: LinkType,
        /// The snaplen.
        snaplen: u32,
    },
}

#[cfg(target_os = "windows")]
pub(crate) const REMEDY: &str = "install Npcap (https://npcap.com)";
#[cfg(target_os = "macos")]
pub(crate) const REMEDY: &str = "it should be part of macOS";
#[cfg(not(any(target_os = "windows", target_os = "macos")))]
pub(crate) const REMEDY: &str =
    "install libpcap0.8 (Debian, Ubuntu) or libpcap (Fedora, Alpine, Arch)";

/// Loads the library, for a process that may not be able to later.
///
/// # Errors
///
/// [`Error::LibraryMissing`].
pub fn load() -> Result<(), Error> {
    match library::functions() {
        Ok(_) => Ok(()),
        Err(reason) => Err(Error::LibraryMissing { reason }),
    }
}

/// Compiles `text`, in the language of pcap-filter(7), to a program for packets of `linktype` that keeps `snaplen` bytes
/// of what it accepts. The empty text accepts everything.
///
/// Names of hosts in the text are looked up, which may take its time.
///
/// # Errors
///
/// The library is missing, or the text is wrong.
pub fn compile(
    text: &str,
    linktype: LinkType,
    snaplen: u32,
    optimize: bool,
) -> Result<Vec<Instruction>, CompileError> {
    let filter = CString::new(text).map_err(|_| CompileError::InteriorNul)?;
    compile::compile(&filter, linktype, snaplen, optimize).map_err(|error| match error {
        compile::Error::Missing(reason) => CompileError::LibraryMissing { reason },
        compile::Error::Refused => CompileError::Refused { linktype, snaplen },
        compile::Error::Syntax(message) => {
            CompileError::Syntax { filter: text.to_owned(), message }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::filter::{Aux, check, run};

    /// An Ethernet frame of a TCP packet from port 1 to port 80.
    fn http() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([
            0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([0, 1, 0, 80]);
        frame.resize(60, 0);
        frame
    }

    #[test]
    fn texts_become_programs() {
        let program = match compile("tcp port 80", LinkType::ETHERNET, 100, true) {
            Ok(program) => program,
            Err(CompileError::LibraryMissing { reason }) => {
                // Past the test harness, which keeps what a passing test prints.
                let _ = writeln!(std::io::stderr(), "SKIPPED: texts_become_programs: {reason}");
                return;
            }
            Err(other) => panic!("{other}"),
        };
        check(&program).unwrap();
        let frame = http();
        assert_eq!(run(&program, &frame, 60, &Aux::default()), 100);
        assert_eq!(run(&program, &frame[..30], 60, &Aux::default()), 0);

        let empty = compile("", LinkType::ETHERNET, 100, true).unwrap();
        assert_eq!(run(&empty, &frame, 60, &Aux::default()), 100);

        match compile("tcp prot 80", LinkType::ETHERNET, 100, true) {
            Err(CompileError::Syntax { filter, message }) => {
                assert_eq!(filter, "tcp prot 80");
                assert!(!message.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn zero_bytes_are_refused() {
        let result = compile("tcp\0 or udp", LinkType::ETHERNET, 100, true);
        assert!(matches!(result, Err(CompileError::InteriorNul)));
    }
}
