//! What a daemon may send a client.

use rpcap_proto::session::{ClientError, ClientSession, Event, Request};
use rpcap_proto::wire::{
    AuthRequest, MESSAGE_OVERHEAD, Malformed, MessageType, PacketHeader, PacketMessage,
    SNAPLEN_MAX, SockAddr, Stats,
};

use crate::support::{claiming, hex, message};

/// What a client makes of these bytes after this request.
fn after(request: &Request<'_>, bytes: &[u8]) -> Result<Option<Event>, ClientError> {
    let mut client = ClientSession::new();
    client.request(request).expect("an idle client");
    client.receive(bytes);
    client.poll()
}

fn auth_reply(payload: &[u8]) -> Result<Option<Event>, ClientError> {
    let reply = message(MessageType::AuthReply, payload);
    after(&Request::Authenticate(AuthRequest::Null), &reply)
}

fn malformed<T>(kind: MessageType, source: Malformed) -> Result<T, ClientError> {
    Err(ClientError::Malformed { kind, source })
}

fn devices(count: u16, payload: &[u8]) -> Result<Option<Event>, ClientError> {
    let mut reply = message(MessageType::FindAllIfReply, payload);
    reply[2..4].copy_from_slice(&count.to_be_bytes());
    after(&Request::ListDevices, &reply)
}

#[test]
fn d8_107_auth_replies_of_every_length() {
    let longest = hex("00 00 0000 d4c3b2a1 ff");
    for len in [0, 2, 8, 9] {
        let reply = auth_reply(&longest[..len]);
        assert!(matches!(reply, Ok(Some(Event::Authenticated(_)))), "{len}: {reply:?}");
    }
    for len in [1, 3, 4, 5, 6, 7] {
        let short = malformed(MessageType::AuthReply, Malformed::Short);
        assert_eq!(auth_reply(&longest[..len]), short, "{len}");
    }
    let auth = Request::Authenticate(AuthRequest::Null);
    let (kind, len) = (MessageType::AuthReply, 1 << 31);
    assert_eq!(after(&auth, &claiming(0x88, len, b"")), Err(ClientError::Oversize { kind, len }));
}

#[test]
fn d8_107_surplus_is_consumed() {
    let mut client = ClientSession::new();
    let auth = Request::Authenticate(AuthRequest::Null);
    client.request(&auth).unwrap();
    client.receive(&hex("0088 0000 00000009 | 00 00 0000 d4c3b2a1 ff"));
    assert!(matches!(client.poll(), Ok(Some(Event::Authenticated(_)))));
    client.request(&Request::Stats).unwrap();
    client.receive(&message(MessageType::StatsReply, &[0; 16]));
    assert_eq!(client.poll(), Ok(Some(Event::Stats(Stats::default(), None))));
}

#[test]
fn d8_108_versions_that_do_not_fit() {
    let crossed = Malformed::Value("lowest version is above the highest");
    assert_eq!(auth_reply(&[3, 1]), malformed(MessageType::AuthReply, crossed));
    assert_eq!(auth_reply(&[1, 5]), Err(ClientError::Version(1)));
    assert!(matches!(auth_reply(&[0, 5]), Ok(Some(Event::Authenticated(_)))));
}

#[test]
fn d8_109_byte_order_marks_of_no_order() {
    for mark in ["00000000", "a1b2c3d5", "b2a1d4c3", "deadbeef"] {
        let neither = Malformed::Value("byte order mark is neither order");
        assert_eq!(
            auth_reply(&hex(&format!("00 00 0000 {mark}"))),
            malformed(MessageType::AuthReply, neither),
            "{mark}"
        );
    }
}

#[test]
fn d8_110_device_lists_that_claim_more_than_there_is() {
    let short = malformed(MessageType::FindAllIfReply, Malformed::Short);
    assert_eq!(devices(65_535, b""), short);
    let long_name = hex("0009 0000 00000000 0000 0000 65746830");
    assert_eq!(devices(1, &long_name), short);
    let long_description = hex("0001 0009 00000000 0000 0000 65746830");
    assert_eq!(devices(1, &long_description), short);
    let many_addresses = hex("0001 0000 00000000 ffff 0000 65");
    assert_eq!(devices(1, &many_addresses), short);
    let endless = hex("0401 0000 00000000 0000 0000");
    let named = Malformed::Value("device name or description is longer than 1024 bytes");
    assert_eq!(
        devices(1, &[&endless[..], &[b'n'; 1025]].concat()),
        malformed(MessageType::FindAllIfReply, named)
    );
}

/// The only address of the only device of a list, from the first bytes of its block.
fn address(block: &[u8]) -> Option<SockAddr> {
    let mut payload = hex("0001 0000 00000000 0001 0000 78");
    payload.extend_from_slice(block);
    payload.resize(13 + 512, 0);
    let Ok(Some(Event::Devices(list))) = devices(1, &payload) else {
        panic!("not a list");
    };
    // An entry of which nothing is understood is not an entry.
    list[0].addresses.first().and_then(|a| a.addr)
}

