use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Slice, Icmpv6Slice, IpNumber, LaxIpSlice, icmpv4, icmpv6, ip_number};

use super::transport::Segment;

/// Prints an ICMP message for IPv4, after the addresses.
pub(super) fn print_v4(out: &mut impl fmt::Write, segment: &Segment<'_>) -> fmt::Result {
    let Ok(message) = Icmpv4Slice::from_slice(segment.data) else {
        return out.write_str("[|icmp]");
    };
    out.write_str("ICMP ")?;
    let word = message.bytes5to8();
    let code = message.code_u8();
    match message.type_u8() {
        icmpv4::TYPE_ECHO_REQUEST => echo(out, "request", word)?,
        icmpv4::TYPE_ECHO_REPLY => echo(out, "reply", word)?,
        icmpv4::TYPE_DEST_UNREACH => unreachable_v4(out, code, word, message.payload())?,
        icmpv4::TYPE_REDIRECT => {
            let kind = match code {
                icmpv4::CODE_REDIRECT_FOR_NETWORK
                | icmpv4::CODE_REDIRECT_TYPE_OF_SERVICE_AND_NETWORK => "net",
                _ => "host",
            };
            match Quoted::new(message.payload()) {
                Some(quoted) => write!(out, "redirect {} to {kind} ", quoted.destination)?,
                None => write!(out, "redirect to {kind} ")?,
            }
            write!(out, "{}", Ipv4Addr::from(word))?;
        }
        icmpv4::TYPE_TIME_EXCEEDED => out.write_str(match code {
            icmpv4::CODE_TIME_EXCEEDED_TTL_EXCEEDED_IN_TRANSIT => "time exceeded in-transit",
            _ => "ip reassembly time exceeded",
        })?,
        icmpv4::TYPE_PARAMETER_PROBLEM => out.write_str("parameter problem")?,
        icmpv4::TYPE_TIMESTAMP => out.write_str("time stamp query")?,
        icmpv4::TYPE_TIMESTAMP_REPLY => out.write_str("time stamp reply")?,
        kind => write!(out, "type-#{kind}")?,
    }
    write!(out, ", length {}", segment.length)
}

/// Prints an ICMP message for IPv6, after the addresses.
pub(super) fn print_v6(out: &mut impl fmt::Write, segment: &Segment<'_>) -> fmt::Result {
    let Ok(message) = Icmpv6Slice::from_slice(segment.data) else {
        return out.write_str("[|icmp6]");
    };
    out.write_str("ICMP6, ")?;
    let word = message.bytes5to8();
    let target = || message.payload().first_chunk().map(|bytes: &[u8; 16]| Ipv6Addr::from(*bytes));
    match message.type_u8() {
        icmpv6::TYPE_ECHO_REQUEST => echo(out, "request", word)?,
        icmpv6::TYPE_ECHO_REPLY => echo(out, "reply", word)?,
        icmpv6::TYPE_DST_UNREACH => unreachable_v6(out, message.code_u8(), message.payload())?,
        icmpv6::TYPE_PACKET_TOO_BIG => {
            write!(out, "packet too big, mtu {}", u32::from_be_bytes(word))?;
        }
        icmpv6::TYPE_TIME_EXCEEDED => out.write_str("time exceeded in-transit")?,
        icmpv6::TYPE_PARAMETER_PROBLEM => out.write_str("parameter problem")?,
        icmpv6::TYPE_MULTICAST_LISTENER_QUERY => out.write_str("multicast listener query")?,
        icmpv6::TYPE_MULTICAST_LISTENER_REPORT => out.write_str("multicast listener report")?,
        icmpv6::TYPE_MULTICAST_LISTENER_REDUCTION => out.write_str("multicast listener done")?,
        icmpv6::TYPE_ROUTER_SOLICITATION => out.write_str("router solicitation")?,
        icmpv6::TYPE_ROUTER_ADVERTISEMENT => out.write_str("router advertisement")?,
        icmpv6::TYPE_NEIGHBOR_SOLICITATION => {
            out.write_str("neighbor solicitation")?;
            match target() {
                Some(target) => write!(out, ", who has {target}")?,
                None => out.write_str(" [|icmp6]")?,
            }
        }
        icmpv6::TYPE_NEIGHBOR_ADVERTISEMENT => {
            out.write_str("neighbor advertisement")?;
            match target() {
                Some(target) => write!(out, ", tgt is {target}")?,
                None => out.write_str(" [|icmp6]")?,
            }
        }
        icmpv6::TYPE_REDIRECT_MESSAGE => out.write_str("redirect")?,
        MULTICAST_LISTENER_REPORT_V2 => out.write_str("multicast listener report v2")?,
        kind => write!(out, "type-#{kind}")?,
    }
    write!(out, ", length {}", segment.length)
}

