use etherparse::{PacketBuilder, TcpHeader};
use proptest::prelude::*;

use super::checksum::Sum;
use super::layout::Layout;
use super::*;

/// What an offloading host lets one capture: the checksum is the sum of the pseudo-header.
fn offloaded(linktype: u32, sound: &[u8]) -> Vec<u8> {
    let mut packet = sound.to_vec();
    let layout = Layout::of(linktype, &packet).unwrap();
    let (from, bytes) = if layout.version == 4 { (12, 8) } else { (8, 32) };
    let (at, number) = match layout.protocol {
        Protocol::Tcp => (16, 6),
        Protocol::Udp => (6, 17),
    };
    let addresses = &sound[layout.ip + from..layout.ip + from + bytes];
    let length = (layout.end - layout.transport) as u64;
    let sum = Sum::default().add(addresses).number(number).number(length).folded();
    packet[layout.transport + at..layout.transport + at + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn repaired(repair: &str, linktype: u32, record: &Record<'_>) -> (Vec<Vec<u8>>, Counts) {
    let mut repairer = Repairer::new(repair.parse().unwrap());
    let mut packets = Vec::new();
    repairer.packet(linktype, record, &mut |r| packets.push(r.data.to_vec()));
    (packets, repairer.counts())
}

fn record(data: &[u8]) -> Record<'_> {
    Record { len: data.len() as u32, data, ..Record::default() }
}

/// A packet of each kind that has a checksum, sound, with its link type.
fn packets(payload: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let ethernet = || PacketBuilder::ethernet2([1; 6], [2; 6]);
    let tagged = || ethernet().double_vlan(1.try_into().unwrap(), 2.try_into().unwrap());
    let (a, b) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let (c, d) = ([0x20; 16], [0x30; 16]);
    let mut made = Vec::new();
    let mut add = |linktype: u32, write: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = Vec::new();
        write(&mut packet);
        made.push((linktype, packet));
    };
    add(1, &|p| ethernet().ipv4(a, b, 64).tcp(1, 2, 3, 4).write(p, payload).unwrap());
    add(1, &|p| ethernet().ipv6(c, d, 64).tcp(1, 2, 3, 4).write(p, payload).unwrap());
    add(1, &|p| tagged().ipv4(a, b, 64).udp(1, 2).write(p, payload).unwrap());
    add(1, &|p| tagged().ipv6(c, d, 64).udp(1, 2).write(p, payload).unwrap());
    add(12, &|p| PacketBuilder::ipv4(a, b, 64).udp(1, 2).write(p, payload).unwrap());
    add(12, &|p| PacketBuilder::ipv6(c, d, 64).tcp(1, 2, 3, 4).write(p, payload).unwrap());
    made
}

#[test]
fn the_sum_is_that_of_rfc_1071() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::default().add(&bytes).folded(), 0xddf2);
    assert_eq!(Sum::default().add(&[1]).folded(), 0x0100);
    assert_eq!(Sum::default().add(&[1, 2, 3]).folded(), 0x0402);
    assert_eq!(Sum::default().number(0x1_0000_ffff).folded(), 1);
}

#[test]
fn what_is_to_be_repaired_is_read_and_shown() {
    for text in ["none", "checksums", "segments=9000", "checksums,segments=1500"] {
        assert_eq!(text.parse::<Repair>().unwrap().to_string(), text);
    }
    assert_eq!("segments,checksums".parse(), Ok(Repair::ALL));
    for text in ["", "none,checksums", "segments=575", "segments=65536", "segments=", "checksum"] {
        assert!(text.parse::<Repair>().is_err(), "{text}");
    }
}

#[test]
fn only_what_the_sender_left_to_its_card_gets_a_checksum() {
    for (linktype, sound) in packets(b"what is carried") {
        let left = offloaded(linktype, &sound);
        assert_ne!(left, sound);
        assert_eq!(repaired("checksums", linktype, &record(&left)).0, std::slice::from_ref(&sound));
        assert_eq!(
            repaired("checksums", linktype, &record(&sound)).0,
            std::slice::from_ref(&sound)
        );
        // Damaged packets stay damaged, unless they are known not to be.
        let mut damaged = sound.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(
            repaired("checksums", linktype, &record(&damaged)).0,
            std::slice::from_ref(&damaged)
        );
        let ready = Record { checksum: Checksum::Ready, ..record(&left) };
        assert_eq!(repaired("checksums", linktype, &ready).0, std::slice::from_ref(&left));
        // Of a tunnel, it is the packet inside that is not ready.
        let mut outer = sound.clone();
        let layout = Layout::of(linktype, &outer).unwrap();
        let at = layout.transport + if layout.protocol == Protocol::Tcp { 16 } else { 6 };
        outer[at] ^= 0x55;
        for (data, expected) in [(&left, &sound), (&outer, &outer)] {
            let unready = Record { checksum: Checksum::NotReady, ..record(data) };
            assert_eq!(repaired("checksums", linktype, &unready).0, std::slice::from_ref(expected));
        }
        // What was cut cannot be summed up.
        let cut = Record { data: &left[..left.len() - 1], ..record(&left) };
        let (packets, counts) = repaired("checksums", linktype, &cut);
        assert_eq!((packets, counts.impossible), (vec![cut.data.to_vec()], 1));
    }
}

