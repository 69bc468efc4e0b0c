//! Bytes that need no conversation: the deframer, packets and device lists.

use rpcap_proto::deframe::{Deframer, Frame};
use rpcap_proto::wire::{
    HEADER_LEN, Header, MESSAGE_OVERHEAD, PacketMessage, Reader, read_devices, write_devices,
};

use super::input::Input;

/// The messages of a stream, and what the deframer says when no more bytes come.
#[derive(Debug, PartialEq)]
struct Deframed {
    messages: Vec<(Header, Vec<u8>)>,
    end: String,
    left: usize,
}

fn deframe<'a>(mut d: Deframer, pieces: impl Iterator<Item = &'a [u8]>) -> Deframed {
    let mut messages = Vec::new();
    for piece in pieces {
        d.push(piece);
        while let Frame::Message(header, payload) = d.next_frame() {
            messages.push((header, payload.to_vec()));
        }
    }
    d.settle();
    while let Frame::Message(header, payload) = d.next_frame() {
        messages.push((header, payload.to_vec()));
    }
    Deframed { messages, end: format!("{:?}", d.next_frame()), left: d.buffered().len() }
}

/// A byte of flags (1: tolerant, 2: large messages), a byte for the size of pieces, the stream.
///
/// However the stream is cut, the same messages come out, and no byte is lost or made up.
pub fn deframer(data: &[u8]) {
    let mut input = Input(data);
    let (flags, size) = (input.u8(), usize::from(input.u8()).max(1));
    let stream = input.0;
    let max = if flags & 2 == 0 { 64 } else { 65_556 };
    let new = || {
        if flags & 1 == 0 { Deframer::new(max) } else { Deframer::tolerant(max) }
    };
    let whole = deframe(new(), [stream].into_iter());
    for (header, payload) in &whole.messages {
        assert!(header.len <= max);
        let tail = payload.len() - header.len as usize;
        assert!(tail == 0 || tail == 8 && flags & 1 != 0);
    }
    let given: usize = whole.messages.iter().map(|m| HEADER_LEN + m.1.len()).sum();
    assert_eq!(given + whole.left, stream.len());
    assert_eq!(deframe(new(), stream.chunks(size)), whole);
    assert_eq!(deframe(new(), stream.chunks(1)), whole);
}

/// Four bytes of snaplen, then a data connection's stream.
///
/// A packet that is accepted is within its bounds, is not there until its last byte is, and means
/// the same when it is written again.
pub fn packet(data: &[u8]) {
    let mut input = Input(data);
    let snaplen = input.u32();
    let mut stream = input.0;
    while let Ok(Some(packet)) = PacketMessage::read(stream, snaplen) {
        assert_eq!(packet.data.len(), packet.header.caplen as usize);
        assert!(packet.header.caplen <= snaplen);
        assert!((MESSAGE_OVERHEAD + packet.data.len()..=stream.len()).contains(&packet.size));
        for end in [0, 7, 8, 27, 28, packet.size - 1] {
            let cut = PacketMessage::read(&stream[..end.min(packet.size - 1)], snaplen);
            assert_eq!(cut, Ok(None), "cut at {end}");
        }
        let again = [&packet.header.to_message_bytes()[..], packet.data].concat();
        let same = PacketMessage::read(&again, snaplen);
        let same = same.expect("valid").expect("complete");
        assert_eq!((same.header, same.data), (packet.header, packet.data));
        stream = &stream[packet.size..];
    }
}

/// Two bytes of count, then a FINDALLIF_REPLY's payload.
///
/// A list that is accepted is the same when it is written and read again.
pub fn devices(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok(count) = r.u16() else { return };
    let Ok(devices) = read_devices(r.rest(), count) else {
        return;
    };
    assert_eq!(devices.len(), usize::from(count));
    let mut out = Vec::new();
    write_devices(&mut out, &devices);
    let header = Header::read(&mut Reader::new(&out)).expect("a header");
    assert_eq!(header.len as usize, out.len() - HEADER_LEN);
    assert_eq!(header.value, count);
    assert_eq!(read_devices(&out[HEADER_LEN..], count).as_ref(), Ok(&devices));
}
