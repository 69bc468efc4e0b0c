//! One capture: started, watched, ended so that nothing of it is missed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpcap_proto::wire::{
    ErrorCode, FilterBlock, OpenReply, Sampling, StartFlags, StartRequest, Stats,
};
use tokio::time::{Instant as Moment, interval_at};

use super::flow::Flow;
use super::policy::Plan;
use super::registry::Claim;
use super::session::{Session, Verdict};
use super::shared::Course;
use super::stream::Phase;
use super::tcp::{Listening, Reading};
use super::udp::{Port, Reserved};
use crate::client::{Error, Transport};
use crate::clock;
use crate::data::Received;
use crate::file::Meta;
use crate::ledger::{DaemonCounts, Ledger, Told, Widener};
use crate::linktype;
use crate::output::{Account, Begin, Way};
use crate::text::harmless;

/// How often an agent is asked for its counters. It also shows that it is there.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// An answer that came so lately need not be asked for again.
const FRESH: Duration = Duration::from_secs(1);
/// How long a daemon may take to send what it still has.
const LAST: Duration = Duration::from_secs(15);
/// How long nothing must have come before no more datagrams are expected.
const QUIET: Duration = Duration::from_millis(300);
/// Between two looks at whether something came.
const GLANCE: Duration = Duration::from_millis(50);
/// Bytes that are read at a time of an encrypted data connection.
const DATA_ROOM: usize = 64 * 1024;
/// What a daemon may gather packets for.
const READ_TIMEOUT_MS: u32 = 500;

/// Why a capture is over.
pub(super) enum Ended {
    /// The collector ends.
    Ending,
    /// The policy wants something else.
    RulesChanged,
    /// An operator wants nothing captured.
    Stopped,
    /// It failed; the session goes on.
    Failed(String),
}

/// What a capture is made from.
pub(super) struct Capture<'a> {
    pub(super) session: &'a mut Session,
    pub(super) claim: &'a mut Claim,
    pub(super) plan: Arc<Plan>,
    pub(super) rule: &'a str,
}

/// A capture's data connection.
enum Data {
    Udp(Reserved),
    Tcp(Reading),
}

/// A capture that runs.
struct Running {
    flow: Arc<Flow>,
    way: Arc<Way>,
    data: Data,
    linktype: u32,
    counters: Widener,
    told: bool,
    answered: Instant,
}

/// A failure of this capture, or of the session.
enum Failure {
    Capture(String),
    Session(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // The session goes on, as the protocol has it.
            Error::Refused { .. } => Self::Capture(error.to_string()),
            error => Self::Session(error),
        }
    }
}

