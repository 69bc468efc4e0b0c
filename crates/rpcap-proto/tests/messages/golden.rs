//! The worked examples of `docs/protocol.md`, byte for byte.

use std::net::{Ipv4Addr, Ipv6Addr};

use rpcap_proto::bpf::Instruction;
use rpcap_proto::wire::{
    Address, AuthReply, AuthRequest, ByteOrder, Clock, Device, ErrorCode, FilterBlock, Fraction,
    HEADER_LEN, Malformed, MarkedStats, MessageType, OpenReply, PacketHeader, PacketMessage,
    Sampling, SockAddr, StartFlags, StartReply, StartRequest, Stats, StatsRequest, error_text,
    read_devices, tolerated_tail, write_devices, write_empty, write_error, write_message,
};

use super::support::hex;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// Where the payload starts in an example.
const P: usize = HEADER_LEN;

const ICMP: &str = "00010000 00000006
    0028 00 00 0000000c  0015 00 03 00000800  0030 00 00 00000017
    0015 00 01 00000001  0006 00 00 00040000  0006 00 00 00000000";

fn icmp() -> FilterBlock {
    let program = [
        (0x28, 0, 0, 12),
        (0x15, 0, 3, 0x800),
        (0x30, 0, 0, 23),
        (0x15, 0, 1, 1),
        (0x06, 0, 0, 262_144),
        (0x06, 0, 0, 0),
    ];
    FilterBlock {
        instructions: program.map(|(code, jt, jf, k)| Instruction { code, jt, jf, k }).to_vec(),
    }
}

#[test]
fn auth_without_a_name() {
    let bytes = hex("0008 0000 00000008 | 0000 0000 0000 0000");
    let request = AuthRequest::Null;
    assert_eq!(written(|b| request.write(b).unwrap()), bytes);
    assert_eq!(AuthRequest::read(&bytes[P..]), Ok(request));
}

#[test]
fn auth_with_a_password() {
    let bytes = hex("0008 0000 00000011 | 0001 0000 0003 0006 | 626f62 | 733363726574");
    let request = AuthRequest::Password { user: b"bob", password: b"s3cret" };
    assert_eq!(written(|b| request.write(b).unwrap()), bytes);
    assert_eq!(AuthRequest::read(&bytes[P..]), Ok(request));
}

#[test]
fn auth_replies_of_every_age() {
    let reply = |byte_order| AuthReply { min_version: 0, max_version: 0, byte_order };
    let oldest = hex("0088 0000 00000000");
    assert_eq!(AuthReply::read(&oldest[P..]), Ok(reply(None)));
    for (example, order) in [
        ("0088 0000 00000002 | 00 00", None),
        ("0088 0000 00000008 | 00 00 0000 d4c3b2a1", Some(ByteOrder::Little)),
        ("0088 0000 00000008 | 00 00 0000 a1b2c3d4", Some(ByteOrder::Big)),
    ] {
        let bytes = hex(example);
        assert_eq!(written(|b| reply(order).write(b)), bytes);
        assert_eq!(AuthReply::read(&bytes[P..]), Ok(reply(order)));
    }
}

#[test]
fn errors() {
    let failed = hex("0001 0012 00000015 | 41757468656e7469636174696f6e206661696c6564");
    let text = "Authentication failed";
    assert_eq!(written(|b| write_error(b, 0, ErrorCode::AuthFailed, text)), failed);
    assert_eq!(error_text(&failed[P..]), text);
    for (version, code, head, text) in [
        (
            1,
            ErrorCode::WrongVersion,
            "0101 0011 0000003f",
            "RPCAP version in requests in the authentication phase must be 0",
        ),
        (0, ErrorCode::Open, "0001 0006 00000028", "can only open preselected interface 'lo'"),
        (0, ErrorCode::InitTimeout, "0001 0002 00000025", "The RPCAP initial timeout has expired"),
        (
            0,
            ErrorCode::RuntimeTimeout,
            "0001 000e 00000025",
            "The RPCAP runtime timeout has expired",
        ),
        (
            0,
            ErrorCode::HostNotAllowed,
            "0001 000a 0000003d",
            "The host is not in the allowed host list. Connection refused.",
        ),
        (0, ErrorCode::TlsRequired, "0001 0013 0000001e", "TLS is required by this server"),
    ] {
        let bytes = [&hex(head), text.as_bytes()].concat();
        assert_eq!(written(|b| write_error(b, version, code, text)), bytes);
    }
}

