use super::*;
use crate::{LinkType, af_packet::linktype::kind};

/// Where the kernel puts the packet, with a tag's room in reserve.
const MAC: usize = 86;

struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    fn new(packet: &[u8]) -> Self {
        let mut bytes = vec![0xee; MAC];
        bytes[..FRAME_HEAD].fill(0);
        bytes.extend(packet);
        let mut frame = Self { bytes };
        frame.put32(offset_of!(Hdr, tp_sec), 1_800_000_000);
        frame.put32(offset_of!(Hdr, tp_nsec), 123_456_789);
        frame.put32(offset_of!(Hdr, tp_snaplen), packet.len() as u32);
        frame.put32(offset_of!(Hdr, tp_len), packet.len() as u32 + 1000);
        frame.put16(offset_of!(Hdr, tp_mac), MAC as u16);
        frame.put16(offset_of!(Hdr, tp_net), MAC as u16 + 14);
        // From 02:00:00:00:00:07 on Ethernet, sent by this host, IPv4.
        frame.put16(SLL, 17);
        frame.bytes[SLL + 2..SLL + 4].copy_from_slice(&[0x08, 0x00]);
        frame.put32(SLL + 4, 7);
        frame.put16(SLL + 8, 1);
        frame.bytes[SLL + 10..SLL + 18].copy_from_slice(&[4, 6, 2, 0, 0, 0, 0, 7]);
        frame
    }

    fn tagged(packet: &[u8], status: u32, tci: u16, tpid: u16) -> Self {
        let mut frame = Self::new(packet);
        frame.put32(offset_of!(Hdr, tp_status), status);
        frame.put32(offset_of!(Hdr, hv1) + 4, tci.into());
        frame.put16(offset_of!(Hdr, hv1) + 8, tpid);
        frame
    }

    fn put32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn put16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    }
}

fn format(hardware: u16, snaplen: usize) -> Format {
    Format { kind: kind("test", hardware), snaplen }
}

fn packet<'a>(frame: &'a mut Frame, format: &Format) -> Packet<'a> {
    match finish(&mut frame.bytes, format, None) {
        Outcome::Packet(packet) => packet,
        other => panic!("{other:?}"),
    }
}

const ETHERNET: u16 = 1;
/// Captured cooked.
const PPP: u16 = 512;
const MACS: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fn ethernet_packet() -> Vec<u8> {
    [&MACS[..], &[0x08, 0x00, 0x45, 0xff]].concat()
}

#[test]
fn plain() {
    let mut frame = Frame::new(&ethernet_packet());
    let got = packet(&mut frame, &format(ETHERNET, 1000));
    assert_eq!(got.ts, Timestamp { secs: 1_800_000_000, nanos: 123_456_789 });
    assert_eq!(got.len, 1016);
    assert_eq!(got.data, ethernet_packet());
}

#[test]
fn a_tag_goes_in_front_of_the_ethertype() {
    let cases = [
        // (status, tci, tpid, tag expected)
        (0x50, 0x6064, 0x88a8, Some([0x88, 0xa8, 0x60, 0x64])),
        (0x10, 0x0064, 0, Some([0x81, 0x00, 0x00, 0x64])),
        (0x10, 0, 0, Some([0x81, 0x00, 0x00, 0x00])),
        (0, 0x0005, 0, Some([0x81, 0x00, 0x00, 0x05])),
        (0, 0, 0x8100, None),
    ];
    for (status, tci, tpid, tag) in cases {
        let mut frame = Frame::tagged(&ethernet_packet(), status, tci, tpid);
        let got = packet(&mut frame, &format(ETHERNET, 1000));
        match tag {
            Some(tag) => {
                assert_eq!(got.data, [&MACS[..], &tag, &[0x08, 0x00, 0x45, 0xff]].concat());
                assert_eq!(got.len, 1020);
            }
            None => assert_eq!((got.data, got.len), (&ethernet_packet()[..], 1016)),
        }
    }
}

#[test]
fn no_tag_into_a_stump_or_an_unknown_link_type() {
    let mut frame = Frame::tagged(&MACS[..11], 0x50, 5, 0x8100);
    assert_eq!(packet(&mut frame, &format(ETHERNET, 1000)).data, &MACS[..11]);
    let mut frame = Frame::tagged(&MACS, 0x50, 5, 0x8100);
    assert_eq!(packet(&mut frame, &format(ETHERNET, 1000)).data.len(), 16);
    let mut frame = Frame::tagged(&MACS, 0x50, 5, 0x8100);
    assert_eq!(packet(&mut frame, &format(0xfffe, 1000)).data, MACS);
}

#[test]
fn the_snaplen_holds_with_the_tag() {
    let mut frame = Frame::tagged(&ethernet_packet(), 0x50, 5, 0x8100);
    let got = packet(&mut frame, &format(ETHERNET, 16));
    assert_eq!(got.data, [&MACS[..], &[0x81, 0, 0, 5]].concat());
    assert_eq!(got.len, 1020);
}

