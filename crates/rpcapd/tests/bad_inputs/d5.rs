//! STARTCAP and filters.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, SOON};
use crate::data::Packet;
use crate::message::{self as m, Insn, Start};
use crate::peer::Peer;
use crate::savefile;

const TOO_SHORT: &str = "Message payload is too short";

/// Each STARTCAP is refused with code 12 and a line in the log, and a good one is still accepted.
/// The texts of the refusals.
fn refused(starts: &[Vec<u8>]) -> Vec<String> {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let texts = starts.iter().map(|s| peer.refused(s, 12)).collect();
    daemon.logged_times(starts.len(), "code=StartCapture|request=\"STARTCAP\"");
    assert_eq!(peer.capture(&Start::default()).take(24).len(), 24);
    peer.endcap();
    daemon.finish();
    texts
}

fn with_filter(filter: Vec<u8>) -> Vec<u8> {
    Start { filter, ..Start::default() }.bytes()
}

#[test]
fn d5_060_startcap_without_open() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    let text = peer.refused(&Start::default().bytes(), 12);
    assert_eq!(text, "No capture device was specified");
    daemon.logged_once(&text);
    daemon.finish();
}

#[test]
fn d5_061_a_payload_cut_short() {
    let payload = Start::default().payload();
    let cut = [0, 1, 11, 12, 13, 19].map(|len| m::msg(m::STARTCAP, &payload[..len]));
    for text in refused(&cut) {
        assert_eq!(text, TOO_SHORT);
    }
}

/// `ret #262144`, that follows a STARTCAP which claims not to have it.
const TAIL: [u8; 8] = [0, 6, 0, 0, 0, 4, 0, 0];

/// Ways to send a STARTCAP and its tail.
fn no_filter(send: impl Fn(&mut Peer, &[u8], &[u8])) {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    send(&mut peer, &Start::cut_before_the_filter(), &TAIL);
    let port = peer.started();
    let mut data = peer.data(port);
    assert_eq!(data.take(24).len(), 24);
    peer.in_sync();
    peer.endcap();
    peer.in_sync();
    daemon.logged_once("capture started");
    daemon.finish();
}

#[test]
fn d5_062_no_filter_as_clients_send_it() {
    no_filter(|peer, start, tail| peer.send(&[start, tail].concat()));
}

#[test]
fn d5_062_no_filter_in_two_segments() {
    no_filter(|peer, start, tail| {
        peer.send(start);
        peer.send(tail);
    });
}

#[test]
fn d5_062_no_filter_byte_by_byte() {
    no_filter(|peer, start, tail| {
        for byte in [start, tail].concat() {
            peer.send(&[byte]);
        }
    });
}

#[test]
fn d5_062_no_filter_and_the_next_request_behind_it() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let stats = m::msg(m::STATS, &[]);
    peer.send(&[&Start::cut_before_the_filter()[..], &TAIL, &stats].concat());
    peer.started();
    peer.stats_reply();
    daemon.finish();
}

#[test]
fn d5_063_no_filter_and_no_tail_but_a_request() {
    assert_eq!(refused(&[Start::cut_before_the_filter()]), [TOO_SHORT]);
}

#[test]
fn d5_063_no_filter_and_no_tail_but_a_close() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    peer.send(&[Start::cut_before_the_filter(), m::msg(m::CLOSE, &[])].concat());
    assert_eq!(peer.error(12), TOO_SHORT);
    peer.end();
    daemon.logged_once("session ended: closed by the peer");
    daemon.finish();
}

#[test]
fn d5_063_no_filter_and_no_tail_but_silence() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let since = Instant::now();
    peer.send(&Start::cut_before_the_filter());
    assert_eq!(peer.error(12), TOO_SHORT);
    assert!(since.elapsed() < Duration::from_secs(8));
    peer.in_sync();
    daemon.logged_once("code=StartCapture");
    daemon.finish();
}

#[test]
fn d5_064_a_filter_of_no_instructions() {
    refused(&[with_filter(m::filter(&[]))]);
}

