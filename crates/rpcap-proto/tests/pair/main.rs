//! The two sessions joined by a wire in memory and a clock that the tests move.

mod flows;
mod model;
#[path = "../support/mod.rs"]
mod support;
mod timers;
mod wire;
