use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where packets go: one `[output.NAME]` of the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutputPlan {
    /// What it is called.
    pub name: String,
    /// The place.
    pub destination: Destination,
    /// One file for all agents instead of one for each interface of each.
    pub merged: bool,
    /// When a file is full, in bytes.
    pub file_size: Option<u64>,
    /// When a file has been written for long enough.
    pub file_time: Option<Duration>,
    /// What all files together may occupy: the oldest ones are removed.
    pub total_size: Option<u64>,
    /// Whether finished files are compressed.
    pub compress: bool,
    /// Bytes of packets that may wait for the disk.
    pub queue: u64,
}

/// The place that packets go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Files in this directory.
    Directory(PathBuf),
    /// Standard output, as one pcapng stream.
    StandardOutput,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::StandardOutput => f.write_str("standard output"),
        }
    }
}
