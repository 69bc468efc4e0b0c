//! What is going on, for people and for programs.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::shared::Shared;
use super::stream::{Fate, Phase, Stream, Totals};
use super::udp::Sums;

/// Everything, at one moment; of an agent's interface what is called `A`.
#[derive(Clone, Debug, Serialize)]
pub struct Status<A = AgentStatus> {
    /// When, in seconds since 1970.
    pub time: f64,
    /// Connections of agents, and what became of them.
    pub connections: Connections,
    /// Datagrams, whoever sent them.
    pub datagrams: Sums,
    /// Where packets go.
    pub outputs: Vec<OutputStatus>,
    /// Interfaces of agents.
    pub agents: Vec<A>,
    /// Agents that nothing is captured from.
    pub waiting: Vec<Waiting>,
    /// Interfaces that are no longer in the list, because too many agents came and went.
    pub forgotten: u64,
}

/// Connections of agents.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Connections {
    /// Accepted.
    pub accepted: u64,
    /// Of those, turned away by the policy.
    pub rejected: u64,
    /// Of those, turned away for want of room.
    pub surplus: u64,
    /// Of those, the ones that were no agents, or did not let the collector in.
    pub failed: u64,
}

/// An output.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OutputStatus {
    /// Its name in the policy.
    pub name: String,
    /// The place.
    pub destination: String,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
}

/// An interface of an agent, and its ledger.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentStatus {
    /// The agent's host by name, or else its address.
    pub agent: String,
    /// Its address.
    pub address: IpAddr,
    /// Where its control connection comes from.
    pub peer: SocketAddr,
    /// The interface.
    pub interface: String,
    /// Which of several hosts behind the address, from 0.
    pub ordinal: u32,
    /// How it is.
    pub state: Phase,
    /// Since when, in seconds since 1970.
    pub since: f64,
    /// Why nothing is captured, if nothing is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its clock minus this host's while something is captured, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ns: Option<i64>,
    /// How many nanoseconds that may be wrong, either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_error_ns: Option<u64>,
    /// The sums of all captures.
    #[serde(flatten)]
    pub totals: Totals,
    /// Packets in outputs, the sum over all of them.
    pub written: u64,
    /// Packets that outputs did not take.
    pub not_written: u64,
    /// Packets that found the queue to an output full.
    pub overflowed: u64,
    /// The same for each output.
    pub outputs: Vec<Fate>,
}

/// An agent that nothing is captured from.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// Where its control connection comes from.
    pub peer: SocketAddr,
    /// Why.
    pub reason: String,
}

impl Status {
    /// How things are now.
    pub fn of(shared: &Shared) -> Self {
        Self::with(shared, AgentStatus::of)
    }
}

impl<A> Status<A> {
    /// How things are now, and of each agent's interface what `agent` says.
    pub fn with(shared: &Shared, agent: impl Fn(&Stream) -> A) -> Self {
        let t = &shared.totals;
        let outputs = shared.outputs.running();
        let waiting = shared.registry.waiting().into_iter();
        Self {
            time: seconds(SystemTime::now()),
            connections: Connections {
                accepted: t.connections.load(Relaxed),
                rejected: t.rejected.load(Relaxed),
                surplus: t.surplus.load(Relaxed),
                failed: t.failed.load(Relaxed),
            },
            datagrams: shared.ports.sums(),
            outputs: outputs
                .iter()
                .map(|o| OutputStatus {
                    name: o.plan.name.clone(),
                    destination: o.plan.destination.to_string(),
                    queued_bytes: o.queue.bytes(),
                })
                .collect(),
            agents: shared.registry.streams().iter().map(|s| agent(s)).collect(),
            waiting: waiting.map(|(peer, reason)| Waiting { peer, reason }).collect(),
            forgotten: shared.registry.forgotten(),
        }
    }
}

impl AgentStatus {
    /// How an agent's interface is now.
    pub fn of(stream: &Stream) -> Self {
        let totals = stream.totals();
        let outputs = stream.fates();
        let sum = |of: fn(&Fate) -> u64| outputs.iter().map(of).sum();
        let live = stream.live();
        let clock = live.clock.filter(|_| live.phase == Phase::Capturing);
        Self {
            agent: stream.host.clone(),
            address: stream.key.agent,
            peer: live.peer,
            interface: stream.key.interface.clone(),
            ordinal: stream.key.ordinal,
            state: live.phase,
            since: seconds(live.since),
            reason: live.reason.clone(),
            clock_offset_ns: clock.map(|c| c.nanos),
            clock_error_ns: clock.map(|c| c.error),
            totals,
            written: sum(|f| f.written),
            not_written: sum(|f| f.not_written),
            overflowed: sum(|f| f.overflowed),
            outputs,
        }
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
