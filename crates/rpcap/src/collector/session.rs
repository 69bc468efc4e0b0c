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
use super::link::{Cipher, Link};
use super::policy::{Action, Plan, Rule};
use super::registry::Claim;
use super::shared::{Course, Rules, Shared};
use super::stream::Phase;
use crate::client::{Error, Pushed};
use crate::text::harmless;
use crate::tls::TlsFailure;

/// First wait before another try at what failed, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long a daemon that is turned away again and again is kept waiting: libpcap's and ExtraHop's
/// come back at once.
const HOLD: Duration = Duration::from_secs(5);
/// Sayings of an agent that are told, in one session: the log is not its own.
const SAYINGS: u32 = 20;
/// How often an agent is asked for its devices while an operator wants nothing captured: whether it
/// is still there.
const STOPPED: Duration = Duration::from_secs(10);
/// Bytes that are read at a time of an encrypted control connection.
const CONTROL_ROOM: usize = 4096;
/// What an agent is told that no rule is about.
const NO_RULE: &str = "This collector has no rule for this host";

/// A session with an agent.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) control: Control<Link>,
    /// How the connections are encrypted, if they are.
    pub(super) cipher: Option<Cipher>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    pub(super) course: watch::Receiver<Course>,
    /// Something was captured: it is an agent.
    pub(super) captured: bool,
    /// Captures so far whose datagrams were sealed.
    pub(super) sealed: u32,
    /// How much the agent said without having been asked.
    sayings: u32,
}

/// Why a wait is over.
enum Rested {
    Elapsed,
    RulesChanged,
    /// An operator started or stopped it.
    Told,
    Ending,
}

/// Serves one connection to its end.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    let (mut rules, course) = (shared.rules.clone(), shared.course.clone());
    let local = canonical(local);
    let peer = canonical(peer);
    let known = Arc::clone(&rules.borrow_and_update());
    let link = match known.cipher(peer.ip()) {
        Ok(None) => Ok((Link::Plain(stream), None)),
        Ok(Some(cipher)) => {
            let greeted = cipher.greet(stream, CONTROL_ROOM, shared.deadline).await;
            greeted.map(|link| (link, Some(cipher)))
        }
        Err(failure) => Err(failure),
    };
    let (link, cipher) = match link {
        Ok(link) => link,
        Err(failure) => return turned_off(&shared, peer, &failure),
    };
    let control = Control::new(link, peer, shared.deadline);
    let (captured, sealed, sayings) = (false, 0, 0);
    let session =
        Session { shared, control, cipher, peer, local, rules, course, captured, sealed, sayings };
    session.run().await;
}

/// Tells of an agent that there is no safe way to speak with.
fn turned_off(shared: &Shared, peer: SocketAddr, failure: &TlsFailure) {
    shared.totals.failed.fetch_add(1, Relaxed);
    if shared.told.is_news(peer.ip(), Instant::now()) {
        let advice = match failure {
            TlsFailure::Plain => "; if nobody on the way can listen: tls = false in its rule",
            _ => "",
        };
        shared.journal.warn(&format!("agent {peer}: TLS: {failure}{advice}"));
    }
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
    Capture {
        plan: Arc<Plan>,
        host: String,
        rule: String,
        interfaces: Vec<String>,
    },
    Reject,
    Dismiss,
    /// This is not the connection for it: it may come back on another.
    Misfit(String),
}

impl Session {
    async fn run(mut self) {
        let rules = Arc::clone(&self.rules.borrow_and_update());
        let Some(rule) = rules.policy.rule_for(self.peer.ip(), &rules.names) else {
            return self.reject().await;
        };
        // The policy may have changed since it was greeted, and a password must not go astray.
        if let Err(why) = self.fits(rule, &rules) {
            return self.misfit(&why).await;
        }
        let credentials = rule.credentials.clone();
        let authenticated = self.control.authenticate(&credentials).await;
        let result = match authenticated {
            Ok(()) => self.agent().await,
            Err(error) => Err(error),
        };
        self.shared.registry.set_waiting(self.peer, None);
        match result {
            Ok(Left::Ended) => self.control.hang_up().await,
            Ok(Left::Misfit(why)) => self.misfit(&why).await,
            Ok(Left::Rejected) => self.reject().await,
            Ok(Left::Dismissed) => {
                self.shared.journal.info(&format!("agent {}: dismissed", self.peer));
                self.control.dismiss().await;
            }
            Err(error) => {
                self.failed(&error);
                self.control.hang_up().await;
            }
        }
    }

