//! What the fuzz targets do with their input, as plain functions.
//!
//! Nothing here knows of libFuzzer: `crates/rpcap-proto/tests/corpus.rs` takes these files in as a
//! module and runs the inputs that are kept through the same functions, on every test run.
//!
//! An input is read from the front by [`input::Input`], so that one can be written by hand: the
//! layout is told at each target.
#![forbid(unsafe_code)]

mod client;
mod daemon;
mod filter;
mod input;
mod stream;
mod udpstr;

pub use client::client_session;
pub use daemon::daemon_session;
pub use filter::filter;
pub use stream::{deframer, devices, packet};
pub use udpstr::udpstr_unpack;

/// The name of a binary and its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 7] = [
    ("client_session", client_session),
    ("daemon_session", daemon_session),
    ("deframer", deframer),
    ("devices", devices),
    ("filter", filter),
    ("packet", packet),
    ("udpstr_unpack", udpstr_unpack),
];
