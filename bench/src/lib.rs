//! What the programs of the benchmark share: workloads, cores, and what they tell each other.
//!
//! How it measures, and what its numbers do and do not contain, is in `README.md` beside it.

pub mod circumstances;
mod workload;

pub use workload::{Workload, number_of, set_number};

use anyhow::Context;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// What the sender says when it is done: one line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Packets that the kernel took.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the first to the last.
    pub seconds: f64,
    /// Packets per second.
    pub rate: f64,
    /// How far behind its schedule it ever was: a rate that is kept on average, but in bursts,
    /// says less.
    pub late_ms: f64,
    /// Batches that the kernel had no room for and that were sent again.
    pub retries: u64,
}

/// What the receiver says when it is done: one line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Drained {
    /// PACKET messages that came.
    pub packets: u64,
    /// Bytes of the packets in them.
    pub bytes: u64,
    /// Packet numbers that were left out.
    pub gaps: u64,
    /// Bytes that carried them, without those of TCP, UDP and IP.
    pub wire_bytes: u64,
    /// Datagrams that carried them.
    pub datagrams: u64,
    /// From the packet's timestamp until it was there, in microseconds: half of the packets took
    /// no longer, 99 of 100, all. Zeros if that was not asked for.
    pub latency_us: [f64; 3],
    /// The number in the last packet, where the sender numbers them.
    pub last_number: u64,
    /// The cipher suite, if packets were encrypted.
    pub suite: Option<String>,
    /// The daemon's counters when everything had come.
    pub stats: DaemonStats,
}

/// A daemon's counters, as it tells them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct DaemonStats {
    /// Passed the filter.
    pub received: u32,
    /// Dropped by the interface.
    pub if_dropped: u32,
    /// Dropped because the ring was full.
    pub kernel_dropped: u32,
    /// Given to the data connection.
    pub sent: u32,
}

/// Keeps the calling thread, and the threads and processes that it starts, on one core.
pub fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("using core {core}"))
}