    fn failed(&self, error: &Error) {
        if self.captured {
            // Daemons come and go.
            return self.shared.journal.info(&format!("agent {error}"));
        }
        self.shared.totals.failed.fetch_add(1, Relaxed);
        if self.shared.told.is_news(self.peer.ip(), Instant::now()) {
            let advice = match error.wants_tls() {
                true => "; say tls = true in its rule",
                false => "",
            };
            self.shared.journal.warn(&format!("agent {error}{advice}"));
        }
    }

    async fn reject(mut self) {
        self.shared.totals.rejected.fetch_add(1, Relaxed);
        if self.shared.told.is_news(self.peer.ip(), Instant::now()) {
            let line = format!("agent {}: rejected, as the policy says", self.peer);
            self.shared.journal.info(&line);
        } else {
            self.hold().await;
        }
        self.control.reject(NO_RULE).await;
    }

    /// Lets the agent come back on a connection that the policy has in mind for it.
    async fn misfit(mut self, why: &str) {
        // What was captured from does not end without a word.
        if self.shared.told.is_news(self.peer.ip(), Instant::now()) || self.captured {
            self.shared.journal.info(&format!("agent {}: {why}", self.peer));
        } else {
            self.hold().await;
        }
        self.control.hang_up().await;
    }

    async fn hold(&mut self) {
        tokio::select! {
            () = tokio::time::sleep(HOLD) => {}
            _ = self.course.changed() => {}
        }
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
                Verdict::Misfit(why) => return Ok(Left::Misfit(why)),
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
            claim.stream.live().wanted = Some((Arc::clone(&plan), rule.clone()));
            if claim.stream.is_stopped() {
                claim.stream.enter(Phase::Stopped, "");
                if let Rested::Ending = self.rest(Some(claim), STOPPED).await? {
                    return Ok(Left::Ended);
                }
                continue;
            }
            let started = Instant::now();
            let ended = Capture { session: self, claim, plan, rule: &rule }.run().await?;
            let reason = match ended {
                Ended::Ending => return Ok(Left::Ended),
                Ended::RulesChanged | Ended::Stopped => continue,
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
        if let Err(why) = self.fits(rule, &rules) {
            return Ok(Verdict::Misfit(why));
        }
        let interfaces = choose::candidates(&plan.interfaces, &devices);
        let host = policy.host_of(self.peer.ip(), names);
        Ok(Verdict::Capture {
            interfaces: interfaces.into_iter().map(str::to_owned).collect(),
            host: host.map_or_else(|| self.peer.ip().to_string(), str::to_owned),
            rule: rule.name.clone(),
            plan,
        })
    }

    /// Whether this connection is encrypted as the rule wants it, with an agent that is still
    /// trusted.
    fn fits(&self, rule: &Rule, rules: &Rules) -> Result<(), String> {
        match (&self.cipher, rule.tls) {
            (None, false) => Ok(()),
            (None, true) => Err(format!("{} wants TLS, which this connection lacks", rule.name)),
            (Some(_), false) => {
                Err(format!("{} wants no TLS, which this connection has", rule.name))
            }
            (Some(_), true) => match rules.cipher(self.peer.ip()) {
                Ok(Some(Cipher { tls, name })) => tls
                    .trusts(self.control.stream().certificates(), &name)
                    .map_err(|failure| format!("TLS: {failure}")),
                // The first rule about its address has it otherwise now.
                Ok(None) => Err("the policy wants no TLS of this address".to_owned()),
                Err(failure) => Err(format!("TLS: {failure}")),
            },
        }
    }

    /// A data connection, encrypted if the control connection is, and with the same agent.
    pub(super) async fn encrypt_data(
        &self,
        socket: TcpStream,
        room: usize,
    ) -> Result<Link, TlsFailure> {
        let Some(cipher) = &self.cipher else {
            return Ok(Link::Plain(socket));
        };
        let link = cipher.greet(socket, room, self.shared.deadline).await?;
        let control = self.control.stream().fingerprint();
        TlsFailure::unless_same(control, link.fingerprint()).map(|()| link)
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
        let stream = claim.as_ref().map(|claim| Arc::clone(&claim.stream));
        let told = async {
            match &stream {
                Some(stream) => stream.until_stopped(!stream.is_stopped()).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(told);
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
                () = &mut told => return Ok(Rested::Told),
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
    Misfit(String),
}
