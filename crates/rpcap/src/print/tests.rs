use std::io::Write as _;
use std::process::{Command, Stdio};

use etherparse::{Ethernet2Header, PacketBuilder, TcpOptionElement, ether_type};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::file::{Format, Meta, Record, Summary, Writer};

const LINK_TYPES: [u32; 12] = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 147, 9];

/// 2023-11-14 22:13:20.123456789 UTC
const TIME: (u64, u32) = (1_700_000_000, 123_456_789);

struct Sample {
    linktype: u32,
    /// Bytes on the wire that were not captured
    missing: u32,
    data: Vec<u8>,
    /// What follows the time
    expected: &'static str,
    /// Whether tcpdump 4.99.3 prints the same
    same: bool,
}

impl Sample {
    fn new(linktype: u32, data: Vec<u8>, expected: &'static str) -> Sample {
        Sample { linktype, missing: 0, data, expected, same: true }
    }

    /// Captured with a snaplen too small.
    fn cut(self, kept: usize, expected: &'static str) -> Sample {
        let missing = (self.data.len() - kept) as u32;
        let data = self.data[..kept].to_vec();
        Sample { missing, data, expected, ..self }
    }

    fn unlike_tcpdump(self) -> Sample {
        Sample { same: false, ..self }
    }

    fn record(&self) -> Record<'_> {
        let len = self.data.len() as u32 + self.missing;
        Record { secs: TIME.0, nanos: TIME.1, len, data: &self.data, ..Record::default() }
    }
}

fn text(linktype: u32, packet: &Record<'_>) -> String {
    let mut text = String::new();
    let Record { secs, nanos, len, data, .. } = *packet;
    line(&mut text, linktype, secs, nanos, len, data).unwrap();
    text
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let source = [2, 0, 0, 0, 0, 1];
    let destination = [2, 0, 0, 0, 0, 2];
    let header = Ethernet2Header { source, destination, ether_type: kind.into() };
    [&header.to_bytes(), payload].concat()
}

fn v4() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
}

fn v6() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    PacketBuilder::ipv6(address(1), address(2), 64)
}

macro_rules! built {
    ($builder:expr, $payload:expr) => {{
        let mut bytes = Vec::new();
        $builder.write(&mut bytes, $payload).unwrap();
        bytes
    }};
}

fn syn() -> Vec<u8> {
    let options = [
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Timestamp(7, 0),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];
    built!(v4().tcp(43210, 80, 1000, 64240).syn().options(&options).unwrap(), &[])
}

/// An ICMP error about a UDP datagram to port 9999.
fn quoting(kind: u8, code: u8, word: [u8; 4]) -> Vec<u8> {
    let about = built!(v4().udp(4000, 9999), b"hello");
    built!(v4().icmpv4_raw(kind, code, word), &about)
}

fn quoting_v6(kind: u8, code: u8, word: [u8; 4]) -> Vec<u8> {
    let about = built!(v6().udp(4000, 9999), b"hello");
    built!(v6().icmpv6_raw(kind, code, word), &about)
}

fn fragment(offset_and_flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = built!(v4().udp(1, 2), payload);
    packet[6..8].copy_from_slice(&offset_and_flags.to_be_bytes());
    packet
}

fn arp(operation: u16, target: [u8; 6]) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation as u8];
    let sender = [2, 0, 0, 0, 0, 1, 10, 0, 0, 1];
    ethernet(0x806, &[&head[..], &sender, &target, &[10, 0, 0, 2]].concat())
}

