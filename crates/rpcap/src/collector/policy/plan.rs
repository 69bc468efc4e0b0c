use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rpcap_proto::prefix::Prefix;
use rpcap_proto::wire::{SNAPLEN_MAX, Sampling, StartFlags};
use wildmatch::WildMatch;

use crate::client::Transport;

/// An interface that is to be captured from.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// The one that the agent was told to offer.
    Preselected,
    /// Any that is up and leads out of the host.
    Up,
    /// One of this name; `*` and `?` stand for others.
    Name(WildMatch),
    /// One with such an address.
    Address(Prefix),
}

impl std::str::FromStr for Wanted {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "preselected" => Self::Preselected,
            "up" => Self::Up,
            _ => match text.parse() {
                Ok(prefix) => Self::Address(prefix),
                Err(_) => Self::Name(WildMatch::new(text)),
            },
        })
    }
}

/// What is captured from an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// From which interfaces, in order.
    pub interfaces: Vec<Wanted>,
    /// Which packets, in pcap-filter(7)'s language; empty for all.
    pub filter: String,
    /// Most bytes of a packet.
    pub snaplen: u32,
    /// What is left out.
    pub sampling: Sampling,
    /// How packets travel.
    pub transport: Transport,
    /// Whether to take packets that are not for the agent's host.
    pub promiscuous: bool,
    /// Which way: [`StartFlags::INBOUND`], [`StartFlags::OUTBOUND`] or nothing.
    pub direction: StartFlags,
    /// Where packets go.
    pub output: Arc<OutputPlan>,
}

impl Plan {
    /// Whether only the filter differs, which a running capture can change.
    pub fn differs_in_filter_only(&self, other: &Self) -> bool {
        self.filter != other.filter
            && Self { filter: other.filter.clone(), ..self.clone() } == *other
    }
}

impl Plan {
    /// Everything from the interface that the agent offers, or from the first that is up.
    pub fn everything(output: Arc<OutputPlan>) -> Self {
        Self {
            interfaces: vec![Wanted::Preselected, Wanted::Up],
            filter: String::new(),
            snaplen: SNAPLEN_MAX,
            sampling: Sampling::None,
            transport: Transport::Udp,
            promiscuous: true,
            direction: StartFlags::default(),
            output,
        }
    }
}

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