#[test]
fn d5_065_a_filter_that_claims_too_many_instructions() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let rss = daemon.rss();
    for count in [8193, 0x2000_0001, u32::MAX] {
        let text = peer.refused(&with_filter(m::filter_claiming(1, count, m::ALL)), 12);
        assert!(text.contains(&count.to_string()), "{text}");
        assert!(text.contains("8192"), "{text}");
    }
    let growth = daemon.rss().saturating_sub(rss);
    assert!(growth < 4 * 1024, "{growth} KiB more");
    daemon.logged_times(3, "code=StartCapture");
    daemon.finish();
}

#[test]
fn d5_066_a_filter_that_claims_more_instructions_than_it_has() {
    let starts = [
        with_filter(m::filter_claiming(1, 10, &[m::RET_ALL; 5])),
        with_filter(m::filter_claiming(1, 8192, m::ALL)),
    ];
    for text in refused(&starts) {
        assert_eq!(text, TOO_SHORT);
    }
}

#[test]
fn d5_067_filters_of_another_type() {
    refused(&[0, 2, 0xffff].map(|kind| with_filter(m::filter_claiming(kind, 1, m::ALL))));
}

/// Each program is refused.
fn invalid(programs: &[&[Insn]]) {
    let starts: Vec<_> = programs.iter().map(|p| with_filter(m::filter(p))).collect();
    for (text, program) in refused(&starts).iter().zip(programs) {
        assert_ne!(text, TOO_SHORT, "{program:x?}");
    }
}

#[test]
fn d5_068_unknown_instructions() {
    const ALL: Insn = m::RET_ALL;
    invalid(&[
        &[(0xffff, 0, 0, 0), ALL],
        &[(0xffff, 0, 0, 0)],
        &[(0x0106, 0, 0, 0), ALL],
        &[(0x07ff, 0, 0, 0), ALL],
        // A 64-bit operation of the kernel's other machine.
        &[(0x0018, 0, 0, 0), ALL],
    ]);
}

#[test]
fn d5_069_programs_that_are_none() {
    const ALL: Insn = m::RET_ALL;
    let endless = [(0x00, 0, 0, 0); 8192];
    invalid(&[
        // No return at the end.
        &[(0x00, 0, 0, 0)],
        &[ALL, (0x00, 0, 0, 0)],
        &endless,
        // Jumps past the end, and back.
        &[(0x05, 0, 0, 1), ALL],
        &[(0x05, 0, 0, 0xffff_ffff), ALL],
        &[(0x05, 0, 0, 0x8000_0000), ALL],
        &[(0x15, 1, 0, 0), ALL],
        &[(0x15, 0, 255, 0), ALL],
        &[(0x15, 255, 255, 0), ALL],
        // Scratch cells that are not there: st, stx, ld, ldx.
        &[(0x02, 0, 0, 16), ALL],
        &[(0x03, 0, 0, 0xffff_ffff), ALL],
        &[(0x60, 0, 0, 16), ALL],
        &[(0x61, 0, 0, 16), ALL],
        // Division by zero, and its remainder.
        &[(0x34, 0, 0, 0), ALL],
        &[(0x94, 0, 0, 0), ALL],
    ]);
}

#[test]
fn d5_069_8192_instructions_are_not_too_many() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let mut program = vec![(0x00, 0, 0, 0); 8191];
    program.push(m::RET_ALL);
    let mut data = peer.capture(&Start::filtered(&program));
    assert_eq!(data.take(24).len(), 24);
    peer.endcap();
    daemon.finish();
}

#[test]
fn d5_070_unknown_flags_are_ignored() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    // All of the unknown ones, and extensions that have nothing to say here.
    let flags = 0xf7e0 | m::PROMISC;
    let mut data = peer.capture(&Start { flags, ..Start::default() });
    assert_eq!(data.take(24).len(), 24);
    peer.endcap();
    // All flags but those of extensions: among them the one for datagrams, which wins.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let port = peer.start(&Start {
        flags: 0xf4ff,
        port: socket.local_addr().unwrap().port(),
        ..Start::default()
    });
    assert_eq!(port, 0);
    let mut buf = [0; 2048];
    let size = socket.recv(&mut buf).unwrap();
    assert_eq!(Packet::from_datagram(&buf[..size]).npkt, 1);
    peer.endcap();
    daemon.finish();
}

