//! The host comes first: what the daemon may take of it, and how that is kept.
//!
//! [`captures`] refuses a capture beforehand. [`rate`] and [`cpu`] leave packets out of captures that
//! run; a [`Gate`] asks them for one capture, once a block, and for each packet only compares
//! numbers of its own. What is left out is counted as withheld.

pub mod captures;
pub mod cpu;
pub mod flow;
mod gate;
pub mod rate;

use std::sync::Arc;

pub use self::gate::{Admit, Gate, Open};
use crate::cli::Cli;
use captures::Captures;
use cpu::Budget;
use rate::Bucket;

/// The limits to all captures of the daemon together.
#[derive(Debug)]
pub struct Limits {
    /// How many there are, and their memory.
    pub captures: Arc<Captures>,
    /// What goes on the wire.
    pub rate: Option<Arc<Bucket>>,
    /// CPU time.
    pub cpu: Option<Arc<Budget>>,
}

impl Limits {
    /// As the operator says. `--max-captures` and `--max-memory` are asked for at each capture.
    pub fn new(cli: &Cli) -> Self {
        Self {
            captures: Arc::default(),
            rate: cli.max_rate.map(|rate| Arc::new(Bucket::new(rate))),
            cpu: cli.max_cpu.map(|share| Arc::new(Budget::new(share))),
        }
    }
}
