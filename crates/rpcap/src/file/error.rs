use std::io;
use std::path::PathBuf;

/// Why a savefile could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be created.
    #[error("cannot create {}", path.display())]
    Create {
        /// Path as given
        path: PathBuf,
        /// What the system says
        source: io::Error,
    },
    /// Neither format has room for the link type: it is above 65535.
    #[error("link type {0} cannot be stored in a savefile")]
    LinkType(u32),
    /// A pcap file has packets of one link type.
    #[error("this format has room for one link type, and has another already; use pcapng")]
    OneLinkType,
    /// What comes before the packets could not be written.
    #[error("cannot write the file header")]
    Write(#[from] io::Error),
}