#[test]
fn a_device_list() {
    let zeros = |n: usize| "00".repeat(n);
    let bytes = hex(&format!(
        "0082 0001 0000020e  0002 0000 00000037 0001 0000  6c6f
         00020000 7f000001 {0} 00020000 ff000000 {0} {1} {1}",
        zeros(120),
        zeros(128)
    ));
    let lo = Device {
        name: b"lo".to_vec(),
        flags: 0x37,
        addresses: vec![Address {
            addr: Some(SockAddr::V4(Ipv4Addr::LOCALHOST)),
            netmask: Some(SockAddr::V4(Ipv4Addr::new(255, 0, 0, 0))),
            ..Address::default()
        }],
        ..Device::default()
    };
    assert_eq!(written(|b| write_devices(b, std::slice::from_ref(&lo))), bytes);
    assert_eq!(read_devices(&bytes[P..], 1), Ok(vec![lo]));
}

/// The payload of a list of one device without a name that has this block as its only address.
fn list_of(block: &str) -> Vec<u8> {
    let mut payload = hex("0000 0000 00000000 0001 0000");
    payload.extend_from_slice(&hex(block));
    payload.resize(12 + 512, 0);
    payload
}

#[test]
fn address_blocks() {
    let v6 = SockAddr::V6 {
        addr: Ipv6Addr::new(0xfe80, 0, 0, 0, 0xfc, 0xff, 0xfe00, 1),
        flow_info: 0,
        scope_id: 4,
    };
    let mac =
        SockAddr::Mac { if_index: 4, hardware_type: 1, len: 6, addr: [2, 0xfc, 0, 0, 0, 1, 0, 0] };
    let libpcap = "0017 0000 00000000 fe8000000000000000fc00fffe000001 00000004";
    let linux = "000a 0000 00000000 fe8000000000000000fc00fffe000001 00000004";
    let packet = "0011 0000 04000000 0100 00 06 02fc000000010000";
    for (block, expected, ours) in [(libpcap, v6, false), (linux, v6, true), (packet, mac, true)] {
        let payload = list_of(block);
        let devices = read_devices(&payload, 1).unwrap();
        assert_eq!(devices[0].addresses[0].addr, Some(expected));
        if ours {
            assert_eq!(written(|b| write_devices(b, &devices))[P..], payload);
        }
    }
}

#[test]
fn the_start_of_a_preselected_device() {
    let mut payload = hex("0002 000c 00000037 0003 0000 | 6c6f | 3b7072657365 6c6563746564");
    payload.resize(payload.len() + 3 * 512, 0);
    let devices = read_devices(&payload, 1).unwrap();
    assert_eq!(devices[0].name, b"lo");
    assert_eq!(devices[0].description, b";preselected");
}

#[test]
fn open() {
    let request = hex("0003 0000 00000002 | 6c6f");
    let name = written(|b| {
        write_message(b, MessageType::OpenRequest, 0, |b| {
            b.extend_from_slice(b"lo");
        });
    });
    assert_eq!(name, request);
    let bytes = hex("0083 0000 00000008 | 00000001 00000000");
    let reply = OpenReply { linktype: 1, system: None };
    assert_eq!(written(|b| reply.write(b)), bytes);
    assert_eq!(OpenReply::read(&bytes[P..], 0), Ok(reply));
}

#[test]
fn sampling() {
    let bytes = hex("000b 0000 00000008 | 01 000000 00000005");
    let sampling = Sampling::OneEvery(5);
    assert_eq!(written(|b| sampling.write(b)), bytes);
    assert_eq!(Sampling::read(&bytes[P..]), Ok(sampling));
    let from_libpcap = hex("000b 0000 00000008 | 01 000000 00000000");
    assert_eq!(Sampling::read(&from_libpcap[P..]), Ok(Sampling::None));
}

#[test]
fn start_capture() {
    let head = "0004 0000 00000044 | 00040000 000001f4 0001 0000";
    let bytes = hex(&format!("{head} {ICMP}"));
    let mut request = StartRequest {
        snaplen: 262_144,
        read_timeout_ms: 500,
        flags: StartFlags::PROMISC,
        port: 0,
        filter: icmp(),
    };
    assert_eq!(written(|b| request.write(b)), bytes);
    assert_eq!(StartRequest::read(&bytes[P..]).as_ref(), Ok(&request));

    request.flags = StartFlags::PROMISC | StartFlags::DATAGRAM;
    request.port = 0x8528;
    let udp = hex("0004 0000 00000044 | 00040000 000001f4 0003 8528");
    assert_eq!(written(|b| request.write(b))[..udp.len()], udp);
}

