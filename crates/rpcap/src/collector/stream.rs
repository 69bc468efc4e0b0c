//! What an interface of an agent has sent, over all the sessions it took.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tokio::sync::watch;

use super::flow::Flow;
use super::policy::Plan;
use crate::clock::Offset;
use crate::data::Received;
use crate::file::{Summary, nanos};
use crate::ledger::{DaemonCounts, Ledger, Told, Verdict};
use crate::locked::lock;
use crate::output::Account;
use crate::text::harmless;

/// What a stream is known by: an agent that comes back goes on where it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The agent's address.
    pub agent: IpAddr,
    /// The interface.
    pub interface: String,
    /// 0, or more where several hosts come from one address.
    pub ordinal: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.agent, harmless(self.interface.as_bytes()))?;
        match self.ordinal {
            0 => Ok(()),
            n => write!(f, " #{}", n + 1),
        }
    }
}

/// How a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// A capture runs.
    Capturing,
    /// The agent is connected, but nothing can be captured now.
    Waiting,
    /// The agent is connected, and an operator wants nothing captured.
    Stopped,
    /// The agent has gone.
    Gone,
}

/// The sums of a stream's captures, in packets.
///
/// received = dropped + captured, captured = unsent + sent, sent = delivered + lost
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Totals {
    /// Captures.
    pub captures: u64,
    /// Of those, the ones whose agent did not tell its counters at the end: what is said of them
    /// is the least that can be.
    pub uncertain: u64,
    /// Of those, the ones whose agent contradicted itself or the packets.
    pub broken: u64,
    /// Passed the agent's filter.
    pub received: u64,
    /// Dropped by the agent's kernel.
    pub dropped: u64,
    /// Dropped by the interface, before the filter.
    pub if_dropped: u64,
    /// Taken by the agent.
    pub captured: u64,
    /// Taken and not sent: sampled out, withheld, impossible.
    pub unsent: u64,
    /// Sent.
    pub sent: u64,
    /// Arrived here, each once.
    pub delivered: u64,
    /// Sent and not arrived.
    pub lost: u64,
    /// Bytes of the packets that arrived.
    pub bytes: u64,
    /// Datagrams that did not arrive, where they are numbered.
    pub datagrams_lost: u64,
    /// Datagrams that came and made no sense.
    pub malformed: u64,
    /// Datagrams that were not sealed as they had to be, or came again.
    pub refused: u64,
}

impl Totals {
    /// Adds a capture.
    pub fn add(&mut self, ledger: &Ledger) {
        let (daemon, r) = (ledger.daemon(), &ledger.received);
        self.captures += 1;
        match ledger.verdict() {
            Verdict::Holds => {}
            Verdict::HoldsAsFarAsKnown => self.uncertain += 1,
            Verdict::Broken(_) => self.broken += 1,
        }
        self.received += daemon.received;
        self.dropped += daemon.dropped;
        self.if_dropped += daemon.if_dropped;
        self.captured += ledger.captured();
        self.unsent += ledger.unsent();
        self.sent += daemon.sent;
        self.delivered += ledger.delivered();
        self.lost += ledger.lost();
        self.bytes += r.bytes;
        self.datagrams_lost += r.udpstr.lost;
        self.malformed += r.malformed + r.udpstr.malformed;
        self.refused += r.sealed.refused();
    }

    /// Whether every packet is accounted for.
    pub fn balanced(&self) -> bool {
        self.broken == 0
            && self.received == self.dropped + self.captured
            && self.captured == self.unsent + self.sent
            && self.sent == self.delivered + self.lost
    }
}

/// What changes while a stream lives.
#[derive(Debug)]
pub struct Live {
    /// How it is.
    pub phase: Phase,
    /// Since when.
    pub since: SystemTime,
    /// Why nothing is captured, if nothing is.
    pub reason: String,
    /// The agent's end of the control connection.
    pub peer: SocketAddr,
    /// The capture that runs.
    pub flow: Option<Arc<Flow>>,
    /// The counters that its agent told last.
    pub told: Option<DaemonCounts>,
    /// Where its packets are counted, an account for each output.
    pub accounts: Vec<Arc<Account>>,
    /// How far the agent's clock was from this host's when it was asked last.
    pub clock: Option<Offset>,
    /// The captures that are over.
    pub past: Totals,
    /// What the policy wants of it, and by which rule.
    pub wanted: Option<(Arc<Plan>, String)>,
}

