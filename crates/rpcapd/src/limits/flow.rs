//! Which flow a packet is of.
//!
//! A flow is what two addresses and, for TCP, UDP, UDP-Lite, DCCP and SCTP, two ports say to each
//! other, in both directions. Other protocols over IP are told apart by their addresses alone, and so
//! are all fragments: those after the first have no ports, and a datagram is whole or not at all.
//! The flow that fragments belong to is therefore another one than that of whole packets. VLAN tags
//! do not count, nor does what a tunnel carries. What is not IP is told apart by its two MAC addresses;
//! where there are none it is one flow, which is always forwarded.

use capture::LinkType;

/// Most VLAN tags, and most IPv6 extension headers, that are looked behind.
const MOST: usize = 8;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A number that is the same for all packets of a flow, in both directions, and spread evenly over
/// 64 bits for those who do not know the keys. 0 where no flow can be told.
pub fn number(linktype: LinkType, packet: &[u8], keys: [u64; 2]) -> u64 {
    flow(linktype, packet).map_or(0, |flow| flow.number(keys))
}

/// An address and a port.
type End = (u128, u16);

struct Flow {
    ends: [End; 2],
    kind: u16,
}

impl Flow {
    fn number(&self, keys: [u64; 2]) -> u64 {
        let end = |(address, port): End| {
            let low = mix(address as u64 ^ keys[0], keys[1]);
            let high = mix((address >> 64) as u64 ^ low, keys[0]);
            mix(high ^ u64::from(port), keys[1])
        };
        // Addition does not know directions.
        let sum = end(self.ends[0]).wrapping_add(end(self.ends[1]));
        mix(sum ^ u64::from(self.kind), keys[0])
    }
}

/// Both halves of a product: every bit of it depends on every bit of both.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b | 1);
    product as u64 ^ (product >> 64) as u64
}

fn flow(linktype: LinkType, packet: &[u8]) -> Option<Flow> {
    match linktype {
        LinkType::ETHERNET => tagged(packet, 12).or_else(|| neighbours(packet)),
        LinkType::LINUX_SLL => tagged(packet, 14),
        LinkType::RAW => match packet.first()? >> 4 {
            4 => ipv4(packet),
            6 => ipv6(packet),
            _ => None,
        },
        _ => None,
    }
}

/// IP behind an EtherType at `at`, or behind VLAN tags that begin there.
fn tagged(packet: &[u8], mut at: usize) -> Option<Flow> {
    for _ in 0..=MOST {
        let rest = packet.get(at + 2..)?;
        match u16_at(packet, at)? {
            IPV4 => return ipv4(rest),
            IPV6 => return ipv6(rest),
            0x8100 | 0x88a8 | 0x9100 => at += 4,
            _ => return None,
        }
    }
    None
}

fn neighbours(packet: &[u8]) -> Option<Flow> {
    let mac = |at| {
        let bytes: [u8; 6] = packet.get(at..at + 6)?.try_into().ok()?;
        Some((bytes.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)), 0))
    };
    Some(Flow { ends: [mac(0)?, mac(6)?], kind: 0 })
}

fn ipv4(packet: &[u8]) -> Option<Flow> {
    let address = |at| u32_at(packet, at).map(u128::from);
    let header = usize::from(packet.first()? & 0xf) * 4;
    // More fragments, or not the first one.
    let fragment = u16_at(packet, 6)? & 0x3fff != 0;
    let kind = if fragment { None } else { Some(*packet.get(9)?) };
    Some(with_ports([address(12)?, address(16)?], kind, packet.get(header..).unwrap_or_default()))
}

fn ipv6(packet: &[u8]) -> Option<Flow> {
    let address = |at| Some(u128::from_be_bytes(packet.get(at..at + 16)?.try_into().ok()?));
    let addresses = [address(8)?, address(24)?];
    let (mut next, mut rest) = (*packet.get(6)?, packet.get(40..).unwrap_or_default());
    for _ in 0..MOST {
        match next {
            // Hop-by-hop, routing and destination options.
            0 | 43 | 60 => {
                let Some([after, length]) = rest.first_chunk() else { break };
                next = *after;
                rest = rest.get(usize::from(*length) * 8 + 8..).unwrap_or_default();
            }
            44 => return Some(with_ports(addresses, None, &[])),
            _ => break,
        }
    }
    Some(with_ports(addresses, Some(next), rest))
}

