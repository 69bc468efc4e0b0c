//! From value to bytes and back.

use proptest::collection::vec;
use proptest::prelude::*;
use rpcap_proto::bpf::MAX_INSTRUCTIONS;
use rpcap_proto::wire::{
    AuthReply, AuthRequest, DEVICE_NAME_MAX, Device, ERROR_TEXT_MAX, ErrorCode, FilterBlock,
    HEADER_LEN, Header, MESSAGE_OVERHEAD, Malformed, MessageType, OpenReply, PacketHeader,
    PacketMessage, Reader, SNAPLEN_MAX, Sampling, StartReply, StartRequest, Stats, error_text,
    read_devices, write_devices, write_error,
};

use super::values::{
    auth_reply, device, filter, packet_header, sampling, start_reply, start_request, stats,
};

/// A message's header and payload, its length checked against what is there.
fn split(bytes: &[u8]) -> (Header, &[u8]) {
    let (head, payload) = bytes.split_at(HEADER_LEN);
    let header = Header::read(&mut Reader::new(head)).expect("a whole header");
    assert_eq!(header.len as usize, payload.len());
    (header, payload)
}

/// Writes a value and reads it again: as it is, with surplus after it, and cut short anywhere,
/// which every message of a fixed form must refuse.
fn survives<T: PartialEq + core::fmt::Debug>(
    value: &T,
    kind: MessageType,
    surplus: &[u8],
    write: impl Fn(&T, &mut Vec<u8>),
    read: impl Fn(&[u8]) -> Result<T, Malformed>,
) {
    let mut bytes = Vec::new();
    write(value, &mut bytes);
    let (header, payload) = split(&bytes);
    assert_eq!((header.version, header.kind), (0, kind));
    assert_eq!(read(payload).as_ref(), Ok(value));
    let longer = [payload, surplus].concat();
    assert_eq!(read(&longer).as_ref(), Ok(value), "with surplus");
    for end in 0..payload.len() {
        let cut = read(&payload[..end]);
        assert_eq!(cut.as_ref(), Err(&Malformed::Short), "cut at {end}");
    }
}

fn surplus() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

proptest! {
    #[test]
    fn header(version: u8, kind: u8, value: u16, len: u32) {
        let header = Header { version, kind: kind.into(), value, len };
        let bytes = header.to_bytes();
        prop_assert_eq!(bytes[1], kind);
        prop_assert_eq!(Header::read(&mut Reader::new(&bytes)), Ok(header));
    }

    #[test]
    fn auth_request(
        kind in 2u16..,
        user in vec(any::<u8>(), 0..300),
        password in vec(any::<u8>(), 0..300),
        surplus in surplus(),
    ) {
        let password = AuthRequest::Password { user: &user, password: &password };
        for request in [AuthRequest::Null, password, AuthRequest::Unknown(kind)] {
            let mut bytes = Vec::new();
            request.write(&mut bytes).unwrap();
            let (header, payload) = split(&bytes);
            prop_assert_eq!(header.kind, MessageType::AuthRequest);
            assert_eq!(AuthRequest::read(payload).as_ref(), Ok(&request));
            let longer = [payload, &surplus].concat();
            assert_eq!(AuthRequest::read(&longer).as_ref(), Ok(&request));
            for end in 0..payload.len() {
                prop_assert_eq!(AuthRequest::read(&payload[..end]), Err(Malformed::Short));
            }
        }
    }

    #[test]
    fn auth_reply_of_each_length(reply in auth_reply(), surplus in surplus()) {
        let mut bytes = Vec::new();
        reply.write(&mut bytes);
        let (header, payload) = split(&bytes);
        prop_assert_eq!(header.kind, MessageType::AuthReply);
        prop_assert_eq!(payload.len(), if reply.byte_order.is_some() { 8 } else { 2 });
        prop_assert_eq!(AuthReply::read(payload), Ok(reply));
        if reply.byte_order.is_some() {
            prop_assert_eq!(AuthReply::read(&[payload, &surplus].concat()), Ok(reply));
        }
        for end in [1, 3, 4, 5, 6, 7].into_iter().filter(|end| *end < payload.len()) {
            prop_assert_eq!(AuthReply::read(&payload[..end]), Err(Malformed::Short));
        }
    }

    #[test]
    fn open_reply(linktype: u32, surplus in surplus()) {
        survives(
            &OpenReply { linktype, system: None }, MessageType::OpenReply, &surplus,
            OpenReply::write, |payload| OpenReply::read(payload, 0),
        );
    }

    #[test]
    fn set_sampling(sampling in sampling(), surplus in surplus()) {
        survives(
            &sampling, MessageType::SetSamplingRequest, &surplus,
            Sampling::write, Sampling::read,
        );
    }

    #[test]
    fn stats_reply(stats in stats(), surplus in surplus()) {
        survives(&stats, MessageType::StatsReply, &surplus, Stats::write, Stats::read);
    }

    #[test]
    fn start_capture(request in start_request(), surplus in surplus()) {
        survives(
            &request, MessageType::StartCaptureRequest, &surplus,
            StartRequest::write, StartRequest::read,
        );
    }

    #[test]
    fn start_capture_reply(reply in start_reply(), surplus in surplus()) {
        survives(
            &reply, MessageType::StartCaptureReply, &surplus,
            StartReply::write, StartReply::read,
        );
    }

    #[test]
    fn filter_block(filter in filter(), surplus in surplus()) {
        let mut bytes = Vec::new();
        filter.write(&mut bytes);
        let whole = [&bytes[..], &surplus].concat();
        let mut r = Reader::new(&whole);
        assert_eq!(FilterBlock::read(&mut r).as_ref(), Ok(&filter));
        prop_assert_eq!(r.rest(), &surplus[..], "what follows a filter stays unread");
        for end in 0..bytes.len() {
            let cut = FilterBlock::read(&mut Reader::new(&bytes[..end]));
            prop_assert_eq!(cut, Err(Malformed::Short));
        }
    }

    #[test]
    fn device_list(devices in vec(device(), 0..5), surplus in surplus()) {
        let mut bytes = Vec::new();
        write_devices(&mut bytes, &devices);
        let (header, payload) = split(&bytes);
        prop_assert_eq!(header.kind, MessageType::FindAllIfReply);
        prop_assert_eq!(usize::from(header.value), devices.len());
        assert_eq!(read_devices(payload, header.value).as_ref(), Ok(&devices));
        let longer = [payload, &surplus].concat();
        assert_eq!(read_devices(&longer, header.value).as_ref(), Ok(&devices));
        for end in (0..payload.len()).step_by(7) {
            let cut = read_devices(&payload[..end], header.value);
            prop_assert_eq!(cut, Err(Malformed::Short));
        }
    }

    #[test]
    fn packet(
        (header, data) in vec(any::<u8>(), 0..300)
            .prop_flat_map(|data| (packet_header(data.len() as u32), Just(data))),
        surplus in surplus(),
    ) {
        let bytes = [&header.to_message_bytes()[..], &data].concat();
        let whole = [&bytes[..], &surplus].concat();
        let expected = PacketMessage { header, data: &data, size: bytes.len() };
        prop_assert_eq!(PacketMessage::read(&whole, SNAPLEN_MAX), Ok(Some(expected)));
        for end in 0..bytes.len() {
            prop_assert_eq!(PacketMessage::read(&bytes[..end], SNAPLEN_MAX), Ok(None));
        }
        prop_assert_eq!(PacketHeader::read(&mut Reader::new(&header.to_bytes())), Ok(header));
    }

    #[test]
    fn error_message(version: u8, text in "[ -~é]{0,200}") {
        let mut bytes = Vec::new();
        write_error(&mut bytes, version, ErrorCode::StartCapture, &text);
        let (header, payload) = split(&bytes);
        prop_assert_eq!((header.version, header.kind), (version, MessageType::Error));
        prop_assert_eq!(header.value, 12);
        prop_assert!(payload.len() <= ERROR_TEXT_MAX);
        let read = error_text(payload);
        prop_assert!(text.starts_with(&read));
        prop_assert!(read.len() + 4 > text.len().min(ERROR_TEXT_MAX), "cut too early");
    }
}