#[rustfmt::skip]
fn tcp() -> Vec<Sample> {
    let sacks = TcpOptionElement::SelectiveAcknowledgement((5, 6), [Some((8, 9)), None, None]);
    let every_flag = v4().tcp(1, 2, u32::MAX, 5).fin().syn().rst().psh().ack(3).urg(4).ece().cwr();
    let unknown = v4().tcp(1, 2, 3, 4).ack(5).options_raw(&[1, 253, 4, 0xab, 0xcd, 0, 0, 0]).unwrap();
    vec![
        Sample::new(101, syn(), "IP 10.0.0.1.43210 > 10.0.0.2.80: Flags [S], seq 1000, win 64240, options [mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7], length 0"),
        Sample::new(101, built!(v4().tcp(5000, 43210, 7, 512).psh().ack(9), b"data"), "IP 10.0.0.1.5000 > 10.0.0.2.43210: Flags [P.], seq 7:11, ack 9, win 512, length 4"),
        Sample::new(101, built!(v4().tcp(1, 2, 3, 4).ack(5).options(&[sacks]).unwrap(), &[]), "IP 10.0.0.1.1 > 10.0.0.2.2: Flags [.], ack 5, win 4, options [sack 2 {5:6}{8:9},eol], length 0"),
        Sample::new(101, built!(v4().tcp(1, 2, 3, 4), &[]), "IP 10.0.0.1.1 > 10.0.0.2.2: Flags [none], win 4, length 0"),
        Sample::new(101, built!(every_flag, b"abc"), "IP 10.0.0.1.1 > 10.0.0.2.2: Flags [FSRP.UEW], seq 4294967295:2, ack 3, win 5, urg 4, length 3"),
        Sample::new(101, built!(v6().tcp(1, 2, 3, 4).rst(), &[]), "IP6 fd00::1.1 > fd00::2.2: Flags [R], seq 3, win 4, length 0"),
        Sample::new(101, built!(unknown, &[]), "IP 10.0.0.1.1 > 10.0.0.2.2: Flags [.], ack 5, win 4, options [nop,unknown-253,eol], length 0").unlike_tcpdump(),
        Sample::new(101, syn(), "").cut(39, "IP 10.0.0.1 > 10.0.0.2: [|tcp]").unlike_tcpdump(),
        Sample::new(101, syn(), "").cut(50, "IP 10.0.0.1.43210 > 10.0.0.2.80: Flags [S], seq 1000, win 64240 [|tcp]").unlike_tcpdump(),
        Sample::new(101, built!(v4().tcp(1, 2, 3, 4).psh(), &[0; 100]), "").cut(40, "IP 10.0.0.1.1 > 10.0.0.2.2: Flags [P], seq 3:103, win 4, length 100"),
    ]
}

#[rustfmt::skip]
fn udp_and_others() -> Vec<Sample> {
    let split = |mut packet: Vec<u8>| { packet[2..4].fill(0); packet };
    vec![
        Sample::new(101, built!(v4().udp(4000, 5000), &[0; 20]), "IP 10.0.0.1.4000 > 10.0.0.2.5000: UDP, length 20"),
        Sample::new(101, built!(v6().udp(4000, 5000), &[]), "IP6 fd00::1.4000 > fd00::2.5000: UDP, length 0"),
        Sample::new(101, built!(v4().udp(4000, 5000), &[0; 20]), "").cut(28, "IP 10.0.0.1.4000 > 10.0.0.2.5000: UDP, length 20"),
        Sample::new(101, built!(v4().udp(4000, 5000), &[]), "").cut(27, "IP 10.0.0.1 > 10.0.0.2: [|udp]").unlike_tcpdump(),
        Sample::new(101, split(built!(v4().tcp(1, 2, 3, 4), &[0; 9])), "IP 10.0.0.1.1 > 10.0.0.2.2: Flags [none], seq 3:12, win 4, length 9").unlike_tcpdump(),
        Sample::new(101, fragment(0x2000, &[0; 40]), "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 40"),
        Sample::new(101, fragment(0x2003, &[0; 40]), "IP 10.0.0.1 > 10.0.0.2: frag (24|48) ip-proto-17").unlike_tcpdump(),
        Sample::new(101, { let mut packet = fragment(0, &[]); packet[9] = 253; packet }, "IP 10.0.0.1 > 10.0.0.2: ip-proto-253, length 8").unlike_tcpdump(),
        Sample::new(101, { let mut packet = fragment(0, &[]); packet[9] = 47; packet }, "IP 10.0.0.1 > 10.0.0.2: GRE, length 8").unlike_tcpdump(),
        Sample::new(101, syn(), "").cut(19, "IP [|ip]").unlike_tcpdump(),
        Sample::new(101, built!(v6().udp(1, 2), &[]), "").cut(39, "IP6 [|ip6]").unlike_tcpdump(),
        Sample::new(101, vec![0x43; 40], "IP, bad header, length 40").unlike_tcpdump(),
        Sample::new(101, vec![0x73; 40], "IP version 7, length 40").unlike_tcpdump(),
    ]
}