/// RFC 3810
const MULTICAST_LISTENER_REPORT_V2: u8 = 143;

fn echo(out: &mut impl fmt::Write, what: &str, [a, b, c, d]: [u8; 4]) -> fmt::Result {
    let (id, seq) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    write!(out, "echo {what}, id {id}, seq {seq}")
}

fn unreachable_v4(
    out: &mut impl fmt::Write,
    code: u8,
    word: [u8; 4],
    payload: &[u8],
) -> fmt::Result {
    let Some(quoted) = Quoted::new(payload) else {
        return write!(out, "unreachable, code {code} [|icmp]");
    };
    let to = quoted.destination;
    match code {
        icmpv4::CODE_DST_UNREACH_NET => write!(out, "net {to} unreachable"),
        icmpv4::CODE_DST_UNREACH_HOST => write!(out, "host {to} unreachable"),
        icmpv4::CODE_DST_UNREACH_PROTOCOL => {
            write!(out, "{to} protocol {} unreachable", quoted.protocol.0)
        }
        icmpv4::CODE_DST_UNREACH_PORT => {
            write!(out, "{to} ")?;
            quoted.port(out)?;
            out.write_str(" unreachable")
        }
        icmpv4::CODE_DST_UNREACH_NEED_FRAG => {
            let mtu = u16::from_be_bytes([word[2], word[3]]);
            write!(out, "{to} unreachable - need to frag (mtu {mtu})")
        }
        icmpv4::CODE_DST_UNREACH_NET_PROHIB => {
            write!(out, "net {to} unreachable - admin prohibited")
        }
        icmpv4::CODE_DST_UNREACH_HOST_PROHIB => {
            write!(out, "host {to} unreachable - admin prohibited")
        }
        icmpv4::CODE_DST_UNREACH_FILTER_PROHIB => {
            write!(out, "host {to} unreachable - admin prohibited filter")
        }
        _ => write!(out, "{to} unreachable, code {code}"),
    }
}

fn unreachable_v6(out: &mut impl fmt::Write, code: u8, payload: &[u8]) -> fmt::Result {
    out.write_str("destination unreachable")?;
    let Some(quoted) = Quoted::new(payload) else {
        return write!(out, ", code {code} [|icmp6]");
    };
    let to = quoted.destination;
    match code {
        icmpv6::CODE_DST_UNREACH_NO_ROUTE => write!(out, ", unreachable route {to}"),
        icmpv6::CODE_DST_UNREACH_PROHIBITED => write!(out, ", unreachable prohibited {to}"),
        icmpv6::CODE_DST_UNREACH_ADDR => write!(out, ", unreachable address {to}"),
        icmpv6::CODE_DST_UNREACH_PORT => {
            write!(out, ", unreachable port, {to} ")?;
            quoted.port(out)
        }
        _ => write!(out, ", {to}, code {code}"),
    }
}

/// The packet that an error message is about.
struct Quoted {
    destination: IpAddr,
    protocol: IpNumber,
    /// Destination port, if there is one
    port: Option<u16>,
}

impl Quoted {
    fn new(bytes: &[u8]) -> Option<Quoted> {
        let (ip, _) = LaxIpSlice::from_slice(bytes).ok()?;
        let destination = match &ip {
            LaxIpSlice::Ipv4(ip) => ip.header().destination_addr().into(),
            LaxIpSlice::Ipv6(ip) => ip.header().destination_addr().into(),
        };
        let payload = ip.payload();
        let port = payload.payload.get(2..4).and_then(|port| port.first_chunk());
        Some(Quoted {
            destination,
            protocol: payload.ip_number,
            port: port.map(|port| u16::from_be_bytes(*port)),
        })
    }

    fn port(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match (self.protocol, self.port) {
            (ip_number::TCP, Some(port)) => write!(out, "tcp port {port}"),
            (ip_number::UDP, Some(port)) => write!(out, "udp port {port}"),
            (IpNumber(number), _) => write!(out, "ip-proto-{number} port"),
        }
    }
}
