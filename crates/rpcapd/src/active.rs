//! Active mode: calls collectors, each on a thread of its own, for as long as they are wanted.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use rpcap_proto::session::EndReason;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::auth::Rights;
use crate::cli::Cli;
use crate::control::Control;
use crate::locked::lock;
use crate::own::{Flow, Hidden, Transport};
use crate::peers::Peer;
use crate::session::{self, End, Shared};
use crate::sessions::Ending;
use crate::settings::Terms;
use crate::transport::bind_device;

/// How long a collector may take to accept the connection, for each of its addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause between two calls, and the longest.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The collectors that are called.
#[derive(Debug, Default)]
pub struct Callers(Mutex<Vec<Caller>>);

#[derive(Debug)]
struct Caller {
    call: Arc<Call>,
    thread: JoinHandle<()>,
}

/// What others can know of the calls to one collector.
#[derive(Debug)]
pub struct Call {
    /// Whom.
    pub peer: Arc<Peer>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    wanted: bool,
    stage: Stage,
    since: SystemTime,
    reason: Option<String>,
}

/// How the calls to a collector are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far they are.
    pub stage: Stage,
    /// Since when.
    pub since: SystemTime,
    /// Why the last call that is over came to nothing, or its session ended.
    pub reason: Option<String>,
}

/// How far the calls to a collector are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The connection is being made.
    Connecting,
    /// A session runs.
    Session,
    /// The last call came to nothing; the next one follows.
    Waiting,
    /// The collector wants no more calls.
    Dismissed,
}

impl State {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = SystemTime::now();
    }
}

impl Callers {
    /// Calls these collectors and no others. Calls to those who were called before go on; those who
    /// dismissed the daemon are called again. Returns how many are new and how many were dropped.
    pub fn set(&self, peers: &[Arc<Peer>], shared: &Arc<Shared>) -> io::Result<(usize, usize)> {
        let mut callers = lock(&self.0);
        let mut dropped = 0;
        callers.retain(|c| {
            let wanted = peers.contains(&c.call.peer);
            if !wanted {
                tracing::info!(collector = %c.call.peer, "called no more");
                c.call.end(shared);
                dropped += 1;
            }
            wanted && !c.thread.is_finished() && c.call.progress().stage != Stage::Dismissed
        });
        let mut new = 0;
        for peer in peers {
            if !callers.iter().any(|c| c.call.peer == *peer) {
                callers.push(Caller::start(Arc::clone(peer), Arc::clone(shared))?);
                new += 1;
            }
        }
        Ok((new, dropped))
    }

    /// How the calls are, in the order of the configuration.
    pub fn list(&self) -> Vec<Arc<Call>> {
        lock(&self.0).iter().map(|c| Arc::clone(&c.call)).collect()
    }

    /// Ends all calls. Sessions are ended by whoever ends them all.
    pub fn end(&self) {
        for caller in &*lock(&self.0) {
            caller.call.unwant();
        }
    }
}

impl Call {
    /// How the calls are.
    pub fn progress(&self) -> Progress {
        let State { stage, since, reason, .. } = &*lock(&self.state);
        Progress { stage: *stage, since: *since, reason: reason.clone() }
    }

    fn enter(&self, stage: Stage) {
        lock(&self.state).enter(stage);
    }

    fn wanted(&self) -> bool {
        lock(&self.state).wanted
    }

    fn unwant(&self) {
        lock(&self.state).wanted = false;
        self.changed.notify_all();
    }

    fn end(&self, shared: &Shared) {
        self.unwant();
        for (_, session) in shared.sessions.list() {
            if session.called.as_ref() == Some(&self.peer) {
                session.end(Ending::Unwanted);
            }
        }
    }

