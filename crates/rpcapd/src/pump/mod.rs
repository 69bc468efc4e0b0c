//! The hot loop: packets from the kernel's ring, framed into batches, given to a transport.
//!
//! One thread for each capture, or two. Per packet there is no allocation, no lock, no system call
//! and no log line; per block there is one publication of the counts and, for TCP, one write. Where
//! limits are set they decide with numbers that were fetched for the block.

mod data;
mod running;

pub use data::{DataError, DataOptions, DataPath};
pub use running::{Event, Gauge, Plan, Running};

use std::time::Duration;

use capture::{Block, Capture, Error, Packet};
use rpcap_proto::wire::{Checksum, Fraction, PacketHeader};

use crate::ledger::{Counters, Taken};
use crate::limits::{Admit, Gate, Open};
use crate::sampler::Sampler;
use crate::transport::{Framer, Sink};

/// One capture's way from the ring to the client.
struct Pump<'a, F> {
    capture: &'a mut Capture,
    counters: &'a Counters,
    /// The limits, if there are any.
    gate: Option<Gate>,
    taken: Taken,
    forwarder: Forwarder<F>,
}

/// A packet's way from its block to the data connection.
struct Forwarder<F> {
    framer: F,
    sink: Box<dyn Sink>,
    sampler: Sampler,
    time: Time,
    npkt: u32,
}

/// The form of packets' times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// As every client knows it.
    Micros,
    /// For clients that asked for it: with what is known of the checksum.
    Nanos,
}

#[inline(always)]
fn in_micros(packet: &Packet<'_>) -> Fraction {
    Fraction::micros(packet.ts.nanos / 1000)
}

#[inline(always)]
fn in_nanos(packet: &Packet<'_>) -> Fraction {
    let checksum = match packet.checksum {
        capture::Checksum::Unknown => Checksum::Unknown,
        capture::Checksum::Ready => Checksum::Ready,
        capture::Checksum::NotReady => Checksum::NotReady,
    };
    Fraction::nanos(packet.ts.nanos, checksum)
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

impl<F: Framer> Forwarder<F> {
    /// Gives on what was framed.
    fn hand_over(&mut self) {
        self.sink.send(self.framer.batch());
        self.framer.limit(self.sink.datagram_limit());
    }

    /// Frames those packets of a block that are to be sent.
    #[inline]
    fn take(&mut self, block: &mut Block<'_>, gate: &mut impl Admit, taken: &mut Taken) {
        // Asked once for the block: there are instructions for each.
        match self.time {
            Time::Micros => self.take_stamped(block, gate, taken, in_micros),
            Time::Nanos => self.take_stamped(block, gate, taken, in_nanos),
        }
    }

    #[inline(always)]
    fn take_stamped(
        &mut self,
        block: &mut Block<'_>,
        gate: &mut impl Admit,
        taken: &mut Taken,
        fraction: impl Fn(&Packet<'_>) -> Fraction,
    ) {
        for packet in block.packets() {
            taken.captured += 1;
            let at = Duration::new(packet.ts.secs.into(), packet.ts.nanos);
            if !self.sampler.keeps(at) {
                taken.sampled += 1;
                continue;
            }
            if self.framer.is_full(packet.data.len()) {
                self.hand_over();
            }
            let cost = || self.framer.cost(packet.data.len());
            if !gate.admits(&packet, cost, &mut taken.withheld) {
                continue;
            }
            self.npkt = self.npkt.wrapping_add(1);
            let header = PacketHeader {
                secs: packet.ts.secs,
                fraction: fraction(&packet),
                caplen: packet.data.len() as u32,
                len: packet.len,
                npkt: self.npkt,
            };
            self.framer.push(header, packet.data, taken);
        }
    }
}

/// The same within limits, of which nothing stays taken when the block is done.
fn take_within<F: Framer>(
    forwarder: &mut Forwarder<F>,
    block: &mut Block<'_>,
    gate: &mut Gate,
    taken: &mut Taken,
) {
    if gate.begin() {
        forwarder.take(block, gate, taken);
        gate.end();
    } else {
        // They go back to the kernel unread.
        taken.captured += u64::from(block.left());
        taken.withheld.cpu += u64::from(block.left());
    }
}

impl<F: Framer> Pump<'_, F> {
    /// Forwards packets until the capture is stopped or something fails.
    fn run(mut self) -> Ended {
        let mut ended = Ended::Stopped;
        let control = self.capture.control();
        self.forwarder.framer.limit(self.forwarder.sink.datagram_limit());
        loop {
            let patience = self.gate.as_ref().and_then(Gate::patience);
            let mut block = match self.capture.next(patience) {
                Ok(capture::Event::Block(block)) => block,
                Ok(capture::Event::Ended) => break,
                Ok(_) => {
                    if let Some(gate) = &mut self.gate {
                        gate.begin();
                    }
                    continue;
                }
                // What comes until it is stopped belongs in the ledger too.
                Err(e) if matches!(ended, Ended::Stopped) => {
                    ended = Ended::Device(e);
                    control.stop();
                    continue;
                }
                Err(_) => break,
            };
            match &mut self.gate {
                None => self.forwarder.take(&mut block, &mut Open, &mut self.taken),
                Some(gate) => take_within(&mut self.forwarder, &mut block, gate, &mut self.taken),
            }
            // The kernel gets the block back before anything waits for the peer.
            drop(block);
            self.counters.publish_taken(&self.taken);
            self.forwarder.hand_over();
            if let (Some(failure), Ended::Stopped) = (self.forwarder.sink.failure(), &ended) {
                // What the ring still holds is counted as not sent, then the loop ends.
                ended = Ended::Transport(failure);
                control.stop();
            }
        }
        self.forwarder.sink.finish();
        ended
    }
}