#[test]
fn a_large_packet_becomes_the_segments_of_the_card() {
    let payload: Vec<u8> = (0..4000u32).map(|n| n as u8).collect();
    let mut header = TcpHeader::new(1, 2, u32::MAX - 1000, 500);
    (header.fin, header.psh, header.ack, header.cwr) = (true, true, true, true);
    header.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
    let mut sound = Vec::new();
    let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
    ip.tcp_header(header).write(&mut sound, &payload).unwrap();
    sound[18..20].copy_from_slice(&[0xff, 0xff]);
    super::layout::fill_ipv4(&mut sound, 14, 34);
    let (segments, counts) = repaired("segments", 1, &record(&offloaded(1, &sound)));
    assert_eq!((counts.split, counts.segments, segments.len()), (1, 3, 3));
    let mut joined = Vec::new();
    for (n, segment) in segments.iter().enumerate() {
        let layout = Layout::of(1, segment).unwrap();
        assert!(layout.is_sound(segment) && segment.len() <= 14 + 1500);
        let parsed = etherparse::SlicedPacket::from_ethernet(segment).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = parsed.net else { panic!("no IPv4") };
        assert_eq!(ip.header().identification(), 0xffffu16.wrapping_add(n as u16));
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        let Some(etherparse::TransportSlice::Tcp(tcp)) = parsed.transport else { panic!("no TCP") };
        let sequence = (u32::MAX - 1000).wrapping_add(1448 * n as u32);
        assert_eq!(tcp.sequence_number(), sequence);
        let flags = (tcp.cwr(), tcp.psh(), tcp.fin(), tcp.ack());
        assert_eq!(flags, (n == 0, n == 2, n == 2, true));
        joined.extend_from_slice(tcp.payload());
    }
    assert_eq!(joined, payload);
    // A damaged one would come out sound.
    *sound.last_mut().unwrap() ^= 1;
    let (packets, counts) = repaired("segments", 1, &record(&sound));
    assert_eq!((packets, counts.impossible), (vec![sound], 1));
}

proptest! {
    #[test]
    fn whatever_comes_is_given_on(
        data in prop::collection::vec(any::<u8>(), 0..200),
        linktype in prop::sample::select(vec![1u32, 12, 113, 276]),
        more: u8,
    ) {
        let record = Record { len: data.len() as u32 + u32::from(more), ..record(&data) };
        let (packets, _) = repaired("checksums,segments=576", linktype, &record);
        prop_assert_eq!(packets.len(), 1);
        prop_assert_eq!(packets[0].len(), data.len());
    }

    #[test]
    fn segments_join_to_what_they_were(
        payload in prop::collection::vec(any::<u8>(), 1..6000),
        mtu in 576u32..2000,
        which in 0usize..6,
    ) {
        let (linktype, sound) = packets(&payload).swap_remove(which);
        let repair = format!("checksums,segments={mtu}");
        let left = offloaded(linktype, &sound);
        let (segments, counts) = repaired(&repair, linktype, &record(&left));
        let layout = Layout::of(linktype, &sound).unwrap();
        if counts.split == 0 {
            prop_assert_eq!(segments, vec![sound]);
            prop_assert!(layout.protocol == Protocol::Udp || layout.ip_length() <= mtu as usize);
        } else {
            let mut joined = Vec::new();
            for segment in &segments {
                let layout = Layout::of(linktype, segment).unwrap();
                prop_assert!(layout.is_sound(segment) && layout.ip_length() <= mtu as usize);
                joined.extend_from_slice(&segment[layout.transport + 20..]);
            }
            prop_assert_eq!(joined, payload);
            prop_assert_eq!(counts.segments, segments.len() as u64);
        }
    }
}