#[rustfmt::skip]
fn icmp() -> Vec<Sample> {
    let neighbor = |kind| {
        let target = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        built!(v6().icmpv6_raw(kind, 0, [0; 4]), &target)
    };
    vec![
        Sample::new(101, built!(v4().icmpv4_echo_request(7, 8), &[0; 56]), "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 7, seq 8, length 64"),
        Sample::new(101, built!(v4().icmpv4_echo_reply(7, 8), &[0; 56]), "").cut(40, "IP 10.0.0.1 > 10.0.0.2: ICMP echo reply, id 7, seq 8, length 64"),
        Sample::new(101, quoting(3, 0, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP net 10.0.0.2 unreachable, length 41"),
        Sample::new(101, quoting(3, 1, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP host 10.0.0.2 unreachable, length 41"),
        Sample::new(101, quoting(3, 2, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.2 protocol 17 unreachable, length 41"),
        Sample::new(101, quoting(3, 3, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.2 udp port 9999 unreachable, length 41"),
        Sample::new(101, quoting(3, 4, [0, 0, 5, 0x78]), "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.2 unreachable - need to frag (mtu 1400), length 41"),
        Sample::new(101, quoting(3, 10, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP host 10.0.0.2 unreachable - admin prohibited, length 41"),
        Sample::new(101, quoting(3, 13, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP host 10.0.0.2 unreachable - admin prohibited filter, length 41"),
        Sample::new(101, quoting(3, 3, [0; 4]), "").cut(40, "IP 10.0.0.1 > 10.0.0.2: ICMP unreachable, code 3 [|icmp], length 41").unlike_tcpdump(),
        Sample::new(101, quoting(5, 1, [10, 0, 0, 9]), "IP 10.0.0.1 > 10.0.0.2: ICMP redirect 10.0.0.2 to host 10.0.0.9, length 41"),
        Sample::new(101, quoting(11, 0, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP time exceeded in-transit, length 41"),
        Sample::new(101, quoting(11, 1, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP ip reassembly time exceeded, length 41"),
        Sample::new(101, quoting(77, 0, [0; 4]), "IP 10.0.0.1 > 10.0.0.2: ICMP type-#77, length 41"),
        Sample::new(101, built!(v6().icmpv6_echo_request(7, 8), &[0; 8]), "IP6 fd00::1 > fd00::2: ICMP6, echo request, id 7, seq 8, length 16"),
        Sample::new(101, neighbor(135), "IP6 fd00::1 > fd00::2: ICMP6, neighbor solicitation, who has fd00::9, length 24"),
        Sample::new(101, neighbor(136), "IP6 fd00::1 > fd00::2: ICMP6, neighbor advertisement, tgt is fd00::9, length 24"),
        Sample::new(101, neighbor(135), "").cut(60, "IP6 fd00::1 > fd00::2: ICMP6, neighbor solicitation [|icmp6], length 24").unlike_tcpdump(),
        Sample::new(101, quoting_v6(1, 0, [0; 4]), "IP6 fd00::1 > fd00::2: ICMP6, destination unreachable, unreachable route fd00::2, length 61"),
        Sample::new(101, quoting_v6(1, 1, [0; 4]), "IP6 fd00::1 > fd00::2: ICMP6, destination unreachable, unreachable prohibited fd00::2, length 61").unlike_tcpdump(),
        Sample::new(101, quoting_v6(1, 3, [0; 4]), "IP6 fd00::1 > fd00::2: ICMP6, destination unreachable, unreachable address fd00::2, length 61"),
        Sample::new(101, quoting_v6(1, 4, [0; 4]), "IP6 fd00::1 > fd00::2: ICMP6, destination unreachable, unreachable port, fd00::2 udp port 9999, length 61"),
        Sample::new(101, quoting_v6(2, 0, [0, 0, 5, 0]), "IP6 fd00::1 > fd00::2: ICMP6, packet too big, mtu 1280, length 61"),
    ]
}

#[rustfmt::skip]
fn links() -> Vec<Sample> {
    let ping = || built!(v4().icmpv4_echo_request(1, 2), &[]);
    let family = |bytes: [u8; 4]| [&bytes[..], &ping()].concat();
    let cooked = |kind: u8, at: usize, header: usize| {
        let mut packet = vec![0; header];
        packet[at..at + 2].copy_from_slice(&[8, kind]);
        [packet, ping()].concat()
    };
    let tagged = ethernet(0x88a8, &[&[0, 100, 0x81, 0, 0x20, 5, 8, 0][..], &ping()].concat());
    const PING: &str = "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 1, seq 2, length 8";
    vec![
        Sample::new(1, ethernet(0x800, &ping()), PING),
        Sample::new(1, ethernet(0x800, &ping()), "").cut(13, "[|ether]").unlike_tcpdump(),
        Sample::new(1, tagged, "vlan 100, vlan 5, IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 1, seq 2, length 8").unlike_tcpdump(),
        Sample::new(1, ethernet(0x8100, &[0, 5, 8]), "[|vlan]").unlike_tcpdump(),
        Sample::new(1, ethernet(0x88b5, &[0; 46]), "ethertype 0x88b5, length 46").unlike_tcpdump(),
        Sample::new(1, ethernet(46, &[0; 46]), "802.3, length 46").unlike_tcpdump(),
        Sample::new(1, arp(1, [0; 6]), "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28"),
        Sample::new(1, arp(1, [255; 6]), "ARP, Request who-has 10.0.0.2 (ff:ff:ff:ff:ff:ff) tell 10.0.0.1, length 28"),
        Sample::new(1, arp(2, [2, 0, 0, 0, 0, 2]), "ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:01, length 28"),
        Sample::new(1, [arp(1, [0; 6]), vec![0; 18]].concat(), "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 46"),
        Sample::new(1, arp(9, [0; 6]), "ARP, operation 9, length 28").unlike_tcpdump(),
        Sample::new(1, arp(1, [0; 6]), "").cut(30, "ARP, [|arp]").unlike_tcpdump(),
        Sample::new(0, family([2, 0, 0, 0]), PING),
        Sample::new(0, family([0, 0, 0, 2]), PING),
        Sample::new(108, family([0, 0, 0, 2]), PING),
        Sample::new(0, family([0, 0, 0, 99]), "AF 99, length 28").unlike_tcpdump(),
        Sample::new(113, cooked(0, 14, 16), PING),
        Sample::new(113, cooked(0, 14, 16), "").cut(15, "[|sll]").unlike_tcpdump(),
        Sample::new(276, cooked(0, 0, 20), PING).unlike_tcpdump(),
        Sample::new(12, ping(), PING),
        Sample::new(147, ping(), "linktype 147, 28 bytes").unlike_tcpdump(),
        Sample::new(147, ping(), "").cut(0, "linktype 147, 28 bytes").unlike_tcpdump(),
    ]
}

fn samples() -> Vec<Sample> {
    [tcp(), udp_and_others(), icmp(), links()].into_iter().flatten().collect()
}

#[test]
fn prints_what_is_expected() {
    for sample in samples() {
        let printed = text(sample.linktype, &sample.record());
        assert_eq!(printed.strip_prefix("22:13:20.123456 "), Some(sample.expected));
    }
}

#[test]
fn prints_what_tcpdump_does() {
    let found = Command::new("tcpdump").arg("--version").output().is_ok();
    if !found {
        let required = std::env::var_os("RPCAP_REQUIRE_ALL").is_some_and(|set| set == "1");
        assert!(!required, "tcpdump is missing");
        eprintln!("SKIPPED: tcpdump is missing");
        return;
    }
    for linktype in LINK_TYPES {
        let samples: Vec<Sample> =
            samples().into_iter().filter(|one| one.linktype == linktype && one.same).collect();
        let meta = Meta { linktype, ..Meta::default() };
        let mut tcpdump = Command::new("tcpdump")
            .args(["-n", "-S", "-r", "-"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut file = Writer::new(Vec::new(), Format::Pcap, &meta).unwrap();
        for sample in &samples {
            file.write(&sample.record()).unwrap();
        }
        let file = file.finish(&Summary::default()).unwrap();
        tcpdump.stdin.take().unwrap().write_all(&file).unwrap();
        let output = tcpdump.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let expected: Vec<String> =
            samples.iter().map(|one| format!("22:13:20.123456 {}", one.expected)).collect();
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "link type {linktype}");
    }
}

#[test]
fn time_of_day() {
    for (secs, nanos, expected) in [
        (0, 0, "00:00:00.000000 "),
        (86_399, 999_999_999, "23:59:59.999999 "),
        (86_399, 1_000_000_000, "00:00:00.000000 "),
        (u64::MAX, u32::MAX, "07:00:15.294967 "),
    ] {
        let mut text = String::new();
        time(&mut text, secs, nanos).unwrap();
        assert_eq!(text, expected);
    }
}

/// Any bytes, with and without headers that lead somewhere.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let random = prop::collection::vec(any::<u8>(), 0..120);
    let kinds = select(&[ether_type::IPV4, ether_type::IPV6, ether_type::ARP][..]);
    let framed = (kinds, random.clone()).prop_map(|(kind, bytes)| ethernet(kind.0, &bytes));
    let ip = (select(&[0x45, 0x46, 0x60][..]), select(&[0, 1, 6, 17, 44, 58][..]), random.clone())
        .prop_map(|(version, protocol, mut bytes)| {
            bytes.resize(bytes.len().max(20), 0);
            bytes[0] = version;
            bytes[if version == 0x60 { 6 } else { 9 }] = protocol;
            bytes
        });
    let changed = (
        any::<Index>(),
        any::<Index>(),
        prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
    )
        .prop_map(|(which, kept, changes)| {
            let mut data = which.get(&samples()).data.clone();
            for (at, byte) in changes {
                if !data.is_empty() {
                    *at.get_mut(&mut data) = byte;
                }
            }
            data.truncate(kept.index(data.len() + 1));
            data
        });
    prop_oneof![random, framed, ip, changed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn prints_one_clean_line_whatever_comes(
        linktype in prop_oneof![9 => select(&LINK_TYPES[..]), 1 => any::<u32>()],
        data in bytes(),
        len: u32,
        secs: u64,
        nanos: u32,
    ) {
        let printed = text(linktype, &Record { secs, nanos, len, data: &data, ..Record::default() });
        prop_assert!(printed.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{:?}", printed);
    }
}

#[test]
fn prints_every_sample_cut_anywhere() {
    for sample in samples() {
        for kept in 0..sample.data.len() {
            let record = Record { data: &sample.data[..kept], ..sample.record() };
            let printed = text(sample.linktype, &record);
            assert!(
                printed.len() > "22:13:20.123456 ".len(),
                "{kept} bytes of {}",
                sample.expected
            );
        }
    }
}

/// Extension headers that claim more than there is, and fragments behind others.
#[test]
fn extension_headers_of_ipv6() {
    let print = |first: u8, extensions: &[u8]| {
        let mut packet = vec![0x60, 0, 0, 0, 0, 40, first, 64];
        packet.extend([[1; 16], [2; 16]].concat());
        packet.extend_from_slice(extensions);
        let len = packet.len() as u32;
        text(101, &Record { secs: 0, nanos: 0, len, data: &packet, ..Record::default() })
    };
    // Hop-by-hop options, whose next header is a fragment of UDP at 24.
    let options = [44, 0, 1, 4, 0, 0, 0, 0];
    let fragment = [17, 0, 0, 24, 0, 0, 0, 9];
    assert!(print(0, &[options, fragment].concat()).contains("frag (24|"));
    let first = print(44, &[17, 0, 0, 1, 0, 0, 0, 9]);
    assert!(first.ends_with("[|udp]"), "{first}");
    for first in [0, 43, 44, 51, 60] {
        for extensions in [&[][..], &[17], &[17, 255, 0, 0, 0, 0, 0, 0], &options[..7], &options] {
            let line = print(first, extensions);
            assert!(line.contains(" IP6 "), "{line}");
        }
    }
}