#[test]
fn cooked() {
    let payload = [0x45; 20];
    let header = [0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 8, 0];
    let mut frame = Frame::new(&payload);
    // A cooked header has more room than an Ethernet one.
    frame.bytes.splice(MAC..MAC, [0; 14]);
    frame.put16(offset_of!(Hdr, tp_mac), MAC as u16 + 14);
    let got = packet(&mut frame, &format(PPP, 1000));
    assert_eq!(got.data, [&header[..], &payload].concat());
    assert_eq!(got.len, 1036);
    assert_eq!(kind("test", PPP).linktype, LinkType::LINUX_SLL);

    // With a tag, the protocol moves behind it.
    frame.put32(offset_of!(Hdr, tp_status), 0x50);
    frame.put32(offset_of!(Hdr, hv1) + 4, 9);
    frame.put16(offset_of!(Hdr, hv1) + 8, 0x8100);
    let got = packet(&mut frame, &format(PPP, 1000));
    assert_eq!(got.data, [&header[..14], &[0x81, 0, 0, 9, 8, 0], &payload].concat());
    assert_eq!(got.len, 1040);
}

#[test]
fn a_user_space_filter_sees_the_packet_without_tag_and_limits_it() {
    // ldh [12]; jeq #0x800: keep 14, else nothing
    let program = |ethertype| {
        [
            Instruction::stmt(0x28, 12),
            Instruction::jump(0x15, ethertype, 0, 1),
            Instruction::stmt(0x06, 14),
            Instruction::stmt(0x06, 0),
        ]
    };
    let mut frame = Frame::tagged(&ethernet_packet(), 0x50, 5, 0x8100);
    match finish(&mut frame.bytes, &format(ETHERNET, 1000), Some(&program(0x800))) {
        Outcome::Packet(packet) => assert_eq!((packet.data.len(), packet.len), (18, 1020)),
        other => panic!("{other:?}"),
    }
    let mut frame = Frame::tagged(&ethernet_packet(), 0x50, 5, 0x8100);
    let outcome = finish(&mut frame.bytes, &format(ETHERNET, 1000), Some(&program(0x8100)));
    assert_eq!(outcome, Outcome::Refused);
}

#[test]
fn can_identifiers_are_turned_and_flags_told() {
    let id = 0x1234_5678_u32;
    let mut bytes = id.to_ne_bytes().to_vec();
    bytes.extend([8, 0xff, 0xaa, 0xbb, 1]);
    let mut frame = Frame::new(&bytes);
    frame.bytes[SLL + 2..SLL + 4].copy_from_slice(&[0, 0x0d]);
    let got = packet(&mut frame, &format(280, 1000)).data;
    assert_eq!(got, [0x12, 0x34, 0x56, 0x78, 8, 0x07, 0, 0, 1]);
    let mut frame = Frame::new(&bytes);
    frame.bytes[SLL + 2..SLL + 4].copy_from_slice(&[0, 0x0c]);
    let got = packet(&mut frame, &format(280, 1000)).data;
    assert_eq!(got[5..8], [0xfb, 0xaa, 0xbb]);
}

#[test]
fn offsets_outside_the_frame_are_malformed() {
    let good = Frame::new(&ethernet_packet());
    let mut frames = Vec::new();
    for mac in [0, 71, 87, 0xffff] {
        let mut frame = Frame { bytes: good.bytes.clone() };
        frame.put16(offset_of!(Hdr, tp_mac), mac);
        frames.push(frame);
    }
    for snaplen in [17, u32::MAX] {
        let mut frame = Frame { bytes: good.bytes.clone() };
        frame.put32(offset_of!(Hdr, tp_snaplen), snaplen);
        frames.push(frame);
    }
    frames.push(Frame { bytes: good.bytes[..67].to_vec() });
    frames.push(Frame { bytes: vec![] });
    for mut frame in frames {
        assert_eq!(finish(&mut frame.bytes, &format(ETHERNET, 1000), None), Outcome::Malformed);
    }
}

proptest::proptest! {
    #[test]
    fn whatever_the_ring_says_nothing_panics(
        mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        mac in 60u16..120,
        keep in 0u32..100,
        cooked in proptest::bool::ANY,
    ) {
        if let Some(at) = bytes.get_mut(24..26) {
            at.copy_from_slice(&mac.to_ne_bytes());
        }
        if let Some(at) = bytes.get_mut(12..16) {
            at.copy_from_slice(&keep.to_ne_bytes());
        }
        let program = [Instruction::stmt(0x06, keep)];
        let _ = next_offset(&bytes);
        finish(&mut bytes, &format(if cooked { PPP } else { ETHERNET }, 30), Some(&program));
    }
}
