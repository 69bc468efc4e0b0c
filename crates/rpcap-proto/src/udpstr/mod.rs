//! udpstr: ExtraHop's framing for packets by UDP.
//!
//! Small packets share a datagram and large ones are split, so that no datagram is longer than the
//! path takes. `docs/protocol.md`, "udpstr", has the format.
//!
//! * [`Packer`]: packets into a [`Batch`](crate::batch::Batch) of datagrams.
//! * [`Unpacker`]: datagrams into packets, whatever the network lost, doubled or reordered.
//!
//! Neither allocates per packet, neither knows a socket or a clock.

mod assembler;
mod counts;
mod header;
mod history;
mod pack;
mod unpack;

pub use self::counts::Counts;
pub use self::header::{DATAGRAM_HEADER_LEN, DatagramHeader, TYPE};
pub use self::pack::{BATCH, InvalidMtu, MTU_MAX, MTU_MIN, Packer};
pub use self::unpack::{DATAGRAM_MAX, Unpacker, WINDOW};
