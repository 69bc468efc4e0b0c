//! Which interface of which agent is captured by which session.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::stream::{Key, Phase, Stream};

use crate::locked::lock;

/// Streams whose agents have gone that are remembered, for each that may be there.
const REMEMBERED: usize = 4;

/// How long a session that was found dead may take to leave its stream.
const LEAVING: Duration = Duration::from_secs(15);

/// A question to a session whether its agent is still there; it answers if it is.
pub type Probe = oneshot::Sender<()>;

/// All streams.
#[derive(Debug)]
pub struct Registry {
    state: Mutex<State>,
    released: Notify,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<Key, Entry>,
    labels: HashSet<String>,
    /// Agents that nothing is captured from, and why.
    waiting: BTreeMap<SocketAddr, String>,
    next: u32,
    forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    stream: Arc<Stream>,
    /// The session that has it.
    owner: Option<mpsc::Sender<Probe>>,
}

/// A stream that belongs to a session until this value ends.
#[derive(Debug)]
pub struct Claim {
    registry: Arc<Registry>,
    /// The stream.
    pub stream: Arc<Stream>,
    /// Questions of others who want it.
    pub probes: mpsc::Receiver<Probe>,
}

impl Registry {
    /// For so many sessions at a time.
    pub fn new(sessions: usize) -> Self {
        let limit = sessions.saturating_mul(REMEMBERED);
        Self { state: Mutex::default(), released: Notify::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The streams, in the order of their agents' addresses.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.lock().streams.values().map(|e| Arc::clone(&e.stream)).collect()
    }

    /// The stream of this number.
    pub fn stream(&self, id: u32) -> Option<Arc<Stream>> {
        let state = self.lock();
        state.streams.values().find(|e| e.stream.id == id).map(|e| Arc::clone(&e.stream))
    }

    /// Agents that nothing is captured from, and why.
    pub fn waiting(&self) -> Vec<(SocketAddr, String)> {
        self.lock().waiting.iter().map(|(a, reason)| (*a, reason.clone())).collect()
    }

    /// Streams that were forgotten, because too many agents came and went.
    pub fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    /// Notes why nothing is captured from an agent, or that this is over.
    pub fn set_waiting(&self, peer: SocketAddr, reason: Option<String>) {
        let mut state = self.lock();
        match reason {
            Some(reason) => drop(state.waiting.insert(peer, reason)),
            None => drop(state.waiting.remove(&peer)),
        }
    }

    /// Takes the first of an agent's interfaces that no other session captures.
    ///
    /// A session that has one is asked whether its agent is still there: an agent that lost its
    /// connection comes back for the same interface. If all are taken by agents that are there,
    /// several hosts come from one address, and the first interface is another host's.
    pub async fn claim(
        self: &Arc<Self>,
        peer: SocketAddr,
        host: &str,
        interfaces: &[&str],
    ) -> Option<Claim> {
        let agent = peer.ip().to_canonical();
        let key =
            |interface: &str, ordinal| Key { agent, interface: interface.to_owned(), ordinal };
        for interface in interfaces {
            let key = key(interface, 0);
            if let Some(claim) = self.take(&key, host, peer) {
                return Some(claim);
            }
            if !self.is_alive(&key).await
                && let Some(claim) = self.take_when_left(&key, host, peer).await
            {
                return Some(claim);
            }
        }
        let first = interfaces.first()?;
        // Other hosts behind this address may lose their connections too.
        for ordinal in 1.. {
            let key = key(first, ordinal);
            if let Some(claim) = self.take(&key, host, peer) {
                return Some(claim);
            }
        }
        None
    }

    /// Takes a stream if no session has it.
    fn take(self: &Arc<Self>, key: &Key, host: &str, peer: SocketAddr) -> Option<Claim> {
        let mut state = self.lock();
        if state.streams.get(key).is_some_and(|e| e.owner.is_some()) {
            return None;
        }
        if !state.streams.contains_key(key) {
            self.make_room(&mut state);
            state.next += 1;
            let mut stream = Stream::new(state.next, key.clone(), host.to_owned(), peer);
            while !state.labels.insert(stream.label.clone()) {
                // Two addresses of one host, for example.
                stream.label = format!("{}_{}", stream.label, stream.id);
            }
            let entry = Entry { stream: Arc::new(stream), owner: None };
            state.streams.insert(key.clone(), entry);
        }
        let entry = state.streams.get_mut(key)?;
        let (probe, probes) = mpsc::channel(4);
        entry.owner = Some(probe);
        entry.stream.live().peer = peer;
        let stream = Arc::clone(&entry.stream);
        Some(Claim { registry: Arc::clone(self), stream, probes })
    }

    /// Forgets the stream that its agent left longest ago, if there are too many.
    fn make_room(&self, state: &mut State) {
        if state.streams.len() < self.limit {
            return;
        }
        // What an operator has said is not forgotten.
        let left = state.streams.iter();
        let left = left.filter(|(_, e)| e.owner.is_none() && !e.stream.is_stopped());
        let oldest = left.min_by_key(|(_, e)| e.stream.live().since).map(|(key, _)| key.clone());
        if let Some(entry) = oldest.and_then(|key| state.streams.remove(&key)) {
            state.labels.remove(&entry.stream.label);
            state.forgotten += 1;
        }
    }

    async fn is_alive(&self, key: &Key) -> bool {
        let owner = self.lock().streams.get(key).and_then(|e| e.owner.clone());
        let Some(owner) = owner else { return false };
        let (probe, answer) = oneshot::channel();
        owner.send(probe).await.is_ok() && answer.await.is_ok()
    }

    async fn take_when_left(
        self: &Arc<Self>,
        key: &Key,
        host: &str,
        peer: SocketAddr,
    ) -> Option<Claim> {
        let taken = async {
            loop {
                let released = self.released.notified();
                tokio::pin!(released);
                // From now on nothing is missed.
                released.as_mut().enable();
                if let Some(claim) = self.take(key, host, peer) {
                    return claim;
                }
                released.await;
            }
        };
        tokio::time::timeout(LEAVING, taken).await.ok()
    }

    /// For tests and the end: whether no session has a stream.
    pub fn is_idle(&self) -> bool {
        self.lock().streams.values().all(|e| e.owner.is_none())
    }
}

impl Claim {
    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.stream.key.interface
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.stream.enter(Phase::Gone, "");
        if let Some(entry) = self.registry.lock().streams.get_mut(&self.stream.key) {
            entry.owner = None;
        }
        self.registry.released.notify_waiters();
    }
}

