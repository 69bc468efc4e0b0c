//! Where packets go: a queue and a thread for each output.

mod batch;
mod destination;
mod files;
mod frames;
mod live;
mod open;
mod plan;
mod queue;
mod stdout;
mod tap;
mod thread;

pub use self::batch::Batch;
pub use self::destination::Destination;
pub use self::files::Files;
pub use self::live::Live;
pub use self::open::open;
pub use self::plan::{OutputPlan, QUEUE};
pub use self::queue::{Account, Begin, Outlet, Queue, Route};
pub use self::stdout::Stdout;
pub use self::tap::{Tapped, Tapping, Taps};
pub use self::thread::{Output, Way};
use crate::file::{Record, Summary};
use crate::journal::Journal;

/// Interfaces that a section of a savefile describes before another begins.
const INTERFACES: usize = 10_000;

/// Whether so many interfaces are enough for a section. As many again as are captured from have room
/// in any case, so that sections do not come one upon the other.
fn is_full(interfaces: usize, streams: usize) -> bool {
    interfaces >= INTERFACES.max(2 * streams)
}

/// The names of a savefile's packets' interfaces, which are also what is in them.
#[cfg(test)]
fn interfaces_of(mut savefile: crate::file::read::Reader) -> Vec<String> {
    let mut names = Vec::new();
    while savefile.advance().unwrap().is_some() {
        if let Some(packet) = savefile.packet() {
            let name = packet.description.name().unwrap();
            assert_eq!(name.as_bytes(), packet.data);
            names.push(name);
        }
    }
    assert_eq!(savefile.truncated(), None);
    names
}

/// What an output does with packets. Called by the output's own thread only.
///
/// It counts every packet that it is given, in the stream's [`Account`], as written or not, at the
/// latest when the stream ends or everything does.
pub trait Drain: Send {
    /// A capture begins. A stream may begin again, which goes on where it was.
    fn begin(&mut self, begin: Begin);
    /// A packet of a stream that has begun.
    fn packet(&mut self, stream: u32, record: &Record<'_>);
    /// What is known of a stream by now.
    fn summary(&mut self, stream: u32, summary: Summary);
    /// A capture is over.
    fn end(&mut self, stream: u32);
    /// Much was written: what is due by the clock is done.
    fn tick(&mut self, journal: &Journal);
    /// Nothing more is at hand: what was kept back is given on.
    fn pause(&mut self, journal: &Journal);
    /// Nothing more comes.
    fn finish(&mut self, journal: &Journal);
}
