//! What the end-to-end tests stand on: networks of their own, programs under guard, packets to
//! send, savefiles to compare, and a client that says exactly what a test wants said.
//!
//! A test starts with a [`Lab`]. Where it cannot run (not root, a program is missing) it says so
//! loudly and passes; with `RPCAP_REQUIRE_ALL=1` it fails instead.
//!
//! ```text
//!   namespace a                     namespace b
//!   ┌────────────┐                  ┌──────────────────────────────┐
//!   │ Source ─ a0│──── veth pair ───│b0 ─ rpcapd ── lo ── clients  │
//!   └────────────┘                  └──────────────────────────────┘
//! ```
//!
//! Packets come from `a0` and are captured on `b0`; clients reach the daemon over `lo`, so that a
//! capture on `b0` does not see its own data connection.

use std::time::{Duration, Instant};

pub mod agents;
pub mod book;
pub mod browser;
pub mod certs;
pub mod client;
pub mod collector;
pub mod daemon;
pub mod filter;
pub mod frames;
pub mod lab;
pub mod listener;
pub mod net;
pub mod peer;
pub mod process;
pub mod programs;
pub mod relay;
pub mod savefile;
pub mod wine;

pub use agents::Agent;
pub use browser::Browser;
pub use client::{Client, Data, Refusal, Start};
pub use collector::Collector;
pub use daemon::{Daemon, Ledger};
pub use frames::Source;
pub use lab::{Lab, Needs};
pub use listener::Listener;
pub use net::{Namespace, Net};
pub use process::Process;
pub use savefile::Packet;

/// How long anything may take that is bound to happen. Long, because it is only waited for by tests
/// that fail: the machine may be slow and busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds; panics with `what` if it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says that a test cannot run here; where everything is required, that is a failure.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    if std::env::var_os("RPCAP_REQUIRE_ALL").is_some_and(|v| v == "1") {
        panic!("cannot run, and RPCAP_REQUIRE_ALL is set: {why}");
    }
    // Not eprintln!, which the test runner keeps to itself when a test passes.
    let line = format!("SKIPPED: {name}: {why}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}