#[test]
fn d8_111_address_families() {
    let v4 = Some(SockAddr::V4([192, 0, 2, 1].into()));
    for family in ["0002", "1000", "1002"] {
        let block = hex(&format!("{family} ffff c0000201"));
        assert_eq!(address(&block), v4, "{family}");
    }
    let v6 = Some(SockAddr::V6 {
        addr: [0xfe80, 0, 0, 0, 0, 0, 0, 1].into(),
        flow_info: 7,
        scope_id: 4,
    });
    for family in ["000a", "0016", "0017", "0018", "001a", "1c00", "1c18", "1c1c", "1c1e"] {
        let block = format!("{family} ffff 00000007 fe80000000000000 0000000000000001 00000004");
        assert_eq!(address(&hex(&block)), v6, "{family}");
    }
    let mac = Some(SockAddr::Mac {
        if_index: 4,
        hardware_type: 1,
        len: 8,
        addr: [2, 0xfc, 0, 0, 0, 1, 0, 0],
    });
    let block = hex("0011 0003 04000000 0100 00 ff 02fc000000010000");
    assert_eq!(address(&block), mac, "its length is cut to what fits");
    for family in ["0000", "0001", "0003", "ffff", "1c01"] {
        let block = hex(&format!("{family} ffff c0000201"));
        assert_eq!(address(&block), None, "{family}");
    }
}

/// A packet of `caplen` bytes in a message that states `len` bytes.
fn packet(caplen: u32, len: u32) -> Vec<u8> {
    let header = PacketHeader { caplen, ..PacketHeader::default() };
    let mut bytes = header.to_message_bytes().to_vec();
    bytes[4..8].copy_from_slice(&len.to_be_bytes());
    bytes.resize(MESSAGE_OVERHEAD + caplen as usize, 7);
    bytes
}

#[test]
fn d8_112_packet_lengths_that_do_not_fit() {
    for len in 0..20 {
        let bytes = packet(0, len);
        let small = PacketMessage::read(&bytes[..8], 65_515).map(|_| ());
        assert_eq!(small, Err(Malformed::Short), "{len}: told from the header");
        let read = PacketMessage::read(&bytes, SNAPLEN_MAX).map(|_| ());
        assert!(matches!(read, Err(Malformed::Value(_))), "{len}: {read:?}");
    }
    for (caplen, len, snaplen) in [
        (60, 79, 65_535),
        (65_516, 65_535, 65_535),
        (70_000, 70_020, 65_535),
        (70_000, 4_484, 65_535),
        (70_000, 4_485, SNAPLEN_MAX),
        (60, 65_556, 65_535),
        (60, u32::MAX, SNAPLEN_MAX),
        (60, 400_000, u32::MAX),
    ] {
        let read = PacketMessage::read(&packet(caplen, len), snaplen).map(|_| ());
        let refused = matches!(read, Err(Malformed::Value(_)));
        assert!(refused, "{caplen} in {len} up to {snaplen}: {read:?}");
    }
}

#[test]
fn d8_112_packet_of_4_gib() {
    for caplen in [SNAPLEN_MAX + 1, u32::MAX - 19, u32::MAX] {
        let mut bytes = packet(0, 20);
        bytes[16..20].copy_from_slice(&caplen.to_be_bytes());
        let read = PacketMessage::read(&bytes, u32::MAX).map(|_| ());
        assert!(matches!(read, Err(Malformed::Value(_))), "{caplen}: {read:?}");
    }
}

#[test]
fn d8_112_packet_lengths_modulo_65536_are_believed() {
    // Some of these state less than the 20 bytes before their data.
    for caplen in [65_516, 65_535, 65_536, 70_000, 131_072, SNAPLEN_MAX, 131_052] {
        let bytes = packet(caplen, (caplen + 20) % 65_536);
        let read = PacketMessage::read(&bytes, SNAPLEN_MAX).unwrap().unwrap();
        assert_eq!((read.data.len(), read.size), (caplen as usize, bytes.len()));
    }
}

fn error(code: u8, text: &str) -> Vec<u8> {
    let mut bytes = message(MessageType::Error, text.as_bytes());
    bytes[3] = code;
    bytes
}

#[test]
fn d8_113_an_error_pushed_before_a_reply() {
    let mut client = ClientSession::new();
    client.request(&Request::Stats).unwrap();
    client.receive(&error(9, "went down"));
    client.receive(&message(MessageType::StatsReply, &[0; 16]));
    let text = "went down".to_owned();
    let pushed = Event::Pushed { code: 9, text };
    assert_eq!(client.poll(), Ok(Some(pushed)));
    assert_eq!(client.poll(), Ok(Some(Event::Stats(Stats::default(), None))));
    assert!(!client.is_waiting());
}

#[test]
fn d8_113_two_errors_for_one_request() {
    let mut client = ClientSession::new();
    client.request(&Request::Stats).unwrap();
    client.receive(&error(16, "not valid"));
    client.receive(&error(17, "version number mismatch"));
    let text = "not valid".to_owned();
    let refused = Event::Refused { code: 16, text };
    assert_eq!(client.poll(), Ok(Some(refused)));
    let text = "version number mismatch".to_owned();
    let pushed = Event::Pushed { code: 17, text };
    assert_eq!(client.poll(), Ok(Some(pushed)));
    client.request(&Request::Stats).unwrap();
    client.receive(&message(MessageType::StatsReply, &[0; 16]));
    assert_eq!(client.poll(), Ok(Some(Event::Stats(Stats::default(), None))));
}

#[test]
fn d8_113_a_late_second_error_ends_what_cannot_be_followed() {
    let mut client = ClientSession::new();
    client.request(&Request::Stats).unwrap();
    client.receive(&error(16, ""));
    assert!(matches!(client.poll(), Ok(Some(Event::Refused { .. }))));
    client.request(&Request::Stats).unwrap();
    // Nobody can tell that this belongs to the request before.
    client.receive(&error(17, ""));
    assert!(matches!(client.poll(), Ok(Some(Event::Refused { .. }))));
    client.receive(&message(MessageType::StatsReply, &[0; 16]));
    let unexpected = ClientError::Unexpected { got: MessageType::StatsReply, expected: None };
    assert_eq!(client.poll(), Err(unexpected));
}
