//! Where packets go.

use std::ops::ControlFlow;

use rpcap_proto::wire::PacketHeader;

/// Takes packets as they come.
///
/// Called by the thread that receives: what takes long here is felt by the daemon (TCP) or is
/// lost (UDP).
pub trait Sink {
    /// Takes one packet. [`ControlFlow::Break`] means that no more are wanted; those that still
    /// come are counted and dropped.
    fn packet(&mut self, header: &PacketHeader, data: &[u8]) -> ControlFlow<()>;

    /// Nothing more is at hand: whoever waits for what was kept back should get it now.
    fn pause(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&PacketHeader, &[u8]) -> ControlFlow<()>> Sink for F {
    fn packet(&mut self, header: &PacketHeader, data: &[u8]) -> ControlFlow<()> {
        self(header, data)
    }
}
