//! Any bytes: no parser may panic, and what one accepts it must mean. Written again and read
//! again, it is the same value.

use proptest::collection::vec;
use proptest::prelude::*;
use rpcap_proto::wire::{
    AuthReply, AuthRequest, ERROR_TEXT_MAX, FilterBlock, HEADER_LEN, Malformed, OpenReply,
    PacketMessage, Reader, SNAPLEN_MAX, Sampling, StartReply, StartRequest, Stats, error_text,
    read_devices, tolerated_tail, write_devices,
};

/// Bytes that are mostly small, as lengths and types are, so that some of them get far.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(0u8), 3 => 0u8..4, 2 => any::<u8>()];
    vec(byte, 0..700)
}

/// A filter's head with a random body.
fn filter_bytes() -> impl Strategy<Value = Vec<u8>> {
    (0u8..12, bytes()).prop_map(|(count, body)| {
        let mut bytes = vec![0, 1, 0, 0, 0, 0, 0, count];
        bytes.extend_from_slice(&body);
        bytes
    })
}

fn again<T: PartialEq + core::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, Malformed>,
    write: impl Fn(&T, &mut Vec<u8>),
) {
    if let Ok(value) = read(bytes) {
        let mut out = Vec::new();
        write(&value, &mut out);
        assert_eq!(read(&out[HEADER_LEN..]), Ok(value));
    }
}

proptest! {
    #[test]
    fn fixed_messages(bytes in bytes()) {
        again(&bytes, AuthReply::read, AuthReply::write);
        again(&bytes, |bytes| OpenReply::read(bytes, 0), OpenReply::write);
        again(&bytes, Sampling::read, Sampling::write);
        again(&bytes, Stats::read, Stats::write);
        again(&bytes, StartReply::read, StartReply::write);
    }

    #[test]
    fn auth_request(bytes in bytes()) {
        if let Ok(request) = AuthRequest::read(&bytes) {
            let mut out = Vec::new();
            request.write(&mut out).unwrap();
            prop_assert_eq!(AuthRequest::read(&out[HEADER_LEN..]), Ok(request));
        }
    }

    #[test]
    fn start_request(head in vec(any::<u8>(), 12), filter in filter_bytes()) {
        let bytes = [head, filter].concat();
        again(&bytes, StartRequest::read, StartRequest::write);
    }

    #[test]
    fn filter_block(bytes in prop_oneof![bytes(), filter_bytes()]) {
        if let Ok(filter) = FilterBlock::read(&mut Reader::new(&bytes)) {
            let mut out = Vec::new();
            filter.write(&mut out);
            prop_assert_eq!(FilterBlock::read(&mut Reader::new(&out)), Ok(filter));
        }
    }

    #[test]
    fn device_list(bytes in bytes(), count in prop_oneof![0u16..8, any::<u16>()]) {
        if let Ok(devices) = read_devices(&bytes, count) {
            prop_assert_eq!(devices.len(), usize::from(count));
            let mut out = Vec::new();
            write_devices(&mut out, &devices);
            prop_assert_eq!(read_devices(&out[HEADER_LEN..], count), Ok(devices));
        }
    }

    #[test]
    fn packet(
        caplen in prop_oneof![0u32..64, any::<u32>(), u32::MAX - 40..],
        stated in prop_oneof![0u32..100, any::<u32>()],
        snaplen in prop_oneof![Just(SNAPLEN_MAX), Just(32u32), any::<u32>()],
        rest in bytes(),
    ) {
        let mut bytes = vec![0, 7, 0, 0];
        bytes.extend_from_slice(&stated.to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&caplen.to_be_bytes());
        bytes.extend_from_slice(&rest);
        if let Ok(Some(packet)) = PacketMessage::read(&bytes, snaplen) {
            prop_assert_eq!(packet.data.len() as u32, packet.header.caplen);
            prop_assert!(packet.header.caplen <= snaplen);
            prop_assert!(packet.size <= bytes.len(), "more than there is");
            let written = [&packet.header.to_message_bytes()[..], packet.data].concat();
            let read = PacketMessage::read(&written, snaplen);
            let Ok(Some(same)) = read else { panic!("{read:?}") };
            prop_assert_eq!((same.header, same.data), (packet.header, packet.data));
        }
        let _ = PacketMessage::read(&rest, snaplen);
    }

    #[test]
    fn error_text_is_one_short_harmless_line(bytes in vec(any::<u8>(), 0..600)) {
        let text = error_text(&bytes);
        prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        // The longest escape of one byte has six characters: `\u{1b}`.
        prop_assert!(text.chars().count() <= 6 * ERROR_TEXT_MAX);
    }

    #[test]
    fn a_tail_is_only_ever_one_instruction(payload in bytes(), following in bytes()) {
        match tolerated_tail(&payload, &following) {
            Some(0) => {}
            Some(tail) => {
                prop_assert_eq!((tail, payload.len()), (8, 20));
                prop_assert!(following.len() >= 8);
            }
            None => prop_assert!(following.len() < 8 && payload.len() == 20),
        }
    }
}
