use std::fmt;
use std::net::IpAddr;

use etherparse::{IpNumber, UdpSlice, ip_number};

use super::{icmp, tcp};

/// What an IP packet carries.
pub(super) struct Segment<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: IpNumber,
    /// Captured bytes
    pub(super) data: &'a [u8],
    /// Bytes on the wire, by the IP header
    pub(super) length: usize,
}

impl Segment<'_> {
    /// Prints both addresses.
    pub(super) fn ends(&self, out: &mut impl fmt::Write) -> fmt::Result {
        write!(out, "{} > {}: ", self.source, self.destination)
    }

    /// Prints both addresses with ports.
    pub(super) fn ports(
        &self,
        out: &mut impl fmt::Write,
        source: u16,
        destination: u16,
    ) -> fmt::Result {
        write!(out, "{}.{source} > {}.{destination}: ", self.source, self.destination)
    }
}

pub(super) fn print(out: &mut impl fmt::Write, segment: &Segment<'_>) -> fmt::Result {
    match segment.protocol {
        ip_number::TCP => tcp::print(out, segment),
        ip_number::UDP => udp(out, segment),
        ip_number::ICMP => {
            segment.ends(out)?;
            icmp::print_v4(out, segment)
        }
        ip_number::IPV6_ICMP => {
            segment.ends(out)?;
            icmp::print_v6(out, segment)
        }
        IpNumber(number) => {
            segment.ends(out)?;
            match name(segment.protocol) {
                Some(name) => out.write_str(name)?,
                None => write!(out, "ip-proto-{number}")?,
            }
            write!(out, ", length {}", segment.length)
        }
    }
}

/// A protocol that is common enough to be known by name.
fn name(protocol: IpNumber) -> Option<&'static str> {
    Some(match protocol {
        ip_number::IGMP => "IGMP",
        ip_number::IPV4 => "IPIP",
        ip_number::IPV6 => "IP6IP",
        ip_number::GRE => "GRE",
        ip_number::ENCAP_SEC => "ESP",
        ip_number::AUTH => "AH",
        ip_number::OSPFIGP => "OSPF",
        ip_number::PIM => "PIM",
        ip_number::VRRP => "VRRP",
        ip_number::SCTP => "SCTP",
        _ => return None,
    })
}

fn udp(out: &mut impl fmt::Write, segment: &Segment<'_>) -> fmt::Result {
    const HEADER: usize = 8;

    // Only the header, so that its length field cannot be at odds with what was captured.
    let Some(Ok(header)) = segment.data.get(..HEADER).map(UdpSlice::from_slice_lax) else {
        segment.ends(out)?;
        return out.write_str("[|udp]");
    };
    segment.ports(out, header.source_port(), header.destination_port())?;
    let length = match usize::from(header.length()) {
        // Too long for the field, or yet to be split.
        0 => segment.length,
        length => length,
    };
    match length.checked_sub(HEADER) {
        Some(payload) => write!(out, "UDP, length {payload}"),
        None => write!(out, "UDP, bad length {length}"),
    }
}
