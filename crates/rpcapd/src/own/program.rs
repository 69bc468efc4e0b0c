//! The guard as a classic BPF program: it refuses the packets of given flows and lets all others fall
//! through to the filter that follows.
//!
//! It must never load beyond a packet's end, since the kernel would then drop the packet (the kernel's
//! *filter* documentation), so it looks only at packets that are long enough to be one of the daemon's:
//! those without IP options, which its sockets do not send.

use std::net::IpAddr;

use capture::{Instruction, LinkType};
use rpcap_proto::bpf::op::{
    JA, JEQ_K, JGE_K, JSET_K, LD_B_ABS, LD_B_IND, LD_H_ABS, LD_H_IND, LD_LEN, LD_W_IND, LDX_IMM,
    RET_K, RSH_K,
};

use super::{Flow, Transport};

const ETH_P_IP: u32 = 0x0800;
const ETH_P_IPV6: u32 = 0x86dd;
const ETH_P_8021Q: u32 = 0x8100;
const ETH_P_8021AD: u32 = 0x88a8;
const VLAN_TAG_LEN: u32 = 4;
const IPPROTO_FRAGMENT: u32 = 44;

/// The daemon's shortest packets, from the IP header on: a bare TCP acknowledgement.
const IPV4_MIN: u32 = 20 + 20;
const IPV6_MIN: u32 = 40 + 20;

/// Most instructions for flows. A client's filter that does not fit into the rest of the kernel's
/// 4,096 runs in user space.
const FLOWS_MAX: usize = 3600;

