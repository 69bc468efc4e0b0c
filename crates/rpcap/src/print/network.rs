use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{
    ArpOperation, ArpPacketSlice, EtherType, IpNumber, LaxIpv4Slice, LaxIpv6Slice, LaxLinkExtSlice,
    LaxNetSlice, LaxSlicedPacket, LinkSlice, ether_type, ip_number,
};

use super::Captured;
use super::address::Hardware;
use super::transport::{self, Segment};

/// Link layer discovery protocol
const LLDP: EtherType = EtherType(0x88cc);

/// Prints everything above the link layer. `packet` ends where `layers` do.
pub(super) fn print(
    out: &mut impl fmt::Write,
    layers: &LaxSlicedPacket<'_>,
    packet: Captured<'_>,
) -> fmt::Result {
    for tag in &layers.link_exts {
        if let LaxLinkExtSlice::Vlan(tag) = tag {
            write!(out, "vlan {}, ", tag.vlan_identifier().value())?;
        }
    }
    let (kind, payload) = innermost(layers);
    let payload = packet.with(payload);
    match &layers.net {
        Some(LaxNetSlice::Ipv4(ip)) => ipv4(out, ip, packet),
        Some(LaxNetSlice::Ipv6(ip)) => ipv6(out, ip, packet),
        Some(LaxNetSlice::Arp(packet)) => arp(out, packet, payload.length()),
        None => unparsed(out, kind, payload),
    }
}

/// Prints an IP packet of either version that starts at once.
pub(super) fn print_ip(out: &mut impl fmt::Write, packet: Captured<'_>) -> fmt::Result {
    match LaxSlicedPacket::from_ip(packet.data) {
        Ok(layers) => print(out, &layers, packet),
        Err(_) => match packet.data.first().map(|byte| byte >> 4) {
            Some(6) => unparsed(out, ether_type::IPV6, packet),
            None | Some(4) => unparsed(out, ether_type::IPV4, packet),
            Some(version) => write!(out, "IP version {version}, length {}", packet.length()),
        },
    }
}

/// The innermost EtherType and what follows it.
fn innermost<'a>(layers: &LaxSlicedPacket<'a>) -> (EtherType, &'a [u8]) {
    if let Some(payload) = layers.ether_payload() {
        return (payload.ether_type, payload.payload);
    }
    match &layers.link {
        Some(LinkSlice::Ethernet2(ethernet)) => (ethernet.ether_type(), ethernet.payload_slice()),
        Some(LinkSlice::EtherPayload(payload)) => (payload.ether_type, payload.payload),
        _ => (EtherType(0), &[]),
    }
}

/// A header that is cut short or makes no sense, or a protocol that is not understood.
fn unparsed(out: &mut impl fmt::Write, kind: EtherType, payload: Captured<'_>) -> fmt::Result {
    let length = payload.length();
    match kind {
        ether_type::IPV4 if is_cut(payload, 0x40, 20) => out.write_str("IP [|ip]"),
        ether_type::IPV6 if is_cut(payload, 0x60, 40) => out.write_str("IP6 [|ip6]"),
        ether_type::IPV4 => write!(out, "IP, bad header, length {length}"),
        ether_type::IPV6 => write!(out, "IP6, bad header, length {length}"),
        ether_type::ARP => out.write_str("ARP, [|arp]"),
        ether_type::VLAN_TAGGED_FRAME
        | ether_type::PROVIDER_BRIDGING
        | ether_type::VLAN_DOUBLE_TAGGED_FRAME
            if payload.data.len() < 4 =>
        {
            out.write_str("[|vlan]")
        }
        // Below, the field is a length: IEEE 802.3.
        EtherType(number) if number < 0x600 => write!(out, "802.3, length {length}"),
        LLDP => write!(out, "LLDP, length {length}"),
        EtherType(number) => write!(out, "ethertype 0x{number:04x}, length {length}"),
    }
}

/// Whether a header that could not be read fails for want of bytes.
fn is_cut(payload: Captured<'_>, version: u8, least: usize) -> bool {
    match payload.data.first() {
        None => true,
        Some(first) if first & 0xf0 != version => false,
        Some(first) if version == 0x40 => {
            let header = usize::from(first & 0xf) * 4;
            header >= least && payload.data.len() < header
        }
        Some(_) => payload.data.len() < least,
    }
}

