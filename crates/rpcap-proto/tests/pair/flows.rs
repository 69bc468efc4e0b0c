//! Whole conversations, and the same ones with the stream cut wherever it can be.

use rpcap_proto::bpf::Instruction;
use rpcap_proto::session::{Action, Config, DataChannel, EndReason, Event, Request};
use rpcap_proto::wire::{
    AuthRequest, FilterBlock, MessageType, Sampling, StartFlags, StartReply, StartRequest, Stats,
    write_empty,
};

use crate::support::host::{BUFFER_SIZE, CLOCK, DATA_PORT, DOWN, LOOPBACK, drive};
use crate::support::{NULL_AUTH, hex, message, messages};
use crate::wire::{Cut, Pair, permissive};

pub(crate) fn everything(k: u32) -> FilterBlock {
    let (code, jt, jf) = (6, 0, 0);
    FilterBlock { instructions: vec![Instruction { code, jt, jf, k }] }
}

pub(crate) fn start(flags: StartFlags, port: u16) -> StartRequest {
    StartRequest { snaplen: 96, read_timeout_ms: 500, flags, port, filter: everything(96) }
}

const STATS: Stats = Stats { received: 8, if_dropped: 1, kernel_dropped: 2, sent: 4 };

/// Everything that a client can ask for, refusals included: the answers, what the daemon's
/// program was asked, how it ended and how many bytes passed one way.
fn conversation(config: Config, cut: Cut) -> (Vec<Event>, Vec<Action>, EndReason, usize) {
    let mut pair = Pair::new(config, cut);
    pair.host.stats = STATS;
    let tcp = start(StartFlags::PROMISC, 0);
    let udp = start(StartFlags::DATAGRAM, 4000);
    let filter = everything(40);
    let null = Request::Authenticate(AuthRequest::Null);
    let mut events = Vec::new();
    for request in [
        null,
        Request::ListDevices,
        Request::Open(DOWN),
        Request::Start(&tcp),
        Request::Open(LOOPBACK),
        Request::SetSampling(Sampling::OneEvery(5)),
        Request::Start(&udp),
        Request::UpdateFilter(&filter),
        Request::Stats,
        Request::Start(&tcp),
        Request::EndCapture,
        Request::EndCapture,
        Request::Stats,
    ] {
        events.push(pair.ask(&request));
    }
    pair.client.close();
    assert_eq!(pair.settle(), []);
    let carried = pair.carried();
    let end = pair.end.expect("CLOSE ends the session");
    (events, pair.host.asked, end, carried)
}

#[test]
fn one_of_everything() {
    let (events, asked, end, _) = conversation(permissive(), Cut::None);
    let [
        Event::Authenticated(_),
        Event::Devices(devices),
        Event::Refused { code: 6, .. },
        Event::Refused { code: 12, .. },
        Event::Opened(opened),
        Event::SamplingSet,
        Event::Started(started),
        Event::FilterSet,
        Event::Stats(stats, None),
        Event::Refused { code: 12, .. },
        Event::Ended,
        Event::Refused { code: 13, .. },
        Event::Stats(_, None),
    ] = &events[..]
    else {
        panic!("{events:#?}");
    };
    assert_eq!(devices.len(), 3);
    assert_eq!((opened.linktype, *stats), (1, STATS));
    assert_eq!(*started, StartReply { buffer_size: BUFFER_SIZE, port: 0, extensions: 0 });
    let authenticated = true;
    assert_eq!(end, EndReason::Closed { authenticated });
    let Some(Action::Start(start)) = asked.iter().find(|a| matches!(a, Action::Start(_))) else {
        panic!("{asked:#?}");
    };
    assert_eq!((&start.device[..], start.snaplen), (LOOPBACK, 96));
    assert_eq!(start.data, DataChannel::Udp(4000));
    assert_eq!(start.sampling, Sampling::OneEvery(5));
    assert!(!start.promisc);
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    let whole = conversation(permissive(), Cut::None);
    for at in 1..whole.3 {
        assert_eq!(conversation(permissive(), Cut::At(at)), whole, "cut after {at}");
    }
}

#[test]
fn segments_of_any_size_change_nothing() {
    let whole = conversation(permissive(), Cut::None);
    for size in 1..=64 {
        assert_eq!(conversation(permissive(), Cut::Every(size)), whole, "by {size}");
    }
}

/// What a client is told that asks for counters after a STARTCAP with these flags.
fn told(pair: &mut Pair, flags: StartFlags) -> Event {
    assert!(matches!(pair.ask(&Request::Start(&start(flags, 0))), Event::Started(_)));
    pair.ask(&Request::Stats)
}