/// The guard against `flows`; empty if there are none, or for a link type whose packets do not show
/// where IP begins.
pub(super) fn guard<'a>(
    flows: impl Iterator<Item = &'a Flow>,
    linktype: LinkType,
) -> Vec<Instruction> {
    let Some(link) = Link::of(linktype) else {
        return Vec::new();
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for flow in flows {
        let room = FLOWS_MAX.saturating_sub(v4.len() + v6.len());
        let tests = if flow.local.is_ipv4() { &mut v4 } else { &mut v6 };
        let before = tests.len();
        for outgoing in [true, false] {
            refuse(flow, outgoing, link.len, tests);
        }
        if tests.len() - before > room {
            tests.truncate(before);
            break;
        }
    }
    if v4.is_empty() && v6.is_empty() {
        return Vec::new();
    }
    let mut out = Program::default();
    out.push(LD_LEN, 0);
    out.end_unless(JGE_K, link.counted + IPV4_MIN);
    // X is how much later than without a tag the network header begins, A the protocol in it.
    out.push(LDX_IMM, 0);
    let (is_ipv4, is_ipv6) = match link.protocol {
        Some(at) => {
            out.push(LD_H_ABS, at);
            // A tag that is still in the packet precedes both. The shortest untagged packet is long
            // enough for all that is loaded from a tagged one.
            out.0.push(Instruction::jump(JEQ_K, ETH_P_8021Q, 1, 0));
            out.0.push(Instruction::jump(JEQ_K, ETH_P_8021AD, 0, 2));
            out.push(LDX_IMM, VLAN_TAG_LEN);
            out.push(LD_H_ABS, link.len + 2);
            (ETH_P_IP, ETH_P_IPV6)
        }
        None => {
            out.push(LD_B_ABS, link.len);
            out.push(RSH_K, 4);
            (4, 6)
        }
    };
    let ip6 = Program::for_ipv6(&link, is_ipv6, v6);
    let ip4 = Program::for_ipv4(&link, v4);
    // A jump over the tests for IPv4, whose own end is that of the program.
    out.0.push(Instruction::jump(JEQ_K, is_ipv4, 1, 0));
    out.push(JA, ip4.0.len() as u32);
    out.0.extend(ip4.0);
    out.0.extend(ip6.0);
    out.finish()
}

/// What is before the IP header.
struct Link {
    /// Bytes of it.
    len: u32,
    /// Those of them that count as the packet's: a cooked header does not.
    counted: u32,
    /// Where it says what follows, as an EtherType; if it does not, the IP version tells.
    protocol: Option<u32>,
}

impl Link {
    fn of(linktype: LinkType) -> Option<Self> {
        let (len, counted, protocol) = match linktype {
            LinkType::ETHERNET => (14, 14, Some(12)),
            LinkType::LINUX_SLL => (16, 0, Some(14)),
            LinkType::RAW => (0, 0, None),
            // Loopback elsewhere: the number of a family, which every system has its own of.
            LinkType::NULL | LinkType::LOOP => (4, 4, None),
            _ => return None,
        };
        Some(Self { len, counted, protocol })
    }
}

/// A program in the making. Jumps to its end are written with an impossible target first.
#[derive(Default)]
struct Program(Vec<Instruction>);

const END: u32 = u32::MAX;

impl Program {
    fn for_ipv4(link: &Link, tests: Vec<Instruction>) -> Self {
        let mut program = Self::default();
        program.push(LD_B_IND, link.len);
        program.end_unless(JEQ_K, 0x45);
        program.0.extend(tests);
        program.push(JA, END);
        program
    }

    fn for_ipv6(link: &Link, is_ipv6: u32, tests: Vec<Instruction>) -> Self {
        let mut program = Self::default();
        program.end_unless(JEQ_K, is_ipv6);
        program.push(LD_LEN, 0);
        program.end_unless(JGE_K, link.counted + IPV6_MIN);
        program.0.extend(tests);
        program
    }

    fn push(&mut self, code: u16, k: u32) {
        self.0.push(Instruction::stmt(code, k));
    }

    fn end_unless(&mut self, code: u16, k: u32) {
        self.0.push(Instruction::jump(code, k, 1, 0));
        self.push(JA, END);
    }

    fn finish(mut self) -> Vec<Instruction> {
        let len = self.0.len();
        for (at, i) in self.0.iter_mut().enumerate() {
            if i.code == JA && i.k == END {
                i.k = (len - at - 1) as u32;
            }
        }
        self.0
    }
}

/// Appends what refuses a flow's packets of one direction. Others fall through. The IP header begins
/// after `link` bytes, and X more.
fn refuse(flow: &Flow, outgoing: bool, link: u32, out: &mut Vec<Instruction>) {
    let (peer_at, local_at, protocol_at, ports_at) = match flow.local.ip() {
        IpAddr::V4(_) if outgoing => (16, 12, 9, 20),
        IpAddr::V4(_) => (12, 16, 9, 20),
        IpAddr::V6(_) if outgoing => (24, 8, 6, 40),
        IpAddr::V6(_) => (8, 24, 6, 40),
    };
    let (local_port_at, peer_port_at) =
        if outgoing { (ports_at, ports_at + 2) } else { (ports_at + 2, ports_at) };
    let fragments = flow.transport == Transport::Udp && outgoing;
    let start = out.len();
    let mut misses = Vec::new();
    let mut hits = Vec::new();
    let mut require = |out: &mut Vec<Instruction>, load, at, value| {
        out.push(Instruction::stmt(load, link + at));
        misses.push(out.len());
        out.push(Instruction::jump(JEQ_K, value, 0, 0));
    };
    // The peer's address first: it tells most of a host's packets apart.
    let peer = flow.peer.map(|peer| (peer_at, peer));
    for (at, address) in peer.into_iter().chain([(local_at, flow.local.ip())]) {
        for (i, word) in words(address).into_iter().enumerate().rev() {
            require(out, LD_W_IND, at + 4 * i as u32, word);
        }
    }
    // A datagram larger than the path takes travels in fragments, and only the first has ports.
    if fragments && flow.local.is_ipv6() {
        out.push(Instruction::stmt(LD_B_IND, link + protocol_at));
        hits.push(out.len());
        out.push(Instruction::jump(JEQ_K, IPPROTO_FRAGMENT, 0, 0));
    }
    require(out, LD_B_IND, protocol_at, flow.transport as u32);
    if fragments && flow.local.is_ipv4() {
        out.push(Instruction::stmt(LD_H_IND, link + 6));
        hits.push(out.len());
        out.push(Instruction::jump(JSET_K, 0x1fff, 0, 0));
    }
    require(out, LD_H_IND, local_port_at, flow.local.port().into());
    if let Some(port) = flow.peer_port {
        require(out, LD_H_IND, peer_port_at, port.into());
    }
    let ret = out.len();
    out.push(Instruction::stmt(RET_K, 0));
    debug_assert!(out.len() - start < 256, "a conditional jump reaches 255 instructions");
    for at in misses {
        out[at].jf = (ret - at) as u8;
    }
    for at in hits {
        out[at].jt = (ret - at - 1) as u8;
    }
}

/// An address as the words that a filter loads.
fn words(address: IpAddr) -> Vec<u32> {
    match address {
        IpAddr::V4(a) => vec![a.to_bits()],
        IpAddr::V6(a) => {
            let bits = a.to_bits();
            (0..4).map(|i| (bits >> (96 - 32 * i)) as u32).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capture::filter::{Aux, run};

    const LOCAL: &str = "192.0.2.1:2002";
    const LOCAL6: &str = "[2001:db8::1]:2002";

    fn flow(transport: Transport, local: &str, peer: &str, peer_port: Option<u16>) -> Flow {
        let (local, peer) = (local.parse().unwrap(), Some(peer.parse().unwrap()));
        Flow { transport, local, peer, peer_port }
    }

    struct Frame<'a> {
        vlan: bool,
        protocol: u8,
        from: (&'a str, u16),
        to: (&'a str, u16),
        fragment: u16,
    }

    fn frame(f: &Frame<'_>) -> Vec<u8> {
        let mut p = vec![2; 12];
        if f.vlan {
            p.extend([0x81, 0, 0, 5]);
        }
        let ports = [f.from.1.to_be_bytes(), f.to.1.to_be_bytes()].concat();
        match (f.from.0.parse().unwrap(), f.to.0.parse().unwrap()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                p.extend([8, 0, 0x45, 0, 0, 40, 0, 0]);
                p.extend(f.fragment.to_be_bytes());
                p.extend([64, f.protocol, 0, 0]);
                p.extend(from.octets().iter().chain(&to.octets()));
                p.extend(ports);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                p.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, f.protocol, 64]);
                p.extend(from.octets().iter().chain(&to.octets()));
                p.extend(ports);
            }
            _ => unreachable!("both ends have the same IP version"),
        }
        p.extend([0; 16]);
        p
    }

    /// Whether a guard against `flows`, followed by "accept", lets the packet pass.
    fn lets(flows: &[Flow], linktype: LinkType, packet: &[u8], len: usize) -> bool {
        let mut program = guard(flows.iter(), linktype);
        assert!(!program.is_empty());
        program.push(Instruction::stmt(RET_K, 1));
        run(&program, packet, len as u32, &Aux::default()) == 1
    }

    /// The same for an Ethernet frame, which is asked for with every link header there is.
    fn passes(flows: &[Flow], frame: &[u8]) -> bool {
        let passes = lets(flows, LinkType::ETHERNET, frame, frame.len());
        let mut cooked = vec![0; 14];
        cooked.extend(&frame[12..]);
        // The kernel does not count the header.
        let len = cooked.len() - 16;
        assert_eq!(lets(flows, LinkType::LINUX_SLL, &cooked, len), passes, "cooked");
        if let [8, 0] | [0x86, 0xdd] = frame[12..14] {
            assert_eq!(lets(flows, LinkType::RAW, &frame[14..], frame.len() - 14), passes, "raw");
            let null = [&[2, 0, 0, 0], &frame[14..]].concat();
            assert_eq!(lets(flows, LinkType::NULL, &null, null.len()), passes, "null");
        }
        passes
    }

    #[test]
    fn exactly_the_flow_is_refused_both_ways() {
        for (local, peer, other) in
            [(LOCAL, "192.0.2.9", "192.0.2.8"), (LOCAL6, "2001:db8::9", "2001:db8::8")]
        {
            let host = local.parse::<std::net::SocketAddr>().unwrap().ip().to_string();
            let flows = [
                flow(Transport::Udp, local, other, Some(7)),
                flow(Transport::Tcp, local, peer, Some(40_000)),
            ];
            for vlan in [false, true] {
                let tcp = |from, to| {
                    passes(&flows, &frame(&Frame { vlan, protocol: 6, from, to, fragment: 0 }))
                };
                assert!(!tcp((&host, 2002), (peer, 40_000)));
                assert!(!tcp((peer, 40_000), (&host, 2002)));
                assert!(tcp((peer, 40_001), (&host, 2002)));
                assert!(tcp((peer, 40_000), (&host, 2003)));
                assert!(tcp((&host, 40_000), (peer, 2002)));
                assert!(tcp((other, 40_000), (&host, 2002)));
                let udp = |from, to| {
                    passes(&flows, &frame(&Frame { vlan, protocol: 17, from, to, fragment: 0 }))
                };
                assert!(udp((&host, 2002), (peer, 40_000)));
                assert!(!udp((&host, 2002), (other, 7)));
            }
        }
    }

    #[test]
    fn any_port_of_the_peer_where_it_is_not_known_yet() {
        let flows = [flow(Transport::Tcp, LOCAL, "192.0.2.9", None)];
        let from = |port| {
            let (from, to) = (("192.0.2.9", port), ("192.0.2.1", 2002));
            passes(&flows, &frame(&Frame { vlan: false, protocol: 6, from, to, fragment: 0 }))
        };
        assert!(!from(1) && !from(65_535));
    }

    #[test]
    fn anybody_where_the_daemon_listens() {
        for (local, from) in [(LOCAL, "198.51.100.7"), (LOCAL6, "2001:db8:9::7")] {
            let local: std::net::SocketAddr = local.parse().unwrap();
            let flows = [Flow { transport: Transport::Tcp, local, peer: None, peer_port: None }];
            let host = local.ip().to_string();
            let tcp = |from, to| {
                passes(&flows, &frame(&Frame { vlan: false, protocol: 6, from, to, fragment: 0 }))
            };
            assert!(!tcp((from, 1), (&host, 2002)));
            assert!(!tcp((&host, 2002), (from, 65_535)));
            assert!(tcp((&host, 2003), (from, 2002)));
            assert!(tcp((from, 2002), (from, 2002)));
        }
    }

    #[test]
    fn fragments_of_a_datagram_are_refused_with_it() {
        let flows = [
            flow(Transport::Udp, LOCAL, "192.0.2.9", Some(7)),
            flow(Transport::Udp, LOCAL6, "2001:db8::9", Some(7)),
        ];
        let (from, to) = (("192.0.2.1", 0x1234), ("192.0.2.9", 0x5678));
        let later = Frame { vlan: false, protocol: 17, from, to, fragment: 185 };
        assert!(!passes(&flows, &frame(&later)));
        assert!(passes(&flows, &frame(&Frame { protocol: 6, ..later })));
        let (from, to) = (("2001:db8::1", 0), ("2001:db8::9", 0));
        assert!(!passes(
            &flows,
            &frame(&Frame { vlan: false, protocol: 44, from, to, fragment: 0 })
        ));
    }

    #[test]
    fn foreign_packets_pass_however_short_they_are() {
        let flows = [
            flow(Transport::Tcp, LOCAL, "192.0.2.9", Some(1)),
            flow(Transport::Udp, LOCAL6, "2001:db8::9", Some(7)),
        ];
        let (from, to) = (("192.0.2.7", 1), ("192.0.2.1", 2002));
        let (from6, to6) = (("2001:db8::7", 1), ("2001:db8::1", 2002));
        for vlan in [false, true] {
            for (from, to) in [(from, to), (from6, to6)] {
                let whole = frame(&Frame { vlan, protocol: 6, from, to, fragment: 0 });
                for len in 14..=whole.len() {
                    assert!(passes(&flows, &whole[..len]), "{len} bytes, vlan {vlan}");
                }
            }
        }
        let mut arp = vec![2; 12];
        arp.extend([8, 6]);
        arp.resize(60, 0);
        assert!(passes(&flows, &arp));
    }

    #[test]
    fn there_is_no_guard_without_flows_or_where_ip_is_not_to_be_found() {
        assert!(guard([].iter(), LinkType::ETHERNET).is_empty());
        let flows = [flow(Transport::Tcp, LOCAL, "192.0.2.9", None)];
        assert!(guard(flows.iter(), LinkType(105)).is_empty());
    }

    #[test]
    fn a_filter_still_fits_behind_the_guard_of_many_sessions() {
        let many: Vec<_> = (0..1000)
            .map(|i| {
                flow(Transport::Udp, [LOCAL, LOCAL6][i % 2], ["192.0.2.9", "::9"][i % 2], None)
            })
            .collect();
        assert!(guard(many.iter(), LinkType::ETHERNET).len() < FLOWS_MAX + 50);
    }
}
