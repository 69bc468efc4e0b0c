//! One agent's control connection, from AUTH to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::capture::{Capture, Ended};
use super::choose;
use super::control::Control;
use super::policy::{Action, Plan};
use super::registry::Claim;
use super::shared::{Course, Rules, Shared};
use super::stream::Phase;
use crate::client::{Error, Pushed};
use crate::text::harmless;

/// First wait before another try at what failed, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long a daemon that is turned away again and again is kept waiting: libpcap's and ExtraHop's
/// come back at once.
const HOLD: Duration = Duration::from_secs(5);
/// Sayings of an agent that are told, in one session: the log is not its own.
const SAYINGS: u32 = 20;
/// What an agent is told that no rule is about.
const NO_RULE: &str = "This collector has no rule for this host";

/// A session with an agent.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) control: Control<TcpStream>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    pub(super) course: watch::Receiver<Course>,
    /// Something was captured: it is an agent.
    pub(super) captured: bool,
    /// How much the agent said without having been asked.
    sayings: u32,
}

/// Why a wait is over.
enum Rested {
    Elapsed,
    RulesChanged,
    Ending,
}

/// Serves one connection to its end.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    let control = Control::new(stream, peer, shared.deadline);
    let (rules, course) = (shared.rules.clone(), shared.course.clone());
    let local = canonical(local);
    let peer = canonical(peer);
    let session =
        Session { shared, control, peer, local, rules, course, captured: false, sayings: 0 };
    session.run().await;
}

/// IPv4 in IPv6's clothes is IPv4; a scope stays.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip != address.ip() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}

/// What is to be done with an agent.
pub(super) enum Verdict {
    Capture { plan: Arc<Plan>, host: String, rule: String, interfaces: Vec<String> },
    Reject,
    Dismiss,
}