impl Capture<'_> {
    /// Captures until there is a reason not to.
    pub(super) async fn run(mut self) -> Result<Ended, Error> {
        let mut running = match self.start().await {
            Ok(running) => running,
            Err(Failure::Capture(reason)) => return Ok(Ended::Failed(reason)),
            Err(Failure::Session(error)) => return Err(error),
        };
        let watched = self.watch(&mut running).await;
        let ended = self.end(running, watched.is_ok()).await;
        match watched {
            Ok(reason) => ended.map(|()| reason),
            Err(error) => Err(error),
        }
    }

    async fn start(&mut self) -> Result<Running, Failure> {
        let interface = self.claim.interface().to_owned();
        let (session, plan) = (&mut *self.session, &self.plan);
        let Some(way) = session.shared.outputs.way(&plan.outputs) else {
            return Err(Failure::Capture("the policy's output has ended".to_owned()));
        };
        let OpenReply { linktype, system } = session.control.open(&interface).await?;
        if linktype > u16::MAX.into() {
            return Err(Failure::Capture(format!("no savefile has room for link type {linktype}")));
        }
        let filters = &session.shared.filters;
        let filter = filters.compile(&plan.filter, linktype, plan.snaplen).await;
        let filter = filter.map_err(Failure::Capture)?;
        if plan.sampling != Sampling::None {
            session.control.set_sampling(plan.sampling).await?;
        }
        let accounts = self.begin(&way, linktype, system, &interface);
        let (stream, agent) = (self.claim.stream.id, self.session.peer.ip());
        let flow = Arc::new(Flow::new(stream, self.plan.snaplen, agent, way.route.clone()));
        let data = match self.plan.transport {
            Transport::Tcp => self.start_tcp(&flow, filter, &way).await,
            Transport::Udp => self.start_udp(&flow, filter).await,
        };
        let data = data.inspect_err(|_| way.route.end(flow.stream))?;
        let stream = &self.claim.stream;
        stream.open(Arc::clone(&flow), accounts);
        stream.enter(Phase::Capturing, "");
        self.session.captured = true;
        let name = linktype::name(linktype).map_or(format!("link type {linktype}"), str::to_owned);
        let by = match data {
            Data::Udp(_) if self.session.cipher.is_some() => "UDP, encrypted",
            Data::Udp(_) => "UDP",
            Data::Tcp(_) if self.session.cipher.is_some() => "TCP with TLS",
            Data::Tcp(_) => "TCP",
        };
        self.session.shared.journal.info(&format!(
            "{} ({}): capturing, {name}, by {by}",
            self.session.name(&interface),
            self.rule
        ));
        Ok(Running {
            flow,
            way,
            data,
            linktype,
            counters: Widener::default(),
            told: false,
            answered: Instant::now(),
        })
    }

    /// Announces the stream to its outputs; where they count its packets.
    fn begin(
        &self,
        way: &Way,
        linktype: u32,
        os: Option<String>,
        interface: &str,
    ) -> Vec<Arc<Account>> {
        let (plan, stream) = (&self.plan, &self.claim.stream);
        let filter = (!plan.filter.is_empty()).then(|| plan.filter.clone());
        let meta = Meta {
            linktype,
            snaplen: plan.snaplen,
            interface: format!("{} {}", stream.host, harmless(interface.as_bytes())),
            filter,
            os,
            comment: Some(format!(
                "agent {} ({}), received by rpcap listen",
                stream.host, stream.key.agent
            )),
            ..Meta::default()
        };
        let begun = way.outputs().iter().map(|output| {
            let account = stream.account(&output.plan.name);
            let (meta, label) = (meta.clone(), stream.label.clone());
            let begin = Begin { stream: stream.id, label, meta, account: Arc::clone(&account) };
            output.queue.begin(begin);
            account
        });
        begun.collect()
    }

    fn request(&self, filter: FilterBlock, flags: StartFlags, port: u16) -> StartRequest {
        let promisc = match self.plan.promiscuous {
            true => StartFlags::PROMISC,
            false => StartFlags::default(),
        };
        StartRequest {
            snaplen: self.plan.snaplen,
            read_timeout_ms: READ_TIMEOUT_MS,
            flags: promisc | self.plan.direction | flags | StartFlags::CLOCK | StartFlags::NANOS,
            port,
            filter,
        }
    }

    async fn start_tcp(
        &mut self,
        flow: &Arc<Flow>,
        filter: FilterBlock,
        way: &Arc<Way>,
    ) -> Result<Data, Failure> {
        let failed = |e| Failure::Capture(format!("data connection: {e}"));
        let listening = Listening::bind(self.session.local).await.map_err(failed)?;
        let request = self.request(filter, StartFlags::SERVER_OPEN, listening.port());
        self.session.control.start(&request).await?;
        let (agent, deadline) = (self.session.peer.ip(), self.session.shared.deadline);
        let accepted = listening.accept(agent, deadline).await;
        let made = match accepted.map_err(|e| e.to_string()) {
            Ok(stream) => {
                self.session.encrypt_data(stream, DATA_ROOM).await.map_err(|e| e.to_string())
            }
            Err(error) => Err(error),
        };
        let stream = match made {
            Ok(stream) => stream,
            Err(error) => {
                self.session.control.end_capture(deadline).await?;
                return Err(Failure::Capture(format!("data connection: {error}")));
            }
        };
        Ok(Data::Tcp(Reading::start(stream, Arc::clone(flow), Arc::clone(way))))
    }

    async fn start_udp(&mut self, flow: &Arc<Flow>, filter: FilterBlock) -> Result<Data, Failure> {
        let in_clear = |why| Failure::Capture(format!("datagrams would not be encrypted: {why}"));
        let encrypted = self.session.cipher.is_some();
        let mut flags = StartFlags::DATAGRAM | StartFlags::UDPSTR | StartFlags::SOURCE_PORT;
        if encrypted {
            flags = flags | StartFlags::SEALED;
        }
        for port in [Port::Common, Port::Own] {
            if encrypted {
                let seal = self.session.control.stream().seal(self.session.sealed);
                flow.set_seal(seal.ok_or_else(|| in_clear("there is no TLS 1.3"))?);
            }
            let (ports, local) = (&self.session.shared.ports, self.session.local);
            let reserved = ports.reserve(Arc::clone(flow), local, port);
            let mut reserved =
                reserved.map_err(|e| Failure::Capture(format!("a port for datagrams: {e}")))?;
            let request = self.request(filter.clone(), flags, reserved.port());
            let reply = self.session.control.start(&request).await?;
            if encrypted {
                // The first datagram cannot tell where all come from before it is known to be theirs.
                let needed = StartFlags::SEALED | StartFlags::SOURCE_PORT;
                if !StartFlags(reply.extensions).contains(needed) {
                    self.session.control.end_capture(self.session.shared.deadline).await?;
                    return Err(in_clear("the agent cannot do it; say transport = \"tcp\""));
                }
                self.session.sealed += 1;
            }
            let told = StartFlags(reply.extensions).contains(StartFlags::SOURCE_PORT);
            let source = SocketAddr::new(flow.agent, reply.port);
            if reserved.started(told.then_some(source)).is_ok() {
                return Ok(Data::Udp(reserved));
            }
            // Only then is its place given up: what it sends until then is kept from the others.
            self.session.control.end_capture(self.session.shared.deadline).await?;
        }
        Err(Failure::Capture("it cannot be told which datagrams are its own".to_owned()))
    }

    /// Looks after the capture until it is over.
    async fn watch(&mut self, running: &mut Running) -> Result<Ended, Error> {
        // Agents that came together are not asked together.
        let offset = u64::from(self.claim.stream.id) * 37 % ASK_EVERY.as_millis() as u64;
        let first = Moment::now() + Duration::from_millis(offset) + ASK_EVERY / 10;
        let mut asking = interval_at(first, ASK_EVERY);
        self.compare_clocks(running).await?;
        let stream = Arc::clone(&self.claim.stream);
        let stopped = stream.until_stopped(true);
        tokio::pin!(stopped);
        loop {
            let session = &mut *self.session;
            tokio::select! {
                _ = session.course.changed() => {
                    if *session.course.borrow_and_update() == Course::End {
                        return Ok(Ended::Ending);
                    }
                }
                changed = session.rules.changed() => {
                    if changed.is_ok() && !self.still_wanted(running).await? {
                        return Ok(Ended::RulesChanged);
                    }
                }
                () = &mut stopped => return Ok(Ended::Stopped),
                _ = asking.tick() => self.ask(running).await?,
                Some(probe) = self.claim.probes.recv() => {
                    if running.answered.elapsed() > FRESH {
                        self.ask(running).await?;
                    }
                    let _ = probe.send(());
                }
                pushed = session.control.next_pushed() => {
                    let pushed = pushed?;
                    if pushed.code == ErrorCode::Read as u16 {
                        return Ok(Ended::Failed(format!("the agent ended the capture: {pushed}")));
                    }
                    session.says(&pushed);
                }
                () = running.data.over() => {
                    let why = "the agent ended the data connection".to_owned();
                    return Ok(Ended::Failed(why));
                }
            }
        }
    }

    /// Asks a few times, or once where the way is long, so that the files say from their beginning how
    /// far the agent's clock is from this one.
    async fn compare_clocks(&mut self, running: &mut Running) -> Result<(), Error> {
        // Until it tells, nothing is known of it.
        self.claim.stream.live().clock = None;
        let began = Instant::now();
        for n in 0..clock::FIRST {
            let late = n > 0 && began.elapsed() > clock::FIRST_WITHIN;
            if late || !self.session.control.tells_clock() {
                break;
            }
            self.ask(running).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, running: &mut Running) -> Result<(), Error> {
        match self.session.control.stats().await {
            Ok(stats) => {
                running.counters.take(stats);
                running.told = true;
                running.answered = Instant::now();
                let stream = &self.claim.stream;
                {
                    let mut live = stream.live();
                    live.told = Some(running.counters.counts());
                    live.clock = self.session.control.clock_offset();
                }
                running.way.route.summarise(stream.id, &stream.summary());
                Ok(())
            }
            Err(Error::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the policy as it is now wants this capture, perhaps with another filter.
    async fn still_wanted(&mut self, running: &mut Running) -> Result<bool, Error> {
        let session = &mut *self.session;
        session.rules.mark_unchanged();
        let Verdict::Capture { plan, interfaces, .. } = session.judge().await? else {
            return Ok(false);
        };
        if !interfaces.iter().any(|i| i == self.claim.interface()) {
            return Ok(false);
        }
        if *plan == *self.plan {
            return Ok(true);
        }
        if !plan.differs_in_filter_only(&self.plan) {
            return Ok(false);
        }
        let filters = &session.shared.filters;
        let filter = filters.compile(&plan.filter, running.linktype, plan.snaplen).await;
        let name = session.name(self.claim.interface());
        let updated = match filter {
            Ok(filter) => session.control.update_filter(&filter).await,
            Err(error) => {
                let line = format!("{name}: {error}; the old filter stays");
                session.shared.journal.warn(&line);
                return Ok(true);
            }
        };
        match updated {
            Ok(()) => {
                session.shared.journal.info(&format!("{name}: the filter is changed"));
                let rule = self.rule.to_owned();
                self.claim.stream.live().wanted = Some((Arc::clone(&plan), rule));
                self.plan = plan;
            }
            Err(error @ Error::Refused { .. }) => {
                let line = format!("{name}: {error}; the old filter stays");
                session.shared.journal.warn(&line);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Ends the capture, takes what is on its way, and settles the ledger.
    async fn end(&mut self, mut running: Running, connected: bool) -> Result<(), Error> {
        let mut result = Ok(());
        if connected {
            result = self.ask(&mut running).await;
            if result.is_ok() {
                result = self.session.control.end_capture(LAST).await;
            }
        }
        let connected = connected && result.is_ok();
        let deadline = self.session.shared.deadline;
        let Running { flow, way, data, .. } = running;
        let received = match data {
            Data::Udp(reserved) => {
                if connected {
                    quiet(&flow, deadline).await;
                }
                reserved.end().await
            }
            Data::Tcp(reading) => {
                let (received, error) = reading.end(deadline).await;
                if let Some(error) = error {
                    let name = self.session.name(self.claim.interface());
                    self.session.shared.journal.warn(&format!("{name}: {error}"));
                }
                received
            }
        };
        let mut told = match running.told {
            true => Told::Before(running.counters.counts()),
            false => Told::Nothing,
        };
        if connected && let Some(counts) = self.last_counts(&mut running.counters, &received).await
        {
            told = Told::Final(counts);
        }
        let sampled = self.plan.sampling != Sampling::None;
        let ledger = Ledger { told, sampled, received };
        self.claim.stream.close(&ledger);
        way.route.summarise(flow.stream, &self.claim.stream.summary());
        way.route.end(flow.stream);
        result
    }

    /// What the agent says of the capture that is over, if it still knows.
    async fn last_counts(
        &mut self,
        counters: &mut Widener,
        received: &Received,
    ) -> Option<DaemonCounts> {
        let stats = self.session.control.stats().await.ok()?;
        let counted = counters.counts() != DaemonCounts::default() || received.packets > 0;
        // libpcap's daemons and ExtraHop's forget them with the capture. Zeros are the truth only
        // where there was nothing to count.
        if stats == Stats::default() && counted {
            return None;
        }
        counters.take(stats);
        Some(counters.counts())
    }
}

impl Data {
    /// Waits for the end of a data connection that has one.
    async fn over(&mut self) {
        match self {
            Self::Udp(_) => std::future::pending().await,
            Self::Tcp(reading) => reading.over().await,
        }
    }
}

/// Waits until no more datagrams come.
async fn quiet(flow: &Flow, deadline: Duration) {
    let start = Instant::now();
    let (mut seen, mut since) = (flow.gauge.packets(), start);
    while since.elapsed() < QUIET && start.elapsed() < deadline {
        tokio::time::sleep(GLANCE).await;
        let packets = flow.gauge.packets();
        if packets != seen {
            (seen, since) = (packets, Instant::now());
        }
    }
}
