//! The other end of active mode: takes what daemons send that connect by themselves, by the
//! thousand.
//!
//! ```text
//!   agent ──TCP──▶ accept ─▶ session ─▶ capture        one async task for each agent
//!     │                        │ policy, registry
//!     │                        ▼
//!     └──UDP──▶ receivers: switchboard ─▶ outlet ─┐    one thread for each receiver, no locks
//!     └──TCP──▶ reading ──────────────▶ outlet ───┴─▶ queue ─▶ output ─▶ files
//! ```
//!
//! * [`policy`]: who may send, what, and where it goes. [`choose`]: which interface.
//! * `session`, `capture`, [`link`]: one agent. [`registry`], [`stream`]: what is known of all.
//! * [`udp`], [`tcp`], [`flow`]: packets come in.
//! * [`serve`], [`tools`]: HTTP, for scrapers and for servers that want a daemon.
//! * [`outputs`], [`crate::output`]: packets go out. The queue between is bounded and never makes a
//!   receiver wait.

pub mod accept;
mod capture;
pub mod choose;
pub mod control;
pub mod filters;
pub mod flow;
mod keeping;
pub mod link;
pub mod metrics;
pub mod outputs;
pub mod policy;
pub mod registry;
pub mod serve;
mod session;
pub mod shared;
pub mod status;
pub mod stream;
pub mod tcp;
pub mod tools;
pub mod udp;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::filters::Filters;
use self::keeping::Keeping;
use self::outputs::Outputs;
use self::policy::{Names, Policy, PolicyError};
use self::registry::Registry;
use self::shared::{Course, Rules, Shared};
use self::udp::Ports;
use crate::journal::Journal;

/// How often what came by TCP is given on.
const GATHER: Duration = Duration::from_millis(10);
/// How long everything may take to end.
const END: Duration = Duration::from_secs(60);

/// How a collector is run.
#[derive(Debug)]
pub struct Options {
    /// The policy's file.
    pub policy: PathBuf,
    /// Where agents connect to.
    pub listeners: Vec<TcpListener>,
    /// Where agents send datagrams to; port 0 is any that is free.
    pub data: SocketAddr,
    /// Threads that receive datagrams.
    pub receivers: usize,
    /// Most agents at a time.
    pub max_agents: usize,
    /// How long an agent may take for a reply.
    pub deadline: Duration,
}

#[cfg(test)]
impl Options {
    /// With this policy, and a collector that nobody calls.
    pub(crate) fn alone(policy: PathBuf) -> Self {
        Self {
            policy,
            listeners: Vec::new(),
            data: ([127, 0, 0, 1], 0).into(),
            receivers: 1,
            max_agents: 10,
            deadline: Duration::from_secs(1),
        }
    }
}

/// Why a collector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// An output.
    #[error("{0}")]
    Output(String),
    /// The UDP port.
    #[error("cannot receive datagrams at {address}: {source}; see --data-port")]
    Data {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// A collector.
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    options: Options,
    rules: watch::Sender<Arc<Rules>>,
    course: watch::Sender<Course>,
    sessions: JoinSet<()>,
}

impl Collector {
    /// Loads the policy and binds the port. Nobody is accepted yet.
    pub async fn new(options: Options, journal: Arc<Journal>) -> Result<Self, StartError> {
        let policy = Policy::load(&options.policy)?;
        let outputs = Outputs::new(Arc::clone(&journal));
        outputs.prepare(&policy).map_err(StartError::Output)?;
        keeping::warn(&policy, &journal);
        let names = keeping::look_up(&policy, &Names::default()).await;
        let ports = Ports::bind(options.data, options.receivers, Arc::clone(&journal))
            .map_err(|source| StartError::Data { address: options.data, source })?;
        let (rules, watched) = watch::channel(Arc::new(Rules { policy, names }));
        let (course, followed) = watch::channel(Course::Run);
        let shared = Shared {
            registry: Arc::new(Registry::new(options.max_agents)),
            ports: Arc::new(ports),
            outputs,
            filters: Filters::default(),
            journal,
            rules: watched,
            course: followed,
            deadline: options.deadline,
            totals: shared::Totals::default(),
            told: shared::Remembered::default(),
        };
        let shared = Arc::new(shared);
        Ok(Self { shared, options, rules, course, sessions: JoinSet::new() })
    }

    /// What all sessions share: for those who show it.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Works until `end` says so. `reload` asks for the policy to be read again. Captures are then
    /// ended and all files finished.
    pub async fn run(mut self, reload: mpsc::Receiver<()>, end: impl Future<Output = ()>) {
        let (accepted, mut arriving) = mpsc::channel(64);
        for listener in std::mem::take(&mut self.options.listeners) {
            let journal = Arc::clone(&self.shared.journal);
            tokio::spawn(accept::run(listener, accepted.clone(), journal));
        }
        drop(accepted);
        // They end with this value.
        let mut helpers = JoinSet::new();
        let flushed = Arc::clone(&self.shared);
        helpers.spawn(async move {
            let mut tick = tokio::time::interval(GATHER);
            loop {
                tick.tick().await;
                flushed.outputs.flush();
            }
        });
        let (path, shared) = (self.options.policy.clone(), Arc::clone(&self.shared));
        let rules = self.rules.clone();
        helpers.spawn(Keeping { path, shared, rules, reload }.run());
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Some((stream, peer)) = arriving.recv() => self.admit(stream, peer),
                Some(session) = self.sessions.join_next() => self.ended(session),
            }
        }
        drop(arriving);
        self.finish().await;
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let totals = &self.shared.totals;
        totals.connections.fetch_add(1, Relaxed);
        if self.sessions.len() >= self.options.max_agents {
            totals.surplus.fetch_add(1, Relaxed);
            if self.shared.told.is_news(peer.ip(), Instant::now()) {
                self.shared.journal.warn(&format!(
                    "agent {peer}: turned away, {} are there already; see --max-agents",
                    self.options.max_agents
                ));
            }
            return;
        }
        self.sessions.spawn(session::serve(Arc::clone(&self.shared), stream, peer));
    }

    fn ended(&self, session: Result<(), tokio::task::JoinError>) {
        if let Err(error) = session
            && error.is_panic()
        {
            self.shared.journal.warn("a session panicked; this is a bug");
        }
    }

    /// Ends all captures, waits for what is on its way, and finishes all files.
    async fn finish(mut self) {
        self.course.send_replace(Course::End);
        let all = async {
            while let Some(session) = self.sessions.join_next().await {
                self.ended(session);
            }
        };
        if tokio::time::timeout(END, all).await.is_err() {
            self.shared.journal.warn("some agents did not end their captures in time");
            self.sessions.shutdown().await;
        }
        let shared = Arc::clone(&self.shared);
        // Disks take their time.
        let written = tokio::task::spawn_blocking(move || shared.outputs.finish());
        let _ = written.await;
    }
}
