use std::fmt;

use etherparse::{EtherType, LaxSlicedPacket};

use super::{Captured, network};

/// Prints the layers from the link layer on.
pub(super) fn print(out: &mut impl fmt::Write, linktype: u32, packet: Captured<'_>) -> fmt::Result {
    match linktype {
        0 | 108 => loopback(out, packet),
        1 => match LaxSlicedPacket::from_ethernet(packet.data) {
            Ok(layers) => network::print(out, &layers, packet),
            Err(_) => out.write_str("[|ether]"),
        },
        // 12 and 14 on one system or another, 101 in files.
        12 | 14 | 101 | 228 | 229 => network::print_ip(out, packet),
        113 => cooked(out, "sll", 14, 16, packet),
        276 => cooked(out, "sll2", 0, 20, packet),
        _ => write!(out, "linktype {linktype}, {} bytes", packet.length()),
    }
}

/// Linux cooked capture: an EtherType somewhere in a header of fixed size.
fn cooked(
    out: &mut impl fmt::Write,
    name: &str,
    at: usize,
    header: usize,
    packet: Captured<'_>,
) -> fmt::Result {
    let Some((payload, [high, low])) =
        packet.skip(header).zip(packet.data.get(at..).and_then(|rest| rest.first_chunk()))
    else {
        return write!(out, "[|{name}]");
    };
    let ether_type = EtherType(u16::from_be_bytes([*high, *low]));
    let layers = LaxSlicedPacket::from_ether_type(ether_type, payload.data);
    network::print(out, &layers, payload)
}

/// BSD loopback: an address family in the byte order of whichever host captured.
fn loopback(out: &mut impl fmt::Write, packet: Captured<'_>) -> fmt::Result {
    let Some((payload, family)) = packet.skip(4).zip(packet.data.first_chunk()) else {
        return out.write_str("[|null]");
    };
    // Families are small, so the order that makes a small number is the right one.
    let family = u32::from_be_bytes(*family).min(u32::from_le_bytes(*family));
    match family {
        // IPv4, and IPv6 on Linux, Windows, NetBSD or OpenBSD, FreeBSD, macOS.
        2 | 10 | 23 | 24 | 28 | 30 => network::print_ip(out, payload),
        _ => write!(out, "AF {family}, length {}", payload.length()),
    }
}
