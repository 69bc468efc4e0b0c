//! Strategies for values that the format can carry.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use rpcap_proto::bpf::Instruction;
use rpcap_proto::wire::{
    Address, AuthReply, ByteOrder, DEVICE_NAME_MAX, Device, FilterBlock, Fraction, PacketHeader,
    Sampling, SockAddr, StartFlags, StartReply, StartRequest, Stats,
};

pub(crate) fn auth_reply() -> impl Strategy<Value = AuthReply> {
    let order = of(prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)]);
    (any::<u8>(), any::<u8>(), order).prop_map(|(a, b, byte_order)| AuthReply {
        min_version: a.min(b),
        max_version: a.max(b),
        byte_order,
    })
}

pub(crate) fn sampling() -> impl Strategy<Value = Sampling> {
    prop_oneof![
        Just(Sampling::None),
        (2u32..).prop_map(Sampling::OneEvery),
        (1u32..).prop_map(Sampling::FirstAfterMs),
    ]
}

pub(crate) fn stats() -> impl Strategy<Value = Stats> {
    any::<[u32; 4]>().prop_map(|[received, if_dropped, kernel_dropped, sent]| Stats {
        received,
        if_dropped,
        kernel_dropped,
        sent,
    })
}

pub(crate) fn instruction() -> impl Strategy<Value = Instruction> {
    any::<(u16, u8, u8, u32)>().prop_map(|(code, jt, jf, k)| Instruction { code, jt, jf, k })
}

pub(crate) fn filter() -> impl Strategy<Value = FilterBlock> {
    vec(instruction(), 0..80).prop_map(|instructions| FilterBlock { instructions })
}

pub(crate) fn start_request() -> impl Strategy<Value = StartRequest> {
    (any::<(u32, u32, u16, u16)>(), filter()).prop_map(
        |((snaplen, read_timeout_ms, flags, port), filter)| StartRequest {
            snaplen,
            read_timeout_ms,
            flags: StartFlags(flags),
            port,
            filter,
        },
    )
}

pub(crate) fn start_reply() -> impl Strategy<Value = StartReply> {
    any::<(u32, u16, u16)>().prop_map(|(buffer_size, port, extensions)| StartReply {
        buffer_size,
        port,
        extensions,
    })
}

pub(crate) fn packet_header(caplen: u32) -> impl Strategy<Value = PacketHeader> {
    any::<[u32; 4]>().prop_map(move |[secs, fraction, len, npkt]| PacketHeader {
        secs,
        fraction: Fraction(fraction),
        caplen,
        len,
        npkt,
    })
}

fn sock_addr() -> impl Strategy<Value = SockAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|a| SockAddr::V4(Ipv4Addr::from(a))),
        any::<([u8; 16], u32, u32)>().prop_map(|(a, flow_info, scope_id)| SockAddr::V6 {
            addr: Ipv6Addr::from(a),
            flow_info,
            scope_id,
        }),
        (any::<(u32, u16, [u8; 8])>(), 0u8..=8).prop_map(
            |((if_index, hardware_type, addr), len)| SockAddr::Mac {
                if_index,
                hardware_type,
                len,
                addr,
            }
        ),
    ]
}

/// An entry of the list. One without any address is not told apart from none, so it has `addr`.
fn address() -> impl Strategy<Value = Address> {
    let others = (of(sock_addr()), of(sock_addr()), of(sock_addr()));
    (sock_addr(), others).prop_map(|(addr, (netmask, broadcast, peer))| Address {
        addr: Some(addr),
        netmask,
        broadcast,
        peer,
    })
}

pub(crate) fn device() -> impl Strategy<Value = Device> {
    let text = || {
        prop_oneof![
            8 => vec(any::<u8>(), 0..40),
            1 => vec(any::<u8>(), DEVICE_NAME_MAX - 1..=DEVICE_NAME_MAX),
        ]
    };
    (text(), text(), any::<u32>(), vec(address(), 0..5)).prop_map(
        |(name, description, flags, addresses)| Device { name, description, flags, addresses },
    )
}
