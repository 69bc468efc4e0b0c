//! Packets as somebody on the network made them: printed, told apart by their flows, framed.

use capture::LinkType;
use rpcap::file::Record;
use rpcap::repair::{Repair, Repairer};
use rpcap_proto::udpstr::Unpacker;
use rpcap_proto::wire::{Checksum, PacketHeader, PacketMessage, SNAPLEN_MAX};
use rpcapd::ledger::Taken;
use rpcapd::limits::flow::number;
use rpcapd::transport::{Framer, Messages, Stream, UdpStream};

use super::input::Input;

/// Ethernet, raw IP, cooked, BSD loopback of both sorts; then one that nobody knows.
const LINK_TYPES: [u32; 7] = [1, 12, 113, 0, 108, 101, 147];

/// A byte for the link type, four of the length on the wire, then a packet.
///
/// It becomes one line of harmless characters that is not much longer than a line.
pub fn print(data: &[u8]) {
    let mut input = Input(data);
    let (linktype, len) = (input.pick(&LINK_TYPES), input.u32());
    let mut line = String::new();
    rpcap::print::line(&mut line, linktype, u64::from(len) << 20, len, len, input.0)
        .expect("memory takes it");
    assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
    assert!(line.len() < 2000, "{line}");
}

/// A byte for the link type, then a packet.
///
/// A packet is of one flow, and of the same when two neighbours are swapped.
pub fn flow(data: &[u8]) {
    let mut input = Input(data);
    let linktype = LinkType(input.pick(&LINK_TYPES));
    let keys = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3211];
    let flow = number(linktype, input.0, keys);
    assert_eq!(number(linktype, input.0, keys), flow);
    // The other direction of Ethernet.
    if linktype == LinkType::ETHERNET && input.0.len() >= 12 {
        let mut back = input.0.to_vec();
        back[..12].rotate_left(6);
        assert_eq!(number(linktype, &back, keys), flow, "neighbours swapped");
    }
}

/// A byte for the link type, one for what is done (bit 0 checksums, bit 1 segments) and, from bit 2 on,
/// what is known of the checksum, two for the MTU, then a packet.
///
/// Nothing is larger than it was, or larger than the MTU once it was split; together the segments have
/// the bytes that there were; and what was repaired is not repaired again.
pub fn repair(data: &[u8]) {
    let mut input = Input(data);
    let linktype = input.pick(&LINK_TYPES);
    let (what, mtu) = (input.u8(), u32::from(input.u16()));
    let checksum = match what >> 2 & 3 {
        0 | 3 => Checksum::Unknown,
        1 => Checksum::Ready,
        _ => Checksum::NotReady,
    };
    let repair = Repair { checksums: what & 1 != 0, segments: (what & 2 != 0).then_some(mtu) };
    let len = input.0.len() as u32;
    let record = Record { len, data: input.0, checksum, ..Record::default() };
    let mut repairer = Repairer::new(repair);
    let mut packets = Vec::new();
    repairer.packet(linktype, &record, &mut |r| {
        assert_eq!(r.len as usize, r.data.len());
        packets.push(r.data.to_vec());
    });
    let counts = repairer.counts();
    assert_eq!(counts.segments, if counts.split == 0 { 0 } else { packets.len() as u64 });
    if counts.split == 0 {
        let [packet] = &packets[..] else { panic!("{} packets of one", packets.len()) };
        let changed = packet.iter().zip(input.0).filter(|(a, b)| a != b).count();
        // A checksum of IP and one of what it carries.
        assert!(
            packet.len() == input.0.len() && changed <= if counts.checksums == 0 { 0 } else { 4 }
        );
    } else {
        // Headers of some length are in each of them; without, they are what there was.
        let joined = |header: usize| -> Option<Vec<u8>> {
            let parts = packets.iter().map(|p| p.get(header..));
            Some(parts.collect::<Option<Vec<_>>>()?.concat())
        };
        let whole = |header| {
            joined(header).is_some_and(|all| !all.is_empty() && input.0[header..].starts_with(&all))
        };
        let header =
            (40..=14 + 8 + 60 + 60).find(|header| whole(*header)).expect("all that there was");
        assert!(packets.iter().all(|p| p.len() <= mtu as usize + header));
    }
    let mut again = Repairer::new(repair);
    // What was ready before may look as if it were not.
    let checksum = if checksum == Checksum::Ready { checksum } else { Checksum::Unknown };
    for packet in &packets {
        let record =
            Record { len: packet.len() as u32, data: packet, checksum, ..Record::default() };
        again.packet(linktype, &record, &mut |r| assert_eq!(r.data, packet));
    }
    assert_eq!(again.counts().split, 0);
}

/// A byte for the framing (PACKET messages in a stream, in datagrams, udpstr), two for the most bytes
/// of a datagram, then packets: two bytes of length and a byte to fill them with.
///
/// What is framed comes out again, datagrams keep to their limit, and the cost that was foretold is
/// not less than what was used.
pub fn framer(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.u8() % 3;
    let limit = usize::from(input.u16());
    let mut framer: Box<dyn Framer> = match kind {
        0 => Box::new(Stream::default()),
        1 => Box::new(Messages::new(false)),
        _ => match UdpStream::new(limit) {
            Ok(framer) => Box::new(framer),
            Err(_) => return,
        },
    };
    framer.limit(limit);
    let mut taken = Taken::default();
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    let mut unpacker = Unpacker::new(SNAPLEN_MAX);
    let mut read = |framer: &mut dyn Framer| {
        let batch = framer.batch();
        for at in 0..batch.datagrams() {
            let bytes = batch.datagram(at).expect("a closed datagram").bytes;
            match kind {
                2 => {
                    assert!(bytes.len() <= limit);
                    unpacker.datagram(bytes, |h, data| got.push((h.npkt, data.to_vec())));
                }
                _ => {
                    assert!(kind == 0 || bytes.len() <= limit.max(28));
                    let mut rest = bytes;
                    while !rest.is_empty() {
                        let message = PacketMessage::read(rest, SNAPLEN_MAX);
                        let message = message.expect("valid").expect("complete");
                        got.push((message.header.npkt, message.data.to_vec()));
                        rest = &rest[message.size..];
                    }
                }
            }
        }
        batch.clear();
    };
    let mut npkt = 0;
    while !input.is_empty() && npkt < 4096 {
        let packet = vec![input.u8(); usize::from(input.u16())];
        if framer.is_full(packet.len()) {
            read(&mut *framer);
        }
        let cost = framer.cost(packet.len());
        assert!(cost.bytes > 0);
        npkt += 1;
        let len = packet.len() as u32;
        let header = PacketHeader { caplen: len, len, npkt, ..PacketHeader::default() };
        framer.push(header, &packet, &mut taken);
        sent.push((npkt, packet));
    }
    read(&mut *framer);
    if kind == 1 {
        let longest = limit.saturating_sub(28);
        let cut = sent.iter().filter(|(_, p)| p.len() > longest).count();
        assert_eq!(taken.cut, cut as u64);
        sent.iter_mut().for_each(|(_, p)| p.truncate(longest));
    }
    assert!(got == sent, "{} of {} packets", got.len(), sent.len());
}