#[test]
fn start_capture_replies() {
    for (example, buffer_size, port) in [
        ("0084 0000 00000008 | 00040000 9141 0000", 262_144, 37_185),
        ("0084 0000 00000008 | 00040000 0000 0000", 262_144, 0),
        ("0084 0000 00000008 | 00000000 abed 0000", 0, 0xabed),
    ] {
        let bytes = hex(example);
        let reply = StartReply { buffer_size, port, extensions: 0 };
        assert_eq!(written(|b| reply.write(b)), bytes);
        assert_eq!(StartReply::read(&bytes[P..]), Ok(reply));
    }
}

#[test]
fn start_capture_that_says_eight_bytes_too_few() {
    let bytes = hex(
        "0004 0000 00000014 | 00040000 000001f4 0001 0000 | 00010000 00000001 | 0006 00 00 00040000",
    );
    let (payload, following) = bytes[P..].split_at(20);
    assert_eq!(tolerated_tail(payload, following), Some(8));
    let request = StartRequest::read(&bytes[P..]).unwrap();
    let everything = Instruction { code: 6, jt: 0, jf: 0, k: 262_144 };
    assert_eq!(request.filter.instructions, [everything]);
}

#[test]
fn a_packet() {
    let head = hex("0007 0000 00000076 | 6b038394 0004e781 00000062 00000062 00000001
         000000000000000000000000 0800 4500");
    let mut bytes = head.clone();
    bytes.resize(28 + 98, 0);
    let packet = PacketMessage::read(&bytes, 262_144).unwrap().unwrap();
    let expected = PacketHeader {
        secs: 0x6b03_8394,
        fraction: Fraction(0x0004_e781),
        caplen: 98,
        len: 98,
        npkt: 1,
    };
    assert_eq!(packet.header, expected);
    assert_eq!(packet.data[12..16], [8, 0, 0x45, 0]);
    assert_eq!(expected.to_message_bytes()[..], head[..28]);
}

#[test]
fn update_filter() {
    let head = hex("0005 0000 00000068 | 0001 0000 0000000c");
    let filter = FilterBlock { instructions: [icmp().instructions, icmp().instructions].concat() };
    let bytes = written(|b| {
        write_message(b, MessageType::UpdateFilterRequest, 0, |b| filter.write(b));
    });
    assert_eq!(bytes[..head.len()], head);
    assert_eq!(bytes.len(), P + 0x68);
}

#[test]
fn stats() {
    let bytes = hex("0089 0000 00000010 | 00000008 00000000 00000000 00000004");
    let stats = Stats { received: 8, sent: 4, ..Stats::default() };
    assert_eq!(written(|b| stats.write(b)), bytes);
    assert_eq!(Stats::read(&bytes[P..]), Ok(stats));
}

#[test]
fn stats_with_the_clock() {
    let asked = hex("0009 0000 00000008 | 0000000000000001");
    let request = StatsRequest { mark: Some([0, 0, 0, 0, 0, 0, 0, 1]) };
    assert_eq!(written(|b| request.write(b)), asked);
    assert_eq!(StatsRequest::read(&asked[P..]), request);

    let bytes = hex("0089 0000 00000028 | 00000008 00000000 00000000 00000004 | 0000000000000001
         17979cfe3d85cd15 17979cfe3d8691e6");
    let reply = MarkedStats {
        stats: Stats { received: 8, sent: 4, ..Stats::default() },
        mark: [0, 0, 0, 0, 0, 0, 0, 1],
        clock: Clock { taken: 1_700_000_000_123_456_789, replied: 1_700_000_000_123_507_174 },
    };
    assert_eq!(written(|b| reply.write(b)), bytes);
    assert_eq!(MarkedStats::read(&bytes[P..]), Ok(reply));
    // To others it is a reply with something behind it.
    assert_eq!(Stats::read(&bytes[P..]), Ok(reply.stats));
    for end in P + 16..bytes.len() {
        assert_eq!(MarkedStats::read(&bytes[P..end]), Err(Malformed::Short));
    }
}

#[test]
fn messages_without_payload() {
    for (kind, example) in [
        (MessageType::FindAllIfRequest, "0002 0000 00000000"),
        (MessageType::SetSamplingReply, "008b 0000 00000000"),
        (MessageType::UpdateFilterReply, "0085 0000 00000000"),
        (MessageType::StatsRequest, "0009 0000 00000000"),
        (MessageType::EndCaptureRequest, "000a 0000 00000000"),
        (MessageType::EndCaptureReply, "008a 0000 00000000"),
        (MessageType::Close, "0006 0000 00000000"),
    ] {
        assert_eq!(written(|b| write_empty(b, kind)), hex(example));
    }
}
