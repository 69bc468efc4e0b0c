use std::fmt;
use std::sync::Arc;

use rpcap_proto::prefix::Prefix;
use rpcap_proto::wire::{SNAPLEN_MAX, Sampling, StartFlags};
use wildmatch::WildMatch;

use crate::client::Transport;
use crate::output::OutputPlan;

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

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preselected => f.write_str("preselected"),
            Self::Up => f.write_str("up"),
            Self::Name(name) => name.fmt(f),
            Self::Address(prefix) => prefix.fmt(f),
        }
    }
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
    pub outputs: Vec<Arc<OutputPlan>>,
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
    pub fn everything(outputs: Vec<Arc<OutputPlan>>) -> Self {
        Self {
            interfaces: vec![Wanted::Preselected, Wanted::Up],
            filter: String::new(),
            snaplen: SNAPLEN_MAX,
            sampling: Sampling::None,
            transport: Transport::Udp,
            promiscuous: true,
            direction: StartFlags::default(),
            outputs,
        }
    }
}