/// An interface of an agent.
#[derive(Debug)]
pub struct Stream {
    /// Its number in batches.
    pub id: u32,
    /// What it is known by.
    pub key: Key,
    /// The name of the agent's host, if the policy has one, or else its address.
    pub host: String,
    /// What a file of it is called: harmless in every file system.
    pub label: String,
    /// Since when it is known.
    pub first_seen: SystemTime,
    live: Mutex<Live>,
    /// What became of its packets here, by output.
    accounts: Mutex<BTreeMap<String, Arc<Account>>>,
    /// Whether an operator wants nothing captured, whatever the policy says.
    stopped: watch::Sender<bool>,
}

/// What an output did with a stream's packets.
///
/// given + split = written + not written + overflowed + those still on their way
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fate {
    /// The output's name in the policy.
    pub output: String,
    /// Packets that came while they were for this output.
    pub given: u64,
    /// Segments that packets were split into, beyond the first of each.
    pub split: u64,
    /// Packets in the output.
    pub written: u64,
    /// Packets that the output did not take.
    pub not_written: u64,
    /// Packets that found the queue to the output full.
    pub overflowed: u64,
}

impl Stream {
    /// A new stream of the agent at `peer`.
    pub fn new(id: u32, key: Key, host: String, peer: SocketAddr) -> Self {
        let live = Live {
            phase: Phase::Waiting,
            since: SystemTime::now(),
            reason: String::new(),
            peer,
            flow: None,
            told: None,
            accounts: Vec::new(),
            clock: None,
            past: Totals::default(),
            wanted: None,
        };
        let label = label(&host, &key);
        let (accounts, first_seen) = (Mutex::default(), SystemTime::now());
        let (live, stopped) = (Mutex::new(live), watch::Sender::new(false));
        Self { id, key, host, label, first_seen, live, accounts, stopped }
    }

    /// Where an output counts its packets.
    pub fn account(&self, output: &str) -> Arc<Account> {
        Arc::clone(lock(&self.accounts).entry(output.to_owned()).or_default())
    }

    /// A capture begins.
    pub fn open(&self, flow: Arc<Flow>, accounts: Vec<Arc<Account>>) {
        let mut live = self.live();
        live.flow = Some(flow);
        live.accounts = accounts;
    }

    /// What its outputs have done with its packets.
    pub fn fates(&self) -> Vec<Fate> {
        let live = self.live();
        let running = live.flow.as_ref().map_or(0, |flow| flow.gauge.packets());
        let accounts = lock(&self.accounts);
        let fates = accounts.iter().map(|(output, account)| {
            let runs = live.accounts.iter().any(|a| Arc::ptr_eq(a, account));
            Fate {
                output: output.clone(),
                given: account.given.load(Relaxed) + if runs { running } else { 0 },
                split: account.split.load(Relaxed),
                written: account.written.load(Relaxed),
                not_written: account.unwritten.load(Relaxed),
                overflowed: account.overflowed.load(Relaxed),
            }
        });
        fates.collect()
    }

    /// Says whether anything is to be captured; `false` if that was said before.
    pub fn stop(&self, stop: bool) -> bool {
        self.stopped.send_if_modified(|stopped| std::mem::replace(stopped, stop) != stop)
    }

    /// Whether an operator wants nothing captured. It stays so when the agent comes back.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits until an operator wants it so.
    pub async fn until_stopped(&self, wanted: bool) {
        // The sender lives as long as this value.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped == wanted).await;
    }

    /// What changes.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    /// Goes over into another phase.
    pub fn enter(&self, phase: Phase, reason: impl Into<String>) {
        let mut live = self.live();
        if live.phase != phase {
            live.since = SystemTime::now();
        }
        live.phase = phase;
        live.reason = reason.into();
    }

    /// A capture is over.
    pub fn close(&self, ledger: &Ledger) {
        let mut live = self.live();
        live.past.add(ledger);
        live.flow = None;
        live.told = None;
        for account in std::mem::take(&mut live.accounts) {
            account.given.fetch_add(ledger.delivered(), Relaxed);
        }
    }

    /// The sums up to now, those of the running capture as far as they are known.
    pub fn totals(&self) -> Totals {
        let live = self.live();
        let mut totals = live.past;
        if let Some(flow) = &live.flow {
            let (packets, gaps) = (flow.gauge.packets(), flow.gauge.gaps());
            let received = Received {
                packets,
                bytes: flow.gauge.bytes(),
                last_number: packets + gaps,
                ..Received::default()
            };
            let told = live.told.map_or(Told::Nothing, Told::Before);
            totals.add(&Ledger { told, sampled: false, received });
        }
        totals
    }

