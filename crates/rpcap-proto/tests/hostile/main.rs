//! Bytes that no well-meaning peer sends, and the answer to each.
//!
//! Every test is named after the number of its input in the project's list of them, which the
//! tests of the programs use too: what a socket adds is theirs to show.

mod auth;
mod header;
mod open;
mod others;
mod peer;
mod server;
mod start;
#[path = "../support/mod.rs"]
mod support;