/// The address of an agent, by which several of its sessions are one.
pub fn address(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Arc<Registry> {
        Arc::new(Registry::new(4))
    }

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// A session that answers as long as its agent is there.
    fn session(mut claim: Claim, alive: bool) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(probe) = claim.probes.recv().await {
                if !alive {
                    // As a session does whose agent does not answer.
                    return;
                }
                let _ = probe.send(());
            }
        })
    }

    #[tokio::test]
    async fn each_connection_has_an_interface_of_its_own() {
        let registry = registry();
        let names = ["eth0", "eth1"];
        let mut sessions = Vec::new();
        for (port, expected) in [(1, "eth0"), (2, "eth1"), (3, "eth0")] {
            let claim = registry.claim(peer(port), "host", &names).await.unwrap();
            assert_eq!(claim.interface(), expected);
            sessions.push(session(claim, true));
        }
        let third = &registry.streams()[1];
        assert_eq!((third.key.ordinal, third.label.as_str()), (1, "host_eth0_2"));
        sessions.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn an_agent_that_lost_its_connection_goes_on_with_its_interface() {
        let registry = registry();
        let names = ["eth0", "eth1"];
        let first = registry.claim(peer(1), "host", &names).await.unwrap();
        let id = first.stream.id;
        session(first, false);
        let again = registry.claim(peer(2), "host", &names).await.unwrap();
        assert_eq!((again.interface(), again.stream.id), ("eth0", id));
        assert_eq!(again.stream.live().peer, peer(2));
    }

    #[tokio::test]
    async fn agents_that_come_and_go_are_forgotten() {
        let registry = registry();
        for n in 0..40 {
            let peer = SocketAddr::from(([192, 0, 2, n], 1));
            registry.claim(peer, "host", &["eth0"]).await.unwrap();
        }
        assert_eq!((registry.streams().len(), registry.forgotten()), (16, 24));
        let labels: HashSet<_> = registry.streams().iter().map(|s| s.label.clone()).collect();
        assert_eq!(labels.len(), 16);
    }
}