#[test]
fn strings_that_do_not_fit_their_length_are_refused() {
    let long = vec![b'A'; 65_536];
    let mut out = Vec::new();
    for request in [
        AuthRequest::Password { user: &long, password: b"" },
        AuthRequest::Password { user: b"", password: &long },
    ] {
        assert!(matches!(request.write(&mut out), Err(Malformed::Value(_))));
    }
    assert!(out.is_empty(), "nothing of a refused message is sent");
    let fits = AuthRequest::Password { user: &long[1..], password: &long[1..] };
    fits.write(&mut out).unwrap();
    assert_eq!(split(&out).0.len, 8 + 2 * 65_535);
}

#[test]
fn counts_that_do_not_fit_are_cut() {
    let long = Device {
        name: vec![b'n'; DEVICE_NAME_MAX + 1],
        description: vec![b'd'; 70_000],
        ..Device::default()
    };
    let mut out = Vec::new();
    write_devices(&mut out, &[long]);
    let read = read_devices(&out[HEADER_LEN..], 1).unwrap();
    assert_eq!(read[0].name.len(), DEVICE_NAME_MAX);
    assert_eq!(read[0].description.len(), DEVICE_NAME_MAX);
    out.clear();
    write_devices(&mut out, &vec![Device::default(); 65_536]);
    assert_eq!(split(&out).0.value, 65_535);
    assert_eq!(read_devices(&out[HEADER_LEN..], 65_535).unwrap().len(), 65_535);
}

#[test]
fn the_longest_filter_fits_and_one_more_does_not() {
    for (count, fits) in [(MAX_INSTRUCTIONS, true), (MAX_INSTRUCTIONS + 1, false)] {
        let mut bytes = vec![0, 1, 0, 0];
        bytes.extend_from_slice(&(count as u32).to_be_bytes());
        bytes.resize(bytes.len() + 8 * count, 0);
        let read = FilterBlock::read(&mut Reader::new(&bytes));
        assert_eq!(read.is_ok(), fits, "{count}");
    }
}

#[test]
fn a_packet_above_64_kib_states_its_true_length() {
    let header =
        PacketHeader { caplen: SNAPLEN_MAX, len: SNAPLEN_MAX, npkt: 1, ..PacketHeader::default() };
    let mut bytes = header.to_message_bytes().to_vec();
    assert_eq!(bytes[4..8], (20 + SNAPLEN_MAX).to_be_bytes());
    bytes.resize(MESSAGE_OVERHEAD + SNAPLEN_MAX as usize, 0);
    let read = PacketMessage::read(&bytes, SNAPLEN_MAX).unwrap().unwrap();
    assert_eq!(read.size, bytes.len());
}