#[test]
fn d5_070_of_the_extensions_only_what_is_done_is_confirmed() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagrams = socket.local_addr().unwrap().port();
    // Of a savefile, without TLS.
    for (flags, port, confirmed) in [
        (0, 0, 0),
        (0x0800, 0, 0x0800),
        (0x1f00, 0, 0x0800),
        (m::DGRAM | 0x0800, datagrams, 0x0800),
        (m::DGRAM | 0x0100, datagrams, 0x0100),
        (m::DGRAM | 0x1f00, datagrams, 0x0b00),
    ] {
        peer.send(&Start { flags, port, ..Start::default() }.bytes());
        let reply = peer.reply(m::STARTCAP);
        assert_eq!(reply[6..], u16::to_be_bytes(confirmed), "{flags:#06x}");
        peer.endcap();
    }
    daemon.finish();
}

#[test]
fn d5_071_snaplens_are_clamped() {
    let daemon = Daemon::with_packets(savefile::packets([100, 70_000], Duration::ZERO));
    let mut peer = Peer::opened(&daemon);
    for (snaplen, effective) in [
        (0, 262_144),
        (1, 1),
        (99, 99),
        (262_144, 262_144),
        (262_145, 262_144),
        (0x7fff_ffff, 262_144),
        (0x8000_0000, 262_144),
        (u32::MAX, 262_144),
    ] {
        let mut data = peer.capture(&Start { snaplen, ..Start::default() });
        for (packet, len) in data.take(2).iter().zip([100, 70_000]) {
            assert_eq!(packet.len, len);
            assert_eq!(packet.data.len() as u32, len.min(effective), "{snaplen}");
        }
        peer.endcap();
        daemon.logged(&format!("snaplen={effective} "));
    }
    daemon.finish();
}

#[test]
fn d5_072_read_timeouts_are_clamped() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    for timeout in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let since = Instant::now();
        let mut data = peer.capture(&Start { timeout, ..Start::default() });
        assert_eq!(data.take(24).len(), 24);
        peer.endcap();
        assert!(since.elapsed() < Duration::from_secs(8));
    }
    daemon.finish();
}

#[test]
fn d5_073_a_data_port_of_zero() {
    let starts = [m::DGRAM, m::SERVEROPEN, m::DGRAM | m::SERVEROPEN]
        .map(|flags| Start { flags, ..Start::default() }.bytes());
    for text in refused(&starts) {
        assert!(text.contains("port"), "{text}");
    }
}

/// Something refused while a capture runs leaves it alone.
fn refused_during_a_capture(start: &[u8], because: &str) {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&Start::filtered(m::EVEN));
    data.take(3);
    let text = peer.refused(start, 12);
    assert_eq!(text, because);
    daemon.logged_once(because);
    for packet in data.take(10) {
        assert_eq!(packet.data[0] % 2, 0);
    }
    peer.endcap();
    let rest = data.rest().len();
    let [received, .., sent] = peer.stats();
    assert_eq!([received, sent], [13 + rest as u32; 2]);
    daemon.logged_times(1, "capture started");
    daemon.finish();
}

#[test]
fn d5_077_startcap_twice() {
    let start = Start::default().bytes();
    refused_during_a_capture(&start, "A capture is already running");
}

#[test]
fn d5_078_startcap_with_a_bad_filter_during_a_capture() {
    let start = with_filter(m::filter(&[(0xffff, 0, 0, 0)]));
    refused_during_a_capture(&start, "A capture is already running");
}

#[test]
fn d5_080_bytes_after_the_filter() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let mut payload = Start::default().payload();
    payload.extend_from_slice(&[0; 100]);
    peer.send(&[m::msg(m::STARTCAP, &payload), m::msg(m::STATS, &[])].concat());
    let port = peer.started();
    peer.stats_reply();
    assert_eq!(peer.data(port).take(24).len(), 24);
    daemon.finish();
}