#[test]
fn the_clock_is_told_where_it_was_agreed_upon() {
    let mut pair = Pair::new(permissive(), Cut::Every(7));
    pair.host.stats = STATS;
    pair.ask(&Request::Authenticate(AuthRequest::Null));
    pair.ask(&Request::Open(LOOPBACK));
    assert_eq!(pair.ask(&Request::Stats), Event::Stats(STATS, None));
    assert_eq!(told(&mut pair, StartFlags::CLOCK), Event::Stats(STATS, Some(CLOCK)));
    // A STARTCAP that is refused changes nothing.
    let refused = pair.ask(&Request::Start(&start(StartFlags::default(), 0)));
    assert!(matches!(refused, Event::Refused { code: 12, .. }));
    assert_eq!(pair.ask(&Request::Stats), Event::Stats(STATS, Some(CLOCK)));
    pair.ask(&Request::EndCapture);
    assert_eq!(pair.ask(&Request::Stats), Event::Stats(STATS, Some(CLOCK)));
    assert_eq!(told(&mut pair, StartFlags::default()), Event::Stats(STATS, None));
}

#[test]
fn who_opens_the_data_connection() {
    let (promisc, datagram, server_open) =
        (StartFlags::PROMISC, StartFlags::DATAGRAM, StartFlags::SERVER_OPEN);
    for (active, flags, data, port) in [
        (false, promisc, DataChannel::TcpListen, DATA_PORT),
        (false, server_open, DataChannel::TcpConnect(9), 0),
        (false, datagram, DataChannel::Udp(9), 0),
        (true, promisc, DataChannel::TcpConnect(9), 0),
        (true, datagram, DataChannel::Udp(9), 0),
        (true, datagram | server_open, DataChannel::Udp(9), 0),
    ] {
        let mut pair = Pair::new(Config { active, ..permissive() }, Cut::None);
        pair.ask(&Request::Authenticate(AuthRequest::Null));
        pair.ask(&Request::Open(LOOPBACK));
        let reply = pair.ask(&Request::Start(&start(flags, 9)));
        let Event::Started(reply) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(reply.port, port);
        let running = pair.host.running.expect("a capture");
        assert_eq!((running.data, active), (data, active));
    }
}

/// All requests of a conversation in one stream, none waiting for a reply.
fn pipelined() -> Vec<u8> {
    let mut stream = NULL_AUTH.to_vec();
    write_empty(&mut stream, MessageType::FindAllIfRequest);
    stream.extend(message(MessageType::OpenRequest, b"lo"));
    Sampling::FirstAfterMs(10).write(&mut stream);
    // As clients without a filter send it: eight bytes longer than it says.
    stream.extend(hex(
        "0004 0000 00000014 | 00040000 000001f4 0001 0000 | 00010000 00000001 | 00060000 00040000",
    ));
    write_empty(&mut stream, MessageType::StatsRequest);
    stream.extend(hex("0005 0000 00000010 | 0001 0000 00000001 | 0006 00 00 00000040"));
    write_empty(&mut stream, MessageType::EndCaptureRequest);
    write_empty(&mut stream, MessageType::Close);
    stream
}

const PIPELINED_REPLIES: [u8; 8] = [0x88, 0x82, 0x83, 0x8b, 0x84, 0x89, 0x85, 0x8a];

#[test]
fn pipelined_requests_are_answered_in_order_however_they_are_cut() {
    let stream = pipelined();
    for at in 0..=stream.len() {
        let mut pair = Pair::new(permissive(), Cut::None);
        let mut replies = Vec::new();
        for part in [&stream[..at], &stream[at..]] {
            if pair.end.is_some() {
                break;
            }
            pair.daemon.receive(part);
            pair.end = drive(&mut pair.daemon, &mut pair.host, pair.now);
            replies.append(pair.daemon.output());
        }
        let kinds: Vec<u8> =
            messages(&replies).iter().map(|(header, _)| header.kind.number()).collect();
        assert_eq!(kinds, PIPELINED_REPLIES, "cut after {at}");
        let authenticated = true;
        assert_eq!(pair.end, Some(EndReason::Closed { authenticated }));
    }
}

#[test]
fn what_came_before_the_end_of_the_stream_is_answered() {
    let stream = pipelined();
    for at in 0..stream.len() {
        let mut pair = Pair::new(permissive(), Cut::None);
        pair.daemon.receive(&stream[..at]);
        pair.daemon.receive_eof();
        let end = drive(&mut pair.daemon, &mut pair.host, pair.now);
        assert_eq!(end, Some(EndReason::Eof), "after {at}");
        let replies = messages(pair.daemon.output());
        let kinds: Vec<u8> = replies.iter().map(|(h, _)| h.kind.number()).collect();
        // A STARTCAP cut before its tail is complete in form, and refused.
        let agree = kinds
            .iter()
            .zip(PIPELINED_REPLIES)
            .take_while(|(got, expected)| **got == *expected)
            .count();
        let cut_start = kinds.len() == 5 && agree == 4 && kinds[4] == 1;
        assert!(agree == kinds.len() || cut_start, "after {at}: {kinds:x?}");
    }
}
