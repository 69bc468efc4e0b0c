//! The hot loop: packets from the kernel's ring, framed into batches, given to a transport.
//!
//! One thread for each capture, or two. Per packet there is no allocation, no lock, no system call
//! and no log line; per block there is one publication of the counts and, for TCP, one write.

mod data;
mod running;

pub use data::{DataError, DataOptions, DataPath};
pub use running::{Event, Gauge, Plan, Running};

use std::time::Duration;

use capture::{Capture, Error};
use rpcap_proto::wire::PacketHeader;

use crate::ledger::{Counters, Taken};
use crate::sampler::Sampler;
use crate::transport::{Framer, Sink};

/// One capture's way from the ring to the client.
struct Pump<'a, F> {
    capture: &'a mut Capture,
    framer: F,
    sink: Box<dyn Sink>,
    sampler: Sampler,
    counters: &'a Counters,
    taken: Taken,
    npkt: u32,
}

/// How a capture came to its end.
enum Ended {
    /// It was stopped.
    Stopped,
    /// The data connection failed.
    Transport(std::io::Error),
    /// The device failed.
    Device(Error),
}

/// Gives on what was framed.
fn hand_over<F: Framer>(framer: &mut F, sink: &mut dyn Sink) {
    sink.send(framer.batch());
    framer.limit(sink.datagram_limit());
}

impl<F: Framer> Pump<'_, F> {
    /// Forwards packets until the capture is stopped or something fails.
    fn run(mut self) -> Ended {
        let mut ended = Ended::Stopped;
        let control = self.capture.control();
        self.framer.limit(self.sink.datagram_limit());
        loop {
            let mut block = match self.capture.next(None) {
                Ok(capture::Event::Block(block)) => block,
                Ok(capture::Event::Ended) => break,
                Ok(_) => continue,
                // What comes until it is stopped belongs in the ledger too.
                Err(e) if matches!(ended, Ended::Stopped) => {
                    ended = Ended::Device(e);
                    control.stop();
                    continue;
                }
                Err(_) => break,
            };
            for packet in block.packets() {
                self.taken.captured += 1;
                let at = Duration::new(packet.ts.secs.into(), packet.ts.nanos);
                if !self.sampler.keeps(at) {
                    self.taken.sampled += 1;
                    continue;
                }
                if self.framer.is_full(packet.data.len()) {
                    hand_over(&mut self.framer, self.sink.as_mut());
                }
                self.npkt = self.npkt.wrapping_add(1);
                let header = PacketHeader {
                    secs: packet.ts.secs,
                    micros: packet.ts.nanos / 1000,
                    caplen: packet.data.len() as u32,
                    len: packet.len,
                    npkt: self.npkt,
                };
                self.framer.push(header, packet.data, &mut self.taken);
            }
            // The kernel gets the block back before anything waits for the peer.
            drop(block);
            self.counters.publish_taken(&self.taken);
            hand_over(&mut self.framer, self.sink.as_mut());
            if let (Some(failure), Ended::Stopped) = (self.sink.failure(), &ended) {
                // What the ring still holds is counted as not sent, then the loop ends.
                ended = Ended::Transport(failure);
                control.stop();
            }
        }
        self.sink.finish();
        ended
    }
}
