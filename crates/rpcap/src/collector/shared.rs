//! What all sessions share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::filters::Filters;
use super::link::Cipher;
use super::outputs::Outputs;
use super::policy::{Names, Policy};
use super::registry::Registry;
use super::udp::Ports;
use crate::journal::Journal;

use crate::locked::lock;
use crate::tls::TlsFailure;

/// Addresses that were turned away and are remembered.
const REMEMBERED: usize = 4096;
/// How long they are.
const MEMORY: Duration = Duration::from_secs(60);

/// What decides: the policy, and what the names in it mean.
#[derive(Debug)]
pub struct Rules {
    /// The policy as last loaded.
    pub policy: Policy,
    /// The addresses of its hosts.
    pub names: Names,
}

impl Rules {
    /// How the connections of an agent at this address are encrypted, if they are. Before they are,
    /// nothing else is known of it, so the first rule about the address decides.
    pub fn cipher(&self, address: IpAddr) -> Result<Option<Cipher>, TlsFailure> {
        let rule = self.policy.rule_for(address, &self.names);
        let Some(tls) = self.policy.tls().filter(|_| rule.is_some_and(|r| r.tls)) else {
            return Ok(None);
        };
        let host = self.policy.host_of(address, &self.names);
        let host = host.map_or_else(|| address.to_canonical().to_string(), str::to_owned);
        let name = tls.name(&host, address)?;
        Ok(Some(Cipher { tls: tls.clone(), name }))
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Yes.
    Run,
    /// Captures are ended, what is on its way is taken, then the sessions end.
    End,
}

/// Counts of what concerns no stream.
#[derive(Debug, Default)]
pub struct Totals {
    /// Connections that were accepted.
    pub connections: AtomicU64,
    /// Of those, the ones that were turned away by the policy.
    pub rejected: AtomicU64,
    /// Of those, the ones for which there was no room.
    pub surplus: AtomicU64,
    /// Of those, the ones that were no agents: nonsense, silence, a password that was refused.
    pub failed: AtomicU64,
}

/// What all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// Who is captured by whom.
    pub registry: Arc<Registry>,
    /// The common UDP port.
    pub ports: Arc<Ports>,
    /// Where packets go.
    pub outputs: Outputs,
    /// Compiled filters.
    pub filters: Filters,
    /// Where events are told.
    pub journal: Arc<Journal>,
    /// What decides.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Whether to go on.
    pub course: watch::Receiver<Course>,
    /// How long an agent may take for a reply.
    pub deadline: Duration,
    /// What concerns no stream.
    pub totals: Totals,
    /// Addresses that were told about lately.
    pub told: Remembered,
}

impl Shared {
    /// What concerns no stream, as one line.
    pub fn totals_line(&self) -> String {
        let t = &self.totals;
        let datagrams = self.ports.sums();
        format!(
            "connections={} rejected={} surplus={} failed={} datagrams={} calls={} unknown={} \
             late={} truncated={} kernel-dropped={}",
            t.connections.load(Relaxed),
            t.rejected.load(Relaxed),
            t.surplus.load(Relaxed),
            t.failed.load(Relaxed),
            datagrams.datagrams,
            datagrams.calls,
            datagrams.unknown,
            datagrams.late,
            datagrams.truncated,
            datagrams.dropped,
        )
    }
}

/// Addresses of which something was said lately, so that it is not said again and again.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<HashMap<IpAddr, Instant>>);

impl Remembered {
    /// Whether this is the first time for a while.
    pub fn is_news(&self, address: IpAddr, now: Instant) -> bool {
        let mut known = lock(&self.0);
        if known.len() >= REMEMBERED {
            known.retain(|_, since| now.duration_since(*since) < MEMORY);
        }
        if known.len() >= REMEMBERED {
            // Too many at once to tell them apart.
            return false;
        }
        match known.insert(address, now) {
            Some(since) => now.duration_since(since) >= MEMORY,
            None => true,
        }
    }
}
