//! Batches of packets on their way to the client.
//!
//! A transport gathers what the pump gives it and sends a batch in one system call. It says how
//! much went and why the rest did not, in the pump's own counts.

pub mod datagram;
pub mod stream;

use rpcap_proto::wire::PacketHeader;

use crate::ledger::Counts;

/// Where the pump's packets go.
pub trait Transport {
    /// Takes a packet; sends what was gathered before it if there is no room. Does not allocate.
    fn push(&mut self, header: PacketHeader, data: &[u8], counts: &mut Counts);

    /// Sends what was gathered.
    fn flush(&mut self, counts: &mut Counts);

    /// Why nothing can be sent any more, if that is so.
    fn failure(&self) -> Option<&std::io::Error>;

    /// Tells the client that no more will come.
    fn finish(&mut self) {}
}
