//! One packet, and what its first byte means.

use std::fmt;

/// When a packet was seen, by the capturing host's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1 January 1970 UTC; unsigned, so it lasts until 2106.
    pub secs: u32,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanos: u32,
}

/// Whether the checksum of TCP or UDP in a packet is what goes over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// The source does not say.
    #[default]
    Unknown,
    /// It is: nobody changes it after the place where packets are captured.
    Ready,
    /// The sender left it to its network card, behind that place.
    NotReady,
}

/// One packet, borrowed from its [`Block`](crate::Block).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was seen.
    pub ts: Timestamp,
    /// Its length in bytes on the wire, at least `data.len()`. A VLAN tag that the kernel took off and that was put
    /// back counts, and so does a cooked capture's header.
    pub len: u32,
    /// Whether its checksum is there yet.
    pub checksum: Checksum,
    /// What was kept of it; never longer than the snaplen.
    pub data: &'a [u8],
}

/// What the first byte of a packet means: a `DLT_` value, the one that libpcap's `pcap_datalink()` gives for the same
/// device on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// A loopback interface of other systems, `DLT_NULL`: four bytes with the number of an address family, in the byte
    /// order of the host, in front of the packet.
    pub const NULL: Self = Self(0);
    /// The same in network byte order, `DLT_LOOP` as most number it.
    pub const LOOP: Self = Self(108);
    /// Ethernet, `DLT_EN10MB`.
    pub const ETHERNET: Self = Self(1);
    /// A bare IPv4 or IPv6 packet, `DLT_RAW` as Linux numbers it.
    pub const RAW: Self = Self(12);
    /// Linux cooked capture, `DLT_LINUX_SLL`: a 16-byte header in front of the network-layer packet.
    pub const LINUX_SLL: Self = Self(113);
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
