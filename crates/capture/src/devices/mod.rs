//! What can be captured on: names, descriptions, flags and addresses, as libpcap's `pcap_findalldevs()` lists them on the
//! same host.

#[cfg(target_os = "linux")]
mod linux;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{Backend, Error, libpcap};

/// Something that can be captured on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What to call it in [`open`](crate::open()).
    pub name: String,
    /// What it is, in words.
    pub description: Option<String>,
    /// What state it is in.
    pub flags: Flags,
    /// Its addresses, in the system's order. On Linux the interface's own ([`Sockaddr::Mac`]) comes first.
    pub addresses: Vec<Address>,
}

/// `PCAP_IF_` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// A loopback interface.
    pub const LOOPBACK: u32 = 0x1;
    /// The administrator wants it up.
    pub const UP: u32 = 0x2;
    /// It works.
    pub const RUNNING: u32 = 0x4;
    /// Radio, of any sort.
    pub const WIRELESS: u32 = 0x8;
    /// The bits of the connection status, which is one of the values below, or 0 for unknown.
    pub const CONNECTION_STATUS: u32 = 0x30;
    /// It has a link.
    pub const CONNECTED: u32 = 0x10;
    /// It has none.
    pub const DISCONNECTED: u32 = 0x20;
    /// Links make no sense here.
    pub const NOT_APPLICABLE: u32 = 0x30;

    /// Whether all of `bits` are set.
    pub fn contains(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

/// One address of a device, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub addr: Sockaddr,
    /// Its network mask, as an address of the same family.
    pub netmask: Option<Sockaddr>,
    /// The broadcast address of its network.
    pub broadcast: Option<Sockaddr>,
    /// The other end of a point-to-point link.
    pub peer: Option<Sockaddr>,
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockaddr {
    /// IPv4.
    V4(Ipv4Addr),
    /// IPv6.
    V6 {
        /// The address.
        addr: Ipv6Addr,
        /// The interface that a link-local address is valid on; else 0.
        scope_id: u32,
        /// Flow label and traffic class; 0 in practice. In network byte order, as in `struct sockaddr_in6`.
        flowinfo: u32,
    },
    /// Link layer (`AF_PACKET`, packet(7)).
    Mac {
        /// The interface's index.
        ifindex: u32,
        /// Its `ARPHRD_` type.
        hatype: u16,
        /// A packet type; 0 in addresses of interfaces.
        pkttype: u8,
        /// The first 8 bytes of the address; zeroes after a shorter one.
        addr: [u8; 8],
        /// How many bytes the address has: 6 for Ethernet, 20 for InfiniBand.
        len: u8,
    },
}

/// Lists what can be captured on, best first: libpcap's order.
///
/// # Errors
///
/// A failed call; [`Error::LibraryMissing`] where libpcap is needed.
pub fn list(backend: Backend) -> Result<Vec<Device>, Error> {
    match backend {
        #[cfg(target_os = "linux")]
        Backend::AfPacket => linux::list(),
        Backend::Libpcap => libpcap::devices::list(),
    }
}

/// libpcap's `get_figure_of_merit()`: the smaller, the further ahead.
#[cfg(any(target_os = "linux", test))]
fn demerit(device: &Device) -> u32 {
    let flags = device.flags;
    let status = flags.0 & Flags::CONNECTION_STATUS;
    let mut demerit = 0;
    if !flags.contains(Flags::RUNNING) {
        demerit |= 0x8000_0000;
    }
    if !flags.contains(Flags::UP) {
        demerit |= 0x4000_0000;
    }
    // Radio without a network may still hear something.
    if status == Flags::DISCONNECTED && !flags.contains(Flags::WIRELESS) {
        demerit |= 0x2000_0000;
    }
    if flags.contains(Flags::LOOPBACK) {
        demerit |= 0x1000_0000;
    }
    if device.name == "any" {
        demerit |= 0x0800_0000;
    }
    demerit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_libpcaps() {
        let device = |name: &str, flags| Device {
            name: name.into(),
            description: None,
            flags: Flags(flags),
            addresses: vec![],
        };
        let mut devices = [
            device("down0", 0x30),
            device("lo", 0x37),
            device("cable", 0x26),
            device("any", 0x36),
            device("eth1", 0x16),
            device("eth0", 0x16),
            device("wlan0", 0x2e),
            device("no-carrier", 0x22),
        ];
        devices.sort_by_key(demerit);
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["eth1", "eth0", "wlan0", "any", "lo", "cable", "no-carrier", "down0"]);
    }
}
