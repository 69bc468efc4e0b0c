//! One capture as those see it who receive its packets.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::{Mutex, OnceLock};

use rpcap_proto::sealed::{Cipher, Opener, Secret};
use rpcap_proto::wire::PacketHeader;

use crate::data::Gauge;
use crate::locked::lock;
use crate::output::{Outlet, Route};
use crate::sink::Sink;

/// A capture whose packets are to be received.
#[derive(Debug)]
pub struct Flow {
    /// The stream's number.
    pub stream: u32,
    /// Most bytes of a packet.
    pub snaplen: u32,
    /// The agent's address, in its own family.
    pub agent: IpAddr,
    /// Where the packets go.
    pub route: Route,
    /// What came so far.
    pub gauge: Gauge,
    source: OnceLock<SocketAddr>,
    /// What its datagrams are sealed with, if they are.
    seal: Mutex<Option<(Secret, Cipher)>>,
}

impl Flow {
    /// A capture of an agent at this address.
    pub fn new(stream: u32, snaplen: u32, agent: IpAddr, route: Route) -> Self {
        Self {
            stream,
            snaplen,
            agent: agent.to_canonical(),
            route,
            gauge: Gauge::default(),
            source: OnceLock::new(),
            seal: Mutex::new(None),
        }
    }

    /// Says what its datagrams are sealed with, before any can come.
    pub fn set_seal(&self, seal: (Secret, Cipher)) {
        *lock(&self.seal) = Some(seal);
    }

    /// What opens its datagrams, if they are sealed.
    pub fn opener(&self) -> Option<Opener> {
        lock(&self.seal).clone().map(|(secret, cipher)| Opener::new(secret, cipher))
    }

    /// Where its datagrams come from, once that is known.
    pub fn source(&self) -> Option<SocketAddr> {
        self.source.get().copied()
    }

    /// Says where its datagrams come from; `false` if another place was said before.
    pub fn set_source(&self, source: SocketAddr) -> bool {
        *self.source.get_or_init(|| source) == source
    }
}

/// The way of a stream's packets into an outlet.
#[derive(Debug)]
pub struct Inflow<'a> {
    /// Whose they are.
    pub stream: u32,
    /// Where they go.
    pub outlet: &'a mut Outlet,
}

impl Sink for Inflow<'_> {
    #[inline]
    fn packet(&mut self, header: &PacketHeader, data: &[u8]) -> ControlFlow<()> {
        self.outlet.push(self.stream, header, data);
        ControlFlow::Continue(())
    }
}
