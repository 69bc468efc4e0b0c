//! Datagrams of all agents: one port, several threads.

mod line;
mod receiver;
mod switchboard;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

pub use self::receiver::{Counts, Receiver, Sums};
pub use self::switchboard::{Command, Started, Strangers, Switchboard};
use super::flow::Flow;
use crate::data::Received;
use crate::data::datagrams::{Datagrams, Options};
use crate::journal::Journal;
use crate::locked::lock;

/// Captures that may have a port of their own.
const OWN_PORTS: usize = 64;
/// The port that all agents send to, and how it is told whose a datagram is.
///
/// A daemon of this project says in its reply to STARTCAP where its datagrams come from. Of others
/// the first datagram tells, as long as only one capture of its address is not known yet. Further
/// ones of such a host need a port of their own.
#[derive(Debug)]
pub struct Ports {
    receivers: Vec<Receiver>,
    hosts: Mutex<HashMap<IpAddr, Host>>,
    own: Arc<AtomicUsize>,
    journal: Arc<Journal>,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Host {
    /// Captures whose STARTCAP is not answered yet.
    starting: usize,
    /// The capture whose first datagram is waited for.
    learning: Option<Arc<Flow>>,
    /// Of those that are starting, one turned out not to say where its datagrams come from: they
    /// may be taken for another's.
    ambiguous: bool,
}

impl Host {
    fn learns(&self) -> bool {
        self.learning.as_ref().is_some_and(|flow| flow.source().is_none())
    }
}

/// The daemon did not say where its datagrams come from, and they may be taken for another
/// capture's of that address. The capture has to be ended, and needs a port of its own.
#[derive(Debug)]
pub struct Ambiguous;

impl Ports {
    /// Receives on one port by so many threads, where the system can share a port.
    pub fn bind(address: SocketAddr, threads: usize, journal: Arc<Journal>) -> io::Result<Self> {
        let threads = if cfg!(target_os = "linux") { threads.max(1) } else { 1 };
        let options = Options { reuse_port: threads > 1, ..Options::default() };
        if options.reuse_port && address.port() != 0 {
            // Another collector of this user shares its port with whoever wants to: each would get the
            // datagrams of some agents. A socket that shares with nobody finds that out.
            drop(Datagrams::bind(address, &Options::default())?);
        }
        let mut receivers = vec![Receiver::start(address, &options, Arc::clone(&journal))?];
        let address = receivers[0].address();
        for _ in 1..threads {
            receivers.push(Receiver::start(address, &options, Arc::clone(&journal))?);
        }
        Ok(Self { receivers, hosts: Mutex::default(), own: Arc::default(), journal })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.receivers[0].address().port()
    }

    /// The threads.
    pub fn receivers(&self) -> &[Receiver] {
        &self.receivers
    }

    /// What all threads have counted.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        self.receivers.iter().for_each(|r| sums.add(&r.counts));
        sums
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<IpAddr, Host>> {
        lock(&self.hosts)
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        self.receivers.iter().for_each(|r| r.tell(command()));
    }

    /// A capture of `flow` is about to start, with a port of its own if need be. `local` is where
    /// its agent has connected to.
    pub fn reserve(
        self: &Arc<Self>,
        flow: Arc<Flow>,
        mut local: SocketAddr,
        port: Port,
    ) -> io::Result<Reserved> {
        let way = match port {
            Port::Common => {
                self.hosts().entry(flow.agent).or_default().starting += 1;
                self.tell_all(|| Command::Await(flow.agent));
                Way::Starting
            }
            Port::Own => {
                let slot = OwnSlot::take(&self.own)?;
                local.set_port(0);
                let own = Receiver::start(local, &Options::default(), Arc::clone(&self.journal))?;
                own.tell(Command::Learn(Arc::clone(&flow)));
                Way::Own(own, slot)
            }
        };
        Ok(Reserved { ports: Arc::clone(self), flow, way, ended: false })
    }
}

/// Which port a capture's datagrams come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Everybody's.
    Common,
    /// One for itself.
    Own,
}

