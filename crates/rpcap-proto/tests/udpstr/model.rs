//! The format as the tests understand it, written without a look at the code they test.

use rpcap_proto::udpstr::Packer;
use rpcap_proto::wire::{Fraction, PacketHeader};

/// A packet that was sent or delivered.
pub(crate) type Packet = (PacketHeader, Vec<u8>);

/// A packet whose bytes differ from those of every other.
pub(crate) fn packet(npkt: u32, size: usize) -> Packet {
    let header = PacketHeader {
        secs: 1_700_000_000 + npkt,
        fraction: Fraction(npkt % 1_000_000),
        caplen: size as u32,
        len: size as u32 + 4,
        npkt,
    };
    let data = (0..size).map(|i| (i as u32 ^ i as u32 >> 8 ^ npkt.wrapping_mul(31)) as u8);
    (header, data.collect())
}

/// Packets of these sizes, numbered from 1.
pub(crate) fn packets(sizes: &[usize]) -> Vec<Packet> {
    sizes.iter().enumerate().map(|(i, size)| packet(i as u32 + 1, *size)).collect()
}

/// A datagram and the packets, by their place, that have bytes in it.
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    /// The packets that end in it, as the packer says.
    pub(crate) ends: u32,
    pub(crate) continues: bool,
}

/// Takes the closed datagrams out.
pub(crate) fn take(packer: &mut Packer, into: &mut Vec<Sent>) {
    let batch = std::mem::take(packer.flushed());
    for at in 0..batch.datagrams() {
        let datagram = batch.datagram(at).unwrap();
        into.push(Sent {
            bytes: datagram.bytes.to_vec(),
            ends: datagram.packets,
            continues: datagram.continues,
        });
    }
}

/// The datagrams of packets, numbered from `seqno` on, flushed after every packet that `flush`
/// holds.
pub(crate) fn pack(
    mtu: usize,
    seqno: u32,
    packets: &[Packet],
    mut flush: impl FnMut(usize) -> bool,
) -> Vec<Sent> {
    let mut packer = Packer::new(mtu).unwrap().starting_at(seqno);
    let mut sent = Vec::new();
    for (i, (header, data)) in packets.iter().enumerate() {
        packer.push(header, data);
        if flush(i) {
            packer.flush();
        }
        if packer.is_full() {
            take(&mut packer, &mut sent);
        }
    }
    take(&mut packer, &mut sent);
    assert!(packer.batch().is_empty());
    sent
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The packets of a complete stream, every invariant of the format checked on the way; and for
/// every packet the datagrams that it has bytes in.
pub(crate) fn read(mtu: usize, seqno: u32, sent: &[Sent]) -> Vec<(Packet, Vec<usize>)> {
    let mut out: Vec<(Packet, Vec<usize>)> = Vec::new();
    let mut missing = 0;
    for (i, datagram) in sent.iter().enumerate() {
        let d = &datagram.bytes;
        assert_eq!((d[0], d[1]), (0, 110));
        assert_eq!(u32_at(d, 4), seqno.wrapping_add(i as u32));
        assert!(d.len() <= mtu && d.len() > 8);
        let (mut at, mut ends) = (8, 0);
        if missing > 0 {
            let now = missing.min(d.len() - at);
            let (packet, touched) = out.last_mut().unwrap();
            packet.1.extend_from_slice(&d[at..at + now]);
            touched.push(i);
            at += now;
            missing -= now;
            ends += u32::from(missing == 0);
        }
        let first = u16_at(d, 2);
        match at == d.len() {
            true => assert_eq!(first, 0xffff),
            false => assert_eq!(usize::from(first), at),
        }
        while at < d.len() {
            // No packet starts where the datagram was full before.
            assert!(at < mtu - 28);
            let [secs, micros, caplen, len, npkt] = [0, 4, 8, 12, 16].map(|o| u32_at(d, at + o));
            at += 20;
            let now = (caplen as usize).min(d.len() - at);
            assert!(now >= 9 || now == caplen as usize);
            let header = PacketHeader { secs, fraction: Fraction(micros), caplen, len, npkt };
            out.push(((header, d[at..at + now].to_vec()), vec![i]));
            at += now;
            missing = caplen as usize - now;
            ends += u32::from(missing == 0);
        }
        if missing > 0 {
            assert_eq!(d.len(), mtu);
        }
        assert_eq!((datagram.ends, datagram.continues), (ends, missing > 0));
    }
    assert_eq!(missing, 0, "a flush completes the last packet");
    out
}