fn with_ports(addresses: [u128; 2], protocol: Option<u8>, payload: &[u8]) -> Flow {
    let ports = match protocol {
        // TCP, UDP, DCCP, SCTP, UDP-Lite.
        Some(6 | 17 | 33 | 132 | 136) => u16_at(payload, 0).zip(u16_at(payload, 2)),
        _ => None,
    };
    let (from, to) = ports.unwrap_or_default();
    let kind = ports.and(protocol).map_or(0, u16::from);
    Flow { ends: [(addresses[0], from), (addresses[1], to)], kind }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYS: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211];

    fn of(packet: &[u8]) -> u64 {
        number(LinkType::ETHERNET, packet, KEYS)
    }

    fn v4(from: ([u8; 4], u16), to: ([u8; 4], u16), protocol: u8, fragment: u16) -> Vec<u8> {
        let mut p = vec![0x45, 0, 0, 40, 0, 0];
        p.extend(fragment.to_be_bytes());
        p.extend([64, protocol, 0, 0]);
        p.extend(from.0.iter().chain(&to.0));
        p.extend(from.1.to_be_bytes().iter().chain(&to.1.to_be_bytes()));
        p
    }

    fn v6(from: ([u8; 16], u16), to: ([u8; 16], u16), headers: &[u8], first: u8) -> Vec<u8> {
        let mut p = vec![0x60, 0, 0, 0, 0, 40, first, 64];
        p.extend(from.0.iter().chain(&to.0));
        p.extend(headers);
        p.extend(from.1.to_be_bytes().iter().chain(&to.1.to_be_bytes()));
        p
    }

    /// Behind an Ethernet header with these tags.
    fn on_ethernet(tags: &[[u8; 4]], kind: u16, network: &[u8]) -> Vec<u8> {
        let tags = tags.iter().flatten().copied();
        let header = (0..12).chain(tags).chain(kind.to_be_bytes());
        header.chain(network.iter().copied()).collect()
    }

    proptest! {
        #[test]
        fn both_directions_are_one_flow_whatever_carries_them(
            a: ([u8; 4], u16), b: ([u8; 4], u16),
            c: ([u8; 16], u16), d: ([u8; 16], u16),
            protocol: u8,
        ) {
            let there = v4(a, b, protocol, 0);
            let raw = |packet: &[u8]| number(LinkType::RAW, packet, KEYS);
            let flow = raw(&there);
            prop_assert_eq!(flow, raw(&v4(b, a, protocol, 0)));
            let tags = [[0x88, 0xa8, 0, 5], [0x81, 0, 0, 7]];
            for n in 0..=2 {
                prop_assert_eq!(flow, of(&on_ethernet(&tags[..n], IPV4, &there)));
            }
            let mut cooked = vec![0; 14];
            cooked.extend(IPV4.to_be_bytes().iter().chain(&there));
            prop_assert_eq!(flow, number(LinkType::LINUX_SLL, &cooked, KEYS));

            // Hop-by-hop options of 16 bytes, then a routing header of 8, then UDP.
            let headers = [43, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0];
            let plain = raw(&v6(c, d, &[], 17));
            prop_assert_eq!(plain, raw(&v6(d, c, &headers, 0)));
            prop_assert_eq!(plain, of(&on_ethernet(&[], IPV6, &v6(d, c, &[], 17))));
        }

        #[test]
        fn any_bytes_are_of_some_flow(link in 0..300u32, packet: Vec<u8>) {
            number(LinkType(link), &packet, KEYS);
            for kind in [IPV4, IPV6, 0x8100] {
                of(&on_ethernet(&[], kind, &packet));
            }
        }
    }

    #[test]
    fn fragments_stay_together() {
        let raw = |packet: &[u8]| number(LinkType::RAW, packet, KEYS);
        let (a, b) = (([192, 0, 2, 1], 1000), ([192, 0, 2, 2], 2000));
        let first = raw(&v4(a, b, 17, 0x2000));
        // Where the ports were there is something else.
        assert_eq!(first, raw(&v4((a.0, 7), (b.0, 8), 17, 0x0100)));
        assert_ne!(first, raw(&v4(a, b, 17, 0)));
        // "Do not fragment" is no fragment.
        assert_eq!(raw(&v4(a, b, 17, 0x4000)), raw(&v4(a, b, 17, 0)));
        let (c, d) = (([1; 16], 1000), ([2; 16], 2000));
        let fragment = [17, 0, 0, 1, 0, 0, 0, 9];
        assert_eq!(raw(&v6(c, d, &fragment, 44)), raw(&v6((c.0, 7), d, &fragment, 44)));
    }

    #[test]
    fn what_is_not_ip_is_between_two_neighbours() {
        let there = on_ethernet(&[], 0x88b5, b"payload");
        let mut back = there.clone();
        back[..12].rotate_left(6);
        assert_eq!(of(&there), of(&back));
        back[0] ^= 1;
        assert_ne!(of(&there), of(&back));
        assert_eq!(number(LinkType(147), &there, KEYS), 0);
    }

    /// Of many flows, one of 2, 4, 8 and so on, near enough, and under every key.
    #[test]
    fn flows_are_spread_evenly() {
        for keys in [KEYS, [KEYS[1], !KEYS[0] << 7], [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db]]
        {
            for bits in 1..=4 {
                let mask = (1u64 << bits) - 1;
                let kept = (0..16_384u16)
                    .filter(|n| {
                        let from = ([10, 0, (n >> 8) as u8, *n as u8], 1024 + n % 7);
                        let packet = v4(from, ([192, 0, 2, 2], 443), 6, 0);
                        number(LinkType::RAW, &packet, keys) & mask == 0
                    })
                    .count();
                let expected = 16_384 >> bits;
                assert!(kept.abs_diff(expected) < expected / 4, "{keys:?} {bits}: {kept}");
            }
        }
    }
}
