//! The collector's datagrams: many senders, captures that begin and end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpcap::collector::flow::Flow;
use rpcap::collector::udp::{Command, Started, Switchboard};
use rpcap::output::{Queue, Route};
use rpcap_proto::udpstr::Packer;
use rpcap_proto::wire::PacketHeader;

use super::input::Input;

/// Bytes of packets that may wait for an output.
const ROOM: u64 = 1 << 20;

fn address(n: u8) -> IpAddr {
    let v4 = Ipv4Addr::new(192, 0, 2, n % 4);
    // The same host in IPv6's clothes.
    if n & 0x80 == 0 { v4.into() } else { v4.to_ipv6_mapped().into() }
}

fn place(input: &mut Input<'_>) -> SocketAddr {
    let n = input.u8();
    (address(n), 1000 + u16::from(n >> 2 & 3)).into()
}

/// A datagram of one packet that continues what its sender has sent.
struct Sender {
    packer: Packer,
    npkt: u32,
}

impl Sender {
    fn next(&mut self) -> Vec<u8> {
        self.npkt += 1;
        let header = PacketHeader { npkt: self.npkt, ..PacketHeader::default() };
        self.packer.push(&header, &[7; 20]);
        self.packer.flush();
        let batch = self.packer.flushed();
        let bytes = batch.datagram(0).map_or_else(Vec::new, |d| d.bytes.to_vec());
        batch.clear();
        bytes
    }
}

/// Events, each a byte: 0 a start is awaited at an address, 1 and 2 it went well or badly, 3 a capture
/// is bound to a place, 4 one is to learn its place, 5 one ends, 6 time passes, 7 packets are given on,
/// 8 a valid datagram comes from a place; others: bytes come from a place.
///
/// Every datagram is somebody's or a stranger's, and a capture counts no more packets than came.
pub fn switchboard(data: &[u8]) {
    let mut input = Input(data);
    let mut board = Switchboard::default();
    let route = Route::new([Arc::new(Queue::new(ROOM))]);
    let mut flows: Vec<Arc<Flow>> = Vec::new();
    let mut senders: Vec<Sender> = (0..4)
        .map(|_| Sender { packer: Packer::new(256).expect("a valid limit"), npkt: 0 })
        .collect();
    let mut now = Instant::now();
    let (mut valid, mut other, mut ended) = (0u64, 0u64, 0u64);
    while !input.is_empty() && flows.len() < 64 {
        let command = match input.u8() {
            0 => Command::Await(address(input.u8())),
            1 => Command::Settle(address(input.u8()), Started::Well),
            2 => Command::Settle(address(input.u8()), Started::Badly),
            kind @ (3 | 4) => {
                let source = place(&mut input);
                let snaplen = 1 + u32::from(input.u16());
                let stream = flows.len() as u32;
                let flow = Arc::new(Flow::new(stream, snaplen, source.ip(), route.clone()));
                flows.push(Arc::clone(&flow));
                if kind == 3 { Command::Bind(source, flow) } else { Command::Learn(flow) }
            }
            5 if !flows.is_empty() => {
                let at = usize::from(input.u8()) % flows.len();
                Command::End(flows.swap_remove(at))
            }
            6 => {
                now += Duration::from_millis(input.u16().into());
                if let Some(left) = board.look(now) {
                    assert!(!left.is_zero(), "a receiver would spin");
                }
                continue;
            }
            7 => {
                board.flush();
                assert!(!board.gathers());
                continue;
            }
            8 => {
                let source = place(&mut input);
                let sender = &mut senders[usize::from(source.port() - 1000)];
                let datagram = sender.next();
                board.datagram(source, &datagram);
                valid += 1;
                continue;
            }
            _ => {
                let source = place(&mut input);
                board.datagram(source, input.bytes());
                other += 1;
                continue;
            }
        };
        if let Some(received) = board.command(command, now) {
            ended += received.packets;
        }
    }
    for flow in flows {
        if let Some(received) = board.command(Command::End(flow), now) {
            ended += received.packets;
        }
    }
    let strangers = board.strangers();
    assert!(strangers.unknown + strangers.late <= valid + other);
    // What was made up may hold many packets, but none without its 20 bytes of header.
    assert!(ended <= valid + data.len() as u64 / 20, "{ended} of {valid}");
    assert!(route.queues()[0].bytes() as u64 <= ROOM + (256 << 10));
}