fn arp(out: &mut impl fmt::Write, packet: &ArpPacketSlice<'_>, length: usize) -> fmt::Result {
    let operation = packet.operation();
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from);
    let ends = (address(packet.sender_protocol_addr()), address(packet.target_protocol_addr()));
    match (operation, ends, packet.proto_addr_type()) {
        (ArpOperation::REQUEST, (Ok(sender), Ok(target)), ether_type::IPV4) => {
            write!(out, "ARP, Request who-has {target}")?;
            let hardware = packet.target_hw_addr();
            if hardware.iter().any(|byte| *byte != 0) {
                write!(out, " ({})", Hardware(hardware))?;
            }
            write!(out, " tell {sender}")?;
        }
        (ArpOperation::REPLY, (Ok(sender), _), ether_type::IPV4) => {
            write!(out, "ARP, Reply {sender} is-at {}", Hardware(packet.sender_hw_addr()))?;
        }
        _ => write!(out, "ARP, operation {}", operation.0)?,
    }
    write!(out, ", length {length}")
}

fn ipv4(out: &mut impl fmt::Write, ip: &LaxIpv4Slice<'_>, packet: Captured<'_>) -> fmt::Result {
    let header = ip.header();
    let payload = ip.payload();
    let headers = header.slice().len()
        + ip.extensions().auth.as_ref().map_or(0, |extension| extension.slice().len());
    // Packets that the network card is yet to split have no length of their own.
    let length = match usize::from(header.total_len()).checked_sub(headers) {
        Some(length) => length,
        None => packet.with(payload.payload).length(),
    };
    let offset = header.fragments_offset().byte_offset();
    let segment = Segment {
        source: IpAddr::V4(header.source_addr()),
        destination: IpAddr::V4(header.destination_addr()),
        protocol: payload.ip_number,
        data: payload.payload,
        length,
    };
    out.write_str("IP ")?;
    if offset == 0 {
        return transport::print(out, &segment);
    }
    segment.ends(out)?;
    write!(out, "frag ({offset}|{length}) ip-proto-{}", payload.ip_number.0)
}

fn ipv6(out: &mut impl fmt::Write, ip: &LaxIpv6Slice<'_>, packet: Captured<'_>) -> fmt::Result {
    let header = ip.header();
    let payload = ip.payload();
    let extensions = ip.extensions();
    let length = match usize::from(header.payload_length()) {
        0 => packet.with(payload.payload).length(),
        length => length.saturating_sub(extensions.slice().len()),
    };
    let segment = Segment {
        source: IpAddr::V6(header.source_addr()),
        destination: IpAddr::V6(header.destination_addr()),
        protocol: payload.ip_number,
        data: payload.payload,
        length,
    };
    out.write_str("IP6 ")?;
    match fragment(extensions.first_header(), extensions.slice()) {
        // Those that could be read are behind.
        None if is_extension(payload.ip_number) => {
            segment.ends(out)?;
            out.write_str("[|ip6ext]")
        }
        None | Some(0) => transport::print(out, &segment),
        Some(offset) => {
            segment.ends(out)?;
            write!(out, "frag ({offset}|{length}) ip-proto-{}", payload.ip_number.0)
        }
    }
}

/// Which of its bytes a packet has, if it is a fragment, from its extension headers (RFC 8200 section
/// 4). The last of these may be cut, so every step is checked, which the iterator of a `Lax` slice
/// leaves to the caller.
fn fragment(mut kind: Option<IpNumber>, mut headers: &[u8]) -> Option<u16> {
    loop {
        let [next, units, first, second, ..] = *headers else { return None };
        let length = match kind? {
            ip_number::IPV6_FRAG => {
                let field = u16::from_be_bytes([first, second]);
                let (offset, more) = (field & !7, field & 1 != 0);
                if offset > 0 || more {
                    return Some(offset);
                }
                8
            }
            ip_number::AUTH => (usize::from(units) + 2) * 4,
            kind if is_extension(kind) => (usize::from(units) + 1) * 8,
            _ => return None,
        };
        kind = Some(IpNumber(next));
        headers = headers.get(length..)?;
    }
}

/// Whether this is an extension header and no protocol of its own.
fn is_extension(number: IpNumber) -> bool {
    use ip_number::{IPV6_DEST_OPTIONS, IPV6_FRAG, IPV6_HOP_BY_HOP, IPV6_ROUTE};
    matches!(number, IPV6_HOP_BY_HOP | IPV6_ROUTE | IPV6_FRAG | IPV6_DEST_OPTIONS)
}