/// One of the ports that captures may have for themselves.
#[derive(Debug)]
struct OwnSlot(Arc<AtomicUsize>);

impl OwnSlot {
    fn take(count: &Arc<AtomicUsize>) -> io::Result<Self> {
        let slot = Self(Arc::clone(count));
        match count.fetch_add(1, Relaxed) {
            n if n < OWN_PORTS => Ok(slot),
            _ => Err(io::Error::other(format!(
                "{OWN_PORTS} captures have ports of their own, because their daemons do not say \
                 where datagrams come from; use TCP for some"
            ))),
        }
    }
}

impl Drop for OwnSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A capture's way by UDP, until this value ends.
#[derive(Debug)]
pub struct Reserved {
    ports: Arc<Ports>,
    flow: Arc<Flow>,
    way: Way,
    ended: bool,
}

#[derive(Debug)]
enum Way {
    /// The common port; STARTCAP is not answered yet.
    Starting,
    /// The common port.
    Common,
    /// A port of its own.
    Own(Receiver, #[expect(dead_code, reason = "it is what is counted")] OwnSlot),
}

impl Reserved {
    /// The port for STARTCAP.
    pub fn port(&self) -> u16 {
        match &self.way {
            Way::Own(receiver, _) => receiver.address().port(),
            _ => self.ports.port(),
        }
    }

    /// STARTCAP was answered, and perhaps with the port that datagrams come from.
    pub fn started(&mut self, source: Option<SocketAddr>) -> Result<(), Ambiguous> {
        if matches!(self.way, Way::Own(..)) {
            return Ok(());
        }
        match source {
            Some(source) => {
                self.ports.tell_all(|| Command::Bind(source, Arc::clone(&self.flow)));
            }
            None => self.learn()?,
        }
        self.settle(Started::Well);
        Ok(())
    }

    fn learn(&self) -> Result<(), Ambiguous> {
        let mut hosts = self.ports.hosts();
        let host = hosts.entry(self.flow.agent).or_default();
        if host.ambiguous || host.starting > 1 || host.learns() {
            host.ambiguous = true;
            return Err(Ambiguous);
        }
        host.learning = Some(Arc::clone(&self.flow));
        drop(hosts);
        self.ports.tell_all(|| Command::Learn(Arc::clone(&self.flow)));
        Ok(())
    }

    fn settle(&mut self, started: Started) {
        if !matches!(self.way, Way::Starting) {
            return;
        }
        self.way = Way::Common;
        let agent = self.flow.agent;
        if let Some(host) = self.ports.hosts().get_mut(&agent) {
            host.starting = host.starting.saturating_sub(1);
            host.ambiguous &= host.starting > 0;
        }
        self.ports.tell_all(|| Command::Settle(agent, started));
    }

    /// No more comes; what came.
    pub async fn end(mut self) -> Received {
        self.settle(Started::Badly);
        self.forget();
        self.ended = true;
        let receivers = match &self.way {
            Way::Own(receiver, _) => std::slice::from_ref(receiver),
            _ => self.ports.receivers(),
        };
        let mut received = Received::default();
        for receiver in receivers {
            // The system gives all datagrams of one sender to one thread.
            if let Some(r) = receiver.end(&self.flow).await {
                received = r;
            }
        }
        received
    }

    /// Another capture of the address may be told by its first datagram.
    fn forget(&self) {
        let mut hosts = self.ports.hosts();
        let Some(host) = hosts.get_mut(&self.flow.agent) else { return };
        if host.learning.as_ref().is_some_and(|f| Arc::ptr_eq(f, &self.flow)) {
            host.learning = None;
        }
        if host.starting == 0 && host.learning.is_none() {
            hosts.remove(&self.flow.agent);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.settle(Started::Badly);
        self.forget();
        if !self.ended {
            self.ports.tell_all(|| Command::End(Arc::clone(&self.flow)));
        }
    }
}
