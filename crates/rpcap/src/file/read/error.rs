use std::io;
use std::path::PathBuf;

/// Why a savefile cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system does not let it be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file
        path: PathBuf,
        /// What the system says
        source: io::Error,
    },
    /// What is in it is not what a savefile has there.
    #[error("{}: at byte {at}{}: {what}", path.display(), if *unpacked { " of what was compressed" } else { "" })]
    Broken {
        /// The file
        path: PathBuf,
        /// Where
        at: u64,
        /// Whether that counts what is decompressed, from where reading began
        unpacked: bool,
        /// What is wrong
        what: String,
    },
}