    /// Waits, unless no more calls are wanted.
    fn pause(&self, pause: Duration, reason: String) {
        let mut state = lock(&self.state);
        state.enter(Stage::Waiting);
        state.reason = Some(reason);
        let deadline = Instant::now() + pause;
        while state.wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Caller {
    fn start(peer: Arc<Peer>, shared: Arc<Shared>) -> io::Result<Self> {
        let state = State {
            wanted: true,
            stage: Stage::Connecting,
            since: SystemTime::now(),
            reason: None,
        };
        let call = Arc::new(Call { peer, state: Mutex::new(state), changed: Condvar::new() });
        let thread = thread::Builder::new().name("caller".to_owned()).spawn({
            let call = Arc::clone(&call);
            move || run(&call, &shared)
        })?;
        Ok(Self { call, thread })
    }
}

/// Calls a collector until it, or the operator, wants no more.
fn run(call: &Call, shared: &Arc<Shared>) {
    let peer = &call.peer;
    let mut backoff = Backoff::default();
    let mut said = String::new();
    while call.wanted() {
        call.enter(Stage::Connecting);
        let settings = shared.settings.get();
        let reason = match connect(peer, &settings.cli, shared) {
            Ok((stream, address, _hidden)) => {
                said.clear();
                tracing::info!(collector = %peer, %address, "connected");
                call.enter(Stage::Session);
                match serve(call, stream, address, shared) {
                    Ok((End::Session(EndReason::Closed { authenticated: true }), _))
                        if !shared.settings.get().cli.reconnect_after_close =>
                    {
                        tracing::info!(
                            collector = %peer,
                            "dismissed by the collector: it is called again after a reload or restart"
                        );
                        call.enter(Stage::Dismissed);
                        return;
                    }
                    Ok((end, authenticated)) => {
                        if authenticated {
                            backoff = Backoff::default();
                        }
                        end.to_string()
                    }
                    Err(e) => e.to_string(),
                }
            }
            Err(reason) => {
                // Once, not every half a minute for a year.
                if reason != said {
                    tracing::warn!(collector = %peer, "not reached, trying on: {reason}");
                    said.clone_from(&reason);
                }
                reason
            }
        };
        call.pause(backoff.next(), reason);
    }
}

fn serve(
    call: &Call,
    stream: TcpStream,
    address: SocketAddr,
    shared: &Arc<Shared>,
) -> io::Result<(End, bool)> {
    let control = Control::new(stream, address)?;
    let peer = Some(Arc::clone(&call.peer));
    let place = shared.sessions.enter(address, control.local, peer.clone(), control.waker());
    // It may have been given up when it could not be found yet.
    if !call.wanted() {
        return Ok((End::Unwanted, false));
    }
    // Not those that the call began with: a reload may have come while it waited for the collector.
    let terms = Terms { settings: shared.settings.get(), peer, rights: Rights::default() };
    Ok(session::serve(control, terms, &place.entry, shared))
}

/// Connects to the first address of the collector that takes the connection.
fn connect(
    peer: &Peer,
    cli: &Cli,
    shared: &Shared,
) -> Result<(TcpStream, SocketAddr, Hidden), String> {
    let mut addresses: Vec<SocketAddr> = (peer.host.as_str(), peer.port)
        .to_socket_addrs()
        .map_err(|e| format!("looking up {}: {e}", peer.host.escape_debug()))?
        .collect();
    if cli.ipv4_only {
        addresses.retain(SocketAddr::is_ipv4);
    }
    let bind = peer.bind_device.as_deref().or(cli.bind_device.as_deref());
    let mut reasons = Vec::new();
    for address in addresses {
        match connect_to(address, bind, shared) {
            Ok((stream, hidden)) => return Ok((stream, address, hidden)),
            Err(e) => reasons.push(format!("connecting to {address}: {e}")),
        }
    }
    match reasons.is_empty() {
        true => Err(format!("{} has no IPv4 address, and -4 allows no other", peer.host)),
        false => Err(reasons.join("; ")),
    }
}

fn connect_to(
    address: SocketAddr,
    bind: Option<&str>,
    shared: &Shared,
) -> io::Result<(TcpStream, Hidden)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A socket for datagrams tells which address of ours the way leads from, without a packet: the
    // connection must be kept out of captures before its first one.
    let probe = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if let Some(device) = bind {
        bind_device(&socket, device)?;
        bind_device(&probe, device)?;
    }
    probe.connect(&address.into())?;
    let mut local = UdpSocket::from(probe).local_addr()?;
    local.set_port(0);
    socket.bind(&local.into())?;
    let local = socket.local_addr()?.as_socket().unwrap_or(local);
    let hidden = shared
        .own
        .hide(Flow {
            transport: Transport::Tcp,
            local,
            peer: Some(address.ip()),
            peer_port: Some(address.port()),
        })
        .map_err(io::Error::other)?;
    socket.connect_timeout(&address.into(), CONNECT_TIMEOUT)?;
    Ok((socket.into(), hidden))
}

/// Pauses that double, each up to half as much again, so that a thousand daemons whose collector
/// restarts do not come back at once.
#[derive(Debug, Default)]
struct Backoff {
    calls: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let [first, longest] = PAUSE;
        let pause = first.saturating_mul(1 << self.calls.min(5));
        self.calls += 1;
        pause.mul_f64(1.0 + fastrand::f64() / 2.0).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..100).map(|_| backoff.next()).collect();
        assert!((1.0..=1.5).contains(&pauses[0].as_secs_f64()));
        assert!((4.0..=6.0).contains(&pauses[2].as_secs_f64()));
        assert!(pauses[6..].iter().all(|p| *p == PAUSE[1]));
    }
}
