//! Puts packets in order that come a little out of order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::file::copy::{Copied, CopyError, Target};
use crate::file::read::{Interface, Statistics};

/// Most bytes of packets and statistics that are held.
const BYTES: usize = 64 << 20;
/// Bytes that a packet or statistics are counted as besides their own.
const BESIDES: usize = 128;
/// Memory of a packet that is kept for the next one.
const KEPT: usize = 4096;

/// Holds packets until none is expected any more that belongs before them.
#[derive(Debug)]
pub(super) struct Window {
    /// How late a packet may come, in nanoseconds.
    length: u64,
    /// By time, then as they came.
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    held: Vec<Held>,
    free: Vec<usize>,
    bytes: usize,
    /// Packets that may still be given out, and those that were.
    left: u64,
    passed: u64,
    came: u64,
    newest: u64,
    /// The latest time that was given out.
    given: u64,
    late: u64,
}

#[derive(Debug, Default)]
struct Held {
    interface: u32,
    len: u32,
    /// The packet, and behind it its options.
    bytes: Vec<u8>,
    data: usize,
    big_endian: bool,
    /// What is held instead of a packet.
    statistics: Option<Box<Statistics>>,
}

impl Held {
    /// Bytes that it is counted as.
    fn cost(&self) -> usize {
        let statistics = self.statistics.as_ref().map_or(0, |s| s.memory());
        self.bytes.len() + statistics + BESIDES
    }
}

impl Window {
    /// A window of so many nanoseconds, through which so many packets pass.
    pub(super) fn new(length: u64, count: u64) -> Self {
        Self {
            length,
            order: BinaryHeap::new(),
            held: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            left: count,
            passed: 0,
            came: 0,
            newest: 0,
            given: 0,
            late: 0,
        }
    }

    /// Packets that came too late to be put in order.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Packets that were given out.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether no more are wanted.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Takes a packet, and gives out those that it was the last to be waited for.
    pub(super) fn push(
        &mut self,
        interface: u32,
        packet: &Copied<'_>,
        target: &mut dyn Target,
    ) -> Result<(), CopyError> {
        self.newest = self.newest.max(packet.time);
        let held = self.hold(packet.time);
        (held.interface, held.len, held.data) = (interface, packet.len, packet.data.len());
        held.big_endian = packet.options.1;
        held.bytes.extend(packet.data);
        held.bytes.extend(packet.options.0);
        self.bytes += held.cost();
        self.give_out(target)
    }

    /// Takes statistics, behind the packets that came before them.
    fn push_statistics(
        &mut self,
        interface: u32,
        statistics: &Statistics,
        target: &mut dyn Target,
    ) -> Result<(), CopyError> {
        let held = self.hold(self.newest);
        held.interface = interface;
        held.statistics = Some(Box::new(statistics.clone()));
        self.bytes += held.cost();
        self.give_out(target)
    }

    /// Gives out what is no longer waited with.
    fn give_out(&mut self, target: &mut dyn Target) -> Result<(), CopyError> {
        while let Some(Reverse((time, ..))) = self.order.peek()
            && (time.saturating_add(self.length) <= self.newest || self.bytes > BYTES)
        {
            self.pop(target)?;
        }
        Ok(())
    }

    /// Room for what belongs at this time.
    fn hold(&mut self, time: u64) -> &mut Held {
        let at = self.free.pop().unwrap_or(self.held.len());
        if at >= self.held.len() {
            self.held.resize_with(at + 1, Held::default);
        }
        self.came += 1;
        self.order.push(Reverse((time, self.came, at)));
        &mut self.held[at]
    }

    /// Gives out all that is held.
    pub(super) fn drain(&mut self, target: &mut dyn Target) -> Result<(), CopyError> {
        while !self.order.is_empty() {
            self.pop(target)?;
        }
        Ok(())
    }

    /// Gives out what is earliest.
    fn pop(&mut self, target: &mut dyn Target) -> Result<(), CopyError> {
        let Some(Reverse((time, _, at))) = self.order.pop() else {
            return Ok(());
        };
        let Some(held) = self.held.get_mut(at) else {
            return Ok(());
        };
        self.bytes -= held.cost();
        self.free.push(at);
        if let Some(statistics) = held.statistics.take() {
            return target.statistics(held.interface, &statistics);
        }
        self.late += u64::from(time < self.given && self.left > 0);
        self.given = self.given.max(time);
        let (data, options) = held.bytes.split_at(held.data);
        let packet = Copied { time, len: held.len, data, options: (options, held.big_endian) };
        let result = match self.left {
            0 => Ok(()),
            _ => target.packet(held.interface, &packet),
        };
        self.passed += u64::from(self.left > 0);
        self.left = self.left.saturating_sub(1);
        held.bytes.clear();
        if held.bytes.capacity() > KEPT {
            held.bytes = Vec::new();
        }
        result
    }
}

/// A target behind a window, for what is no packet: statistics stay behind the packets that came before them.
pub(super) struct Behind<'a> {
    pub(super) window: &'a mut Window,
    pub(super) target: &'a mut dyn Target,
}

impl Target for Behind<'_> {
    fn interface(&mut self, interface: &Interface) -> Result<u32, CopyError> {
        self.target.interface(interface)
    }

    fn packet(&mut self, interface: u32, packet: &Copied<'_>) -> Result<(), CopyError> {
        self.window.push(interface, packet, self.target)
    }

    fn statistics(&mut self, interface: u32, statistics: &Statistics) -> Result<(), CopyError> {
        self.window.push_statistics(interface, statistics, self.target)
    }

    fn finish(&mut self) -> Result<(), CopyError> {
        self.window.drain(self.target)
    }
}
