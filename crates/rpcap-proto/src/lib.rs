//! RPCAP as pure data.
//!
//! Everything here turns bytes into values, values into bytes, or a message and a time into what
//! must be done about it. There is no socket, no clock, no thread and no log in this crate: the
//! programs own those, and the tests can cut a stream at any byte and move time at will.
//!
//! * [`wire`]: one file per message, read through a [`wire::Reader`] that cannot leave its message.
//! * [`deframe`]: a byte stream into messages, with a bound on what is kept.
//! * [`session`]: the two ends of a control connection as state machines.
//! * [`bpf`]: filter programs, validated, clamped and printed.
//! * [`udpstr`]: packets packed into datagrams and back.
//! * [`sealed`]: such datagrams encrypted and authenticated.
//! * [`prefix`]: networks, as lists of who may do what name them.
//! * [`batch`]: what is sent at a time: datagrams end to end, as `UDP_SEGMENT` wants them.
//!
//! The format itself is told in `docs/protocol.md`.

pub mod batch;
pub mod bpf;
pub mod deframe;
pub mod prefix;
pub mod sealed;
pub mod session;
pub mod udpstr;
pub mod wire;
