use std::path::PathBuf;
use std::time::Duration;

use super::Destination;
use crate::file::Format;
use crate::repair::Repair;

/// Bytes that may wait for an output unless it is said.
pub const QUEUE: u64 = 64_000_000;

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
    /// How a savefile that others read along is laid out, unless it is pcapng.
    pub format: Option<Format>,
    /// What is repaired in packets before they go there.
    pub repair: Repair,
    /// The certificate and the key (PEM) that readers are shown.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl OutputPlan {
    /// Everything into this place; repaired only if it is an interface, from which nobody takes
    /// packets otherwise.
    pub fn live(name: String, destination: Destination) -> Self {
        Self {
            repair: Self::usual_repair(&destination),
            name,
            merged: true,
            destination,
            file_size: None,
            file_time: None,
            total_size: None,
            compress: false,
            queue: QUEUE,
            format: None,
            tls: None,
        }
    }

    /// What is repaired unless it is said.
    pub fn usual_repair(destination: &Destination) -> Repair {
        match destination {
            Destination::Interface(_) => Repair::ALL,
            _ => Repair::default(),
        }
    }
}
