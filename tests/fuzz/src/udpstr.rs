//! udpstr datagrams, in any order and of any content.

use rpcap_proto::udpstr::{Counts, Packer, Unpacker};
use rpcap_proto::wire::{PacketHeader, SNAPLEN_MAX};

use super::input::Input;

type Packet = (PacketHeader, Vec<u8>);

/// A length that is no datagram's, but time that passes.
const FLUSH: u16 = 0xffff;

/// Takes the datagrams of an input, each `copies` times.
fn unpack(mut input: Input<'_>, snaplen: u32, copies: usize) -> (Vec<Packet>, Counts) {
    let mut unpacker = Unpacker::new(snaplen);
    let mut packets = Vec::new();
    while !input.is_empty() {
        let mut visit = |header: PacketHeader, data: &[u8]| packets.push((header, data.to_vec()));
        match input.u16() {
            FLUSH => {
                unpacker.flush(&mut visit);
                assert_eq!(unpacker.waits_for(), None);
            }
            len => {
                let datagram = input.take(len.into());
                for _ in 0..copies {
                    unpacker.datagram(datagram, &mut visit);
                }
            }
        }
        let c = unpacker.counts();
        let held = c.received - c.taken - c.duplicates - c.late - c.malformed;
        assert!(held < 16);
        assert_eq!(unpacker.waits_for().is_some(), held > 0);
    }
    unpacker.finish(|header, data| packets.push((header, data.to_vec())));
    let counts = *unpacker.counts();
    (packets, counts)
}

/// Four bytes of snaplen; then, again and again, two bytes of length and so many bytes of a
/// datagram, or 0xffff for time that passes.
///
/// Packets are within their bounds, every datagram is accounted for, doubled datagrams change
/// nothing, and what is delivered comes out the same when it is packed and unpacked again.
pub fn udpstr_unpack(data: &[u8]) {
    let mut input = Input(data);
    let snaplen = input.u32();
    let (packets, counts) = unpack(Input(input.0), snaplen, 1);
    for (header, data) in &packets {
        assert_eq!(header.caplen as usize, data.len());
        assert!(header.caplen <= snaplen.min(SNAPLEN_MAX));
    }
    let c = &counts;
    assert_eq!(c.received, c.taken + c.duplicates + c.late + c.malformed);
    assert_eq!(c.packets, packets.len() as u64);

    let (same, doubled) = unpack(Input(input.0), snaplen, 2);
    assert!(same == packets);
    assert_eq!(doubled.received, 2 * c.received);
    assert_eq!((doubled.taken, doubled.lost, doubled.broken), (c.taken, c.lost, c.broken));

    let mut packer = Packer::new(256 + data.len() % 2048).expect("a valid limit");
    let mut unpacker = Unpacker::new(snaplen);
    let mut again = Vec::new();
    for (header, data) in &packets {
        packer.push(header, data);
    }
    packer.flush();
    let batch = packer.batch();
    for at in 0..batch.datagrams() {
        let datagram = batch.datagram(at).expect("a closed datagram");
        unpacker.datagram(datagram.bytes, |header, data| again.push((header, data.to_vec())));
    }
    assert!(again == packets);
    assert_eq!(unpacker.counts().taken, batch.datagrams() as u64);
}