impl Session {
    async fn run(mut self) {
        let credentials = {
            let rules = self.rules.borrow_and_update();
            rules.policy.rule_for(self.peer.ip(), &rules.names).map(|r| r.credentials.clone())
        };
        let Some(credentials) = credentials else {
            return self.reject().await;
        };
        let authenticated = self.control.authenticate(&credentials).await;
        let result = match authenticated {
            Ok(()) => self.agent().await,
            Err(error) => Err(error),
        };
        self.shared.registry.set_waiting(self.peer, None);
        match result {
            Ok(Left::Ended) => {}
            Ok(Left::Rejected) => self.reject().await,
            Ok(Left::Dismissed) => {
                self.shared.journal.info(&format!("agent {}: dismissed", self.peer));
                self.control.dismiss().await;
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &Error) {
        if self.captured {
            // Daemons come and go.
            return self.shared.journal.info(&format!("agent {error}"));
        }
        self.shared.totals.failed.fetch_add(1, Relaxed);
        if self.shared.told.is_news(self.peer.ip(), Instant::now()) {
            self.shared.journal.warn(&format!("agent {error}"));
        }
    }

    async fn reject(mut self) {
        self.shared.totals.rejected.fetch_add(1, Relaxed);
        if self.shared.told.is_news(self.peer.ip(), Instant::now()) {
            let line = format!("agent {}: rejected, as the policy says", self.peer);
            self.shared.journal.info(&line);
        } else {
            tokio::select! {
                () = tokio::time::sleep(HOLD) => {}
                _ = self.course.changed() => {}
            }
        }
        self.control.reject(NO_RULE).await;
    }

    /// An agent that has let the collector in.
    async fn agent(&mut self) -> Result<Left, Error> {
        let mut claim: Option<Claim> = None;
        let mut wait = RETRY.0;
        loop {
            if *self.course.borrow() == Course::End {
                return Ok(Left::Ended);
            }
            self.rules.mark_unchanged();
            let (plan, host, rule, interfaces) = match self.judge().await? {
                Verdict::Reject => return Ok(Left::Rejected),
                Verdict::Dismiss => return Ok(Left::Dismissed),
                Verdict::Capture { plan, host, rule, interfaces } => (plan, host, rule, interfaces),
            };
            // What it had stays its own.
            if claim.as_ref().is_none_or(|c| !interfaces.iter().any(|i| i == c.interface())) {
                drop(claim.take());
                let names: Vec<&str> = interfaces.iter().map(String::as_str).collect();
                claim = self.shared.registry.claim(self.peer, &host, &names).await;
            }
            let Some(claim) = &mut claim else {
                let why = "it has no interface that the policy wants";
                self.wait_for_interfaces(&rule, why).await?;
                continue;
            };
            let started = Instant::now();
            let ended = Capture { session: self, claim, plan, rule: &rule }.run().await?;
            let reason = match ended {
                Ended::Ending => return Ok(Left::Ended),
                Ended::RulesChanged => continue,
                Ended::Failed(reason) => reason,
            };
            let line = format!("agent {}: {}: {reason}", self.peer, claim.stream.key);
            self.shared.journal.warn(&line);
            claim.stream.enter(Phase::Waiting, reason);
            wait = if started.elapsed() > RETRY.1 { RETRY.0 } else { (wait * 2).min(RETRY.1) };
            if let Rested::Ending = self.rest(Some(claim), wait).await? {
                return Ok(Left::Ended);
            }
        }
    }

    /// What the policy says of the agent as it is now.
    pub(super) async fn judge(&mut self) -> Result<Verdict, Error> {
        let devices = self.control.devices().await?;
        let rules = Arc::clone(&self.rules.borrow());
        let Rules { policy, names } = &*rules;
        let preselected = choose::preselected(&devices);
        let Some(rule) = policy.rule_for_device(self.peer.ip(), names, preselected) else {
            return Ok(Verdict::Reject);
        };
        let plan = match &rule.action {
            Action::Reject => return Ok(Verdict::Reject),
            Action::Dismiss => return Ok(Verdict::Dismiss),
            Action::Capture(plan) => Arc::clone(plan),
        };
        let interfaces = choose::candidates(&plan.interfaces, &devices);
        let host = policy.host_of(self.peer.ip(), names);
        Ok(Verdict::Capture {
            interfaces: interfaces.into_iter().map(str::to_owned).collect(),
            host: host.map_or_else(|| self.peer.ip().to_string(), str::to_owned),
            rule: rule.name.clone(),
            plan,
        })
    }

    async fn wait_for_interfaces(&mut self, rule: &str, why: &str) -> Result<(), Error> {
        self.shared.registry.set_waiting(self.peer, Some(why.to_owned()));
        if self.shared.told.is_news(self.peer.ip(), Instant::now()) {
            self.shared.journal.warn(&format!("agent {} ({rule}): {why}", self.peer));
        }
        self.rest(None, RETRY.1).await?;
        self.shared.registry.set_waiting(self.peer, None);
        Ok(())
    }

    /// Waits, while the agent stays.
    async fn rest(&mut self, claim: Option<&mut Claim>, time: Duration) -> Result<Rested, Error> {
        let until = tokio::time::Instant::now() + time;
        let mut claim = claim;
        loop {
            let probe = async {
                match &mut claim {
                    Some(claim) => claim.probes.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(Rested::Elapsed),
                _ = self.course.changed() => return Ok(Rested::Ending),
                _ = self.rules.changed() => return Ok(Rested::RulesChanged),
                pushed = self.control.next_pushed() => {
                    let pushed = pushed?;
                    self.says(&pushed);
                }
                Some(probe) = probe => {
                    self.control.stats().await?;
                    let _ = probe.send(());
                }
            }
        }
    }

    /// Tells what the agent says without having been asked, for a while.
    pub(super) fn says(&mut self, pushed: &Pushed) {
        if self.sayings < SAYINGS {
            self.sayings += 1;
            self.shared.journal.info(&format!("agent {}: says: {pushed}", self.peer));
        }
    }

    /// The agent in messages.
    pub(super) fn name(&self, interface: &str) -> String {
        format!("agent {} {}", self.peer, harmless(interface.as_bytes()))
    }
}

/// How a session ended.
enum Left {
    Ended,
    Rejected,
    Dismissed,
}
