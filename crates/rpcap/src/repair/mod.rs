//! Packets as the wire has them, of packets as a host with offloads sees them.
//!
//! A host leaves work to its network card: checksums of packets that it sends are not there yet when
//! they are captured, and what becomes many segments is captured as one large packet. Analysers take
//! the first for damage, and the second is larger than many of them have room for. [`Repairer`] does
//! what the card would have done.

mod checksum;
mod layout;
mod segment;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use rpcap_proto::wire::Checksum;

use self::layout::{Layout, Protocol};
use crate::file::Record;

/// The largest IP packet of an Ethernet, in bytes.
const MTU: u32 = 1500;
/// The smallest that is worth splitting into: every IPv6 network carries 1,280, old ones of IPv4 576.
const SMALLEST_MTU: u32 = 576;

/// What is to be repaired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Repair {
    /// Checksums that the sender left to its card.
    pub checksums: bool,
    /// TCP packets that are larger than this, the network's MTU in bytes, become segments.
    pub segments: Option<u32>,
}

impl Repair {
    /// What analysers need that take packets from a network interface.
    pub const ALL: Self = Self { checksums: true, segments: Some(MTU) };

    /// Whether packets stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Repair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut repair = Self::default();
        if text == "none" {
            return Ok(repair);
        }
        for word in text.split(',') {
            match word.split_once('=') {
                None if word == "checksums" => repair.checksums = true,
                None if word == "segments" => repair.segments = Some(MTU),
                Some(("segments", mtu)) => {
                    let mtu = mtu.parse().ok().filter(|mtu| (SMALLEST_MTU..=65_535).contains(mtu));
                    let wanted = || format!("segments=MTU wants {SMALLEST_MTU} to 65535");
                    repair.segments = Some(mtu.ok_or_else(wanted)?);
                }
                _ => return Err("checksums, segments, segments=MTU or none is wanted".to_owned()),
            }
        }
        Ok(repair)
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.checksums, self.segments) {
            (false, None) => f.write_str("none"),
            (true, None) => f.write_str("checksums"),
            (false, Some(mtu)) => write!(f, "segments={mtu}"),
            (true, Some(mtu)) => write!(f, "checksums,segments={mtu}"),
        }
    }
}

/// What was done, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Given checksums.
    pub checksums: u64,
    /// Split.
    pub split: u64,
    /// What they were split into.
    pub segments: u64,
    /// Left as they were because a part of them is missing, or because it is not known how.
    pub impossible: u64,
}

/// Repairs packets, one after the other.
#[derive(Debug)]
pub struct Repairer {
    repair: Repair,
    counts: Counts,
    /// Room for a repaired packet.
    buffer: Vec<u8>,
}

impl Repairer {
    /// Does as told.
    pub fn new(repair: Repair) -> Self {
        Self { repair, counts: Counts::default(), buffer: Vec::new() }
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Gives a packet on, or the segments that it is split into. `linktype` is a `DLT_` number.
    pub fn packet(&mut self, linktype: u32, record: &Record<'_>, to: &mut impl FnMut(&Record<'_>)) {
        let Some(layout) = Layout::of(linktype, record.data) else { return to(record) };
        if let Some(mtu) = self.repair.segments
            && layout.ip_length() > mtu as usize
            && layout.protocol == Protocol::Tcp
        {
            match segment::split(record, &layout, mtu as usize, &mut self.buffer, to) {
                Some(segments) => {
                    self.counts.split += 1;
                    self.counts.segments += segments;
                }
                None => {
                    self.counts.impossible += 1;
                    to(record);
                }
            }
            return;
        }
        if self.repair.checksums && layout.wants_checksum(record) {
            // Where the capture was cut there is nothing to sum up.
            if layout.is_complete(record) {
                self.counts.checksums += 1;
                self.buffer.clear();
                self.buffer.extend_from_slice(record.data);
                layout.fill(&mut self.buffer);
                return to(&Record { data: &self.buffer, checksum: Checksum::Ready, ..*record });
            }
            self.counts.impossible += 1;
        }
        to(record);
    }
}
