//! udpstr both ways: against what another daemon sent, an independent decoder, and a network that
//! loses, doubles and reorders. Tests are named after the rows of the project's list of bad inputs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod frames;
mod hostile;
mod model;
mod network;
mod order;
mod pack;
mod runs;
