//! The hot loop: packets from the kernel's ring, framed into batches, given to a transport.
//!
//! One thread for each capture. Per packet there is no allocation, no lock, no system call and no
//! log line; per block there is one publication of the counts and, for TCP, one write.

mod data;
mod running;

pub use data::{DataError, DataPath};
pub use running::{Event, Running};

use std::time::Duration;

use capture::{Capture, Error};
use rpcap_proto::wire::PacketHeader;

use crate::ledger::{Counters, Counts};
use crate::sampler::Sampler;
use crate::transport::Transport;

/// One capture's way from the ring to the client.
struct Pump<'a, T> {
    capture: &'a mut Capture,
    transport: T,
    sampler: Sampler,
    counters: &'a Counters,
    counts: Counts,
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

impl<T: Transport> Pump<'_, T> {
    /// Forwards packets until the capture is stopped or something fails.
    fn run(mut self) -> Ended {
        let mut ended = Ended::Stopped;
        let control = self.capture.control();
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
                self.counts.captured += 1;
                let at = Duration::new(packet.ts.secs.into(), packet.ts.nanos);
                if !self.sampler.keeps(at) {
                    self.counts.sampled += 1;
                    continue;
                }
                self.npkt = self.npkt.wrapping_add(1);
                let header = PacketHeader {
                    secs: packet.ts.secs,
                    micros: packet.ts.nanos / 1000,
                    caplen: packet.data.len() as u32,
                    len: packet.len,
                    npkt: self.npkt,
                };
                self.transport.push(header, packet.data, &mut self.counts);
            }
            // The kernel gets the block back before anything waits for the peer.
            drop(block);
            self.transport.flush(&mut self.counts);
            self.counters.publish(&self.counts);
            if let (Some(failure), Ended::Stopped) = (self.transport.failure(), &ended) {
                // What the ring still holds is counted as not sent, then the loop ends.
                ended = Ended::Transport(std::io::Error::new(failure.kind(), failure.to_string()));
                control.stop();
            }
        }
        self.transport.finish();
        ended
    }
}