    /// What a file says of it.
    pub fn summary(&self) -> Summary {
        let t = self.totals();
        let known = t.uncertain < t.captures || t.received > 0;
        Summary {
            start: nanos(self.first_seen),
            end: nanos(SystemTime::now()),
            received: known.then_some(t.received),
            if_dropped: known.then_some(t.if_dropped),
            filter_accepted: known.then_some(t.received),
            os_dropped: known.then_some(t.dropped),
            delivered: Some(t.delivered),
            clock: self.live().clock,
            comment: format!(
                "of all files: received {} = dropped {} + captured {}; captured = unsent {} + \
                 sent {}; sent = delivered {} + lost {}",
                t.received, t.dropped, t.captured, t.unsent, t.sent, t.delivered, t.lost
            ),
        }
    }

    /// The ledger as one line.
    pub fn ledger_line(&self) -> String {
        let (t, fates) = (self.totals(), self.fates());
        let here =
            fates.iter().all(|f| f.given + f.split == f.written + f.not_written + f.overflowed);
        let sum = |of: fn(&Fate) -> u64| fates.iter().map(of).sum::<u64>();
        let (written, unwritten, overflowed) =
            (sum(|f| f.written), sum(|f| f.not_written), sum(|f| f.overflowed));
        let balanced = match (t.balanced() && here, t.uncertain) {
            (false, _) => "no",
            (true, 0) => "yes",
            // Some daemons forget their counters with the capture.
            (true, _) => "as-far-as-known",
        };
        format!(
            "agent={} interface={} captures={} received={} dropped={} captured={} unsent={} \
             sent={} lost={} delivered={} written={written} not-written={unwritten} \
             overflowed={overflowed} if-dropped={} datagrams-lost={} malformed={} refused={} bytes={} \
             balanced={balanced}{}",
            self.host,
            harmless(self.key.interface.as_bytes()).replace(' ', "\\x20"),
            t.captures,
            t.received,
            t.dropped,
            t.captured,
            t.unsent,
            t.sent,
            t.lost,
            t.delivered,
            t.if_dropped,
            t.datagrams_lost,
            t.malformed,
            t.refused,
            t.bytes,
            each(&fates),
        )
    }
}

/// A line for each output, where there are several.
fn each(fates: &[Fate]) -> String {
    let mut text = String::new();
    for f in fates.iter().filter(|_| fates.len() > 1) {
        let Fate { output, given, split, written, not_written, overflowed } = f;
        text.push_str(&format!(
            "\n  output={output} given={given} split={split} written={written} not-written={not_written} \
             overflowed={overflowed}"
        ));
    }
    text
}

fn label(host: &str, key: &Key) -> String {
    let plain = |text: &str| -> String {
        let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // An address of IPv6 stays readable, and a name cannot lead anywhere else.
        let text: String = text.chars().map(|c| if keep(c) { c } else { '-' }).collect();
        text.trim_start_matches('.').chars().take(64).collect()
    };
    let mut label = format!("{}_{}", plain(host), plain(&key.interface));
    if key.ordinal > 0 {
        label.push_str(&format!("_{}", key.ordinal + 1));
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(host: &str, interface: &str, ordinal: u32) -> Stream {
        let agent = "192.0.2.1".parse().unwrap();
        let key = Key { agent, interface: interface.to_owned(), ordinal };
        Stream::new(1, key, host.to_owned(), (agent, 1).into())
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        assert_eq!(stream("web.example", "eth0", 0).label, "web.example_eth0");
        assert_eq!(stream("2001:db8::1", "../../etc", 1).label, "2001-db8--1_-..-etc_2");
        assert_eq!(stream("a", "x/\0\u{202e}", 0).label, "a_x---");
        assert!(stream("a", &"y".repeat(1000), 0).label.len() < 100);
    }

    #[test]
    fn a_ledger_goes_on_over_captures() {
        let s = stream("192.0.2.1", "eth0", 0);
        let account = s.account("files");
        for delivered in [90, 95] {
            s.live().accounts = vec![Arc::clone(&account)];
            let told = DaemonCounts { received: 110, dropped: 10, if_dropped: 0, sent: 100 };
            let received = Received { packets: delivered, last_number: 100, ..Received::default() };
            s.close(&Ledger { told: Told::Final(told), sampled: false, received });
            account.written.fetch_add(delivered, Relaxed);
        }
        let t = s.totals();
        assert_eq!((t.captures, t.received, t.captured, t.lost), (2, 220, 200, 15));
        assert!(s.ledger_line().ends_with("balanced=yes"), "{}", s.ledger_line());
        account.written.fetch_add(1, Relaxed);
        assert!(s.ledger_line().ends_with("balanced=no"));
    }
}
