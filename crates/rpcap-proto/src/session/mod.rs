//! The two ends of a control connection as state machines.
//!
//! Neither reads a clock or a socket. Bytes that came and the time (since any fixed moment) go in;
//! bytes to send, things to do and the next deadline come out. One request is in work at a time,
//! as the protocol has it.

mod action;
mod client;
mod daemon;
mod open;
mod start;

pub use action::{Action, Config, EndReason, Next, Note, Timers};
pub use client::{ClientError, ClientSession, Event, Request};
pub use daemon::{DaemonSession, MAX_REQUEST_PAYLOAD};
pub use start::{DataChannel, Direction, Start};
