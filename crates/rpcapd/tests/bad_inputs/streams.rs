//! Whole sessions, cut and mixed in every way that a network or an enemy can.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use crate::daemon::{DEVICE, Daemon, eventually};
use crate::data::Data;
use crate::message::{self as m, Start};
use crate::peer::Peer;
use crate::savefile;

/// A session with every request, whose data goes to this port.
pub(crate) fn session(port: u16) -> Vec<Vec<u8>> {
    let start = Start { flags: m::PROMISC | m::SERVEROPEN, port, ..Start::default() };
    vec![
        m::auth(),
        m::msg(m::FINDALLIF, &[]),
        m::open("nope0"),
        m::open(DEVICE),
        m::sampling(1, 0),
        start.bytes(),
        m::update(m::EVEN),
        m::msg(m::ERROR, b"none"),
        start.bytes(),
        m::msg(m::STATS, &[]),
        m::msg(m::ENDCAP, &[]),
        m::msg(m::ENDCAP, &[]),
        m::msg(m::STATS, &[]),
        m::msg(m::CLOSE, &[]),
    ]
}

/// The replies to [`session`], in order, and then the end.
fn replies(peer: &mut Peer) {
    peer.authenticated();
    peer.reply(m::FINDALLIF);
    peer.error(6);
    peer.reply(m::OPEN);
    peer.reply(m::SETSAMPLING);
    assert_eq!(peer.started(), 0);
    peer.reply(m::UPDATEFILTER);
    peer.error(12);
    peer.stats_reply();
    peer.reply(m::ENDCAP);
    peer.error(13);
    let [received, .., sent] = peer.stats_reply();
    assert_eq!(received, sent);
    peer.end();
}

/// Sends [`session`] in a way, and sees that the daemon does not mind.
fn in_pieces(send: impl FnOnce(&mut Peer, &[u8])) {
    let daemon = Daemon::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut peer = Peer::connect(&daemon);
    send(&mut peer, &session(port).concat());
    replies(&mut peer);
    Data::accept(&listener).rest();
    daemon.logged_once("session ended: closed by the peer");
    daemon.finish();
}

#[test]
fn everything_in_one_segment() {
    in_pieces(|peer, bytes| peer.send(bytes));
}

#[test]
fn everything_in_one_segment_and_half_closed() {
    in_pieces(|peer, bytes| {
        peer.send(bytes);
        peer.half_close();
    });
}

#[test]
fn everything_byte_by_byte() {
    in_pieces(|peer, bytes| {
        for byte in bytes {
            peer.send(&[*byte]);
        }
    });
}

#[test]
fn a_reset_at_every_byte() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let uses = daemon.uses();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bytes = session(listener.local_addr().unwrap().port()).concat();
    // The daemon's data connections are taken, and left alone.
    listener.set_nonblocking(true).unwrap();
    let mut taken = Vec::new();
    for end in 0..=bytes.len() {
        let mut peer = Peer::connect(&daemon);
        peer.send(&bytes[..end]);
        // Of every other one the daemon has certainly read something.
        if end % 2 == 0 && end >= 16 {
            peer.authenticated();
        }
        peer.reset();
        while let Ok((stream, _)) = listener.accept() {
            taken.push(stream);
        }
    }
    daemon.back_to(uses);
    let sessions = daemon.count_logged("session started");
    daemon.logged_times(sessions, "session ended");
    let captures = daemon.count_logged("capture started");
    assert!(captures > 0);
    daemon.logged_times(captures, "capture ended");
    daemon.finish();
}

#[test]
fn a_close_at_every_byte() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let uses = daemon.uses();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bytes = session(listener.local_addr().unwrap().port()).concat();
    listener.set_nonblocking(true).unwrap();
    let mut taken = Vec::new();
    for end in 0..bytes.len() {
        let mut peer = Peer::connect(&daemon);
        peer.send(&bytes[..end]);
        peer.half_close();
        // Whatever is answered, the end follows.
        while peer.next().unwrap().is_some() {}
        while let Ok((stream, _)) = listener.accept() {
            taken.push(stream);
        }
    }
    daemon.back_to(uses);
    daemon.logged_times(bytes.len(), "session ended");
    daemon.finish();
}

#[test]
fn a_slow_sender_delays_nobody() {
    let daemon = Daemon::with_packets(savefile::trickle(6_000));
    let mut capturing = Peer::opened(&daemon);
    let mut data = capturing.capture(&Start::default());
    let mut slow = Peer::accepted(&daemon);
    let mut slowest = Duration::ZERO;
    let since = std::time::Instant::now();
    for byte in &m::msg(m::OPEN, &[b'x'; 12])[..20] {
        slow.send(&[*byte]);
        let began = std::time::Instant::now();
        Peer::accepted(&daemon);
        capturing.in_sync();
        data.take(1);
        slowest = slowest.max(began.elapsed());
        // The pace of the peer.
        thread::sleep(Duration::from_millis(50));
    }
    assert!(slowest < since.elapsed() / 2, "{slowest:?}");
    slow.error(6);
    daemon.finish();
}

/// Numbers that look random and are the same in every run (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }

    /// Nothing but noise.
    fn noise(&mut self) -> Vec<u8> {
        let len = self.below(3_000);
        self.bytes(len)
    }

    /// Noise in messages of the right form.
    fn messages(&mut self) -> Vec<u8> {
        let mut out = m::auth();
        for _ in 0..self.below(12) {
            let kind = self.below(13) as u8;
            let len = self.below(80);
            out.extend_from_slice(&m::msg(kind, &self.bytes(len)));
        }
        out
    }

    /// A good session with some bytes changed.
    fn damaged(&mut self) -> Vec<u8> {
        // Nobody listens on that port: the daemon finds out at once.
        let mut out = session(1).concat();
        for _ in 0..1 + self.below(4) {
            let at = self.below(out.len());
            out[at] = self.roll() as u8;
        }
        out
    }
}

#[test]
fn garbage() {
    let daemon = Daemon::start();
    let uses = daemon.uses();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for i in 0..600 {
        let bytes = match i % 3 {
            0 => dice.noise(),
            1 => dice.messages(),
            _ => dice.damaged(),
        };
        let mut peer = Peer::connect(&daemon);
        peer.send_what_is_taken(&bytes);
        // It may have ended already.
        let _ = peer.stream.shutdown(std::net::Shutdown::Write);
        // Whatever is answered is a message, and the end follows.
        while let Ok(Some(message)) = peer.next() {
            assert!(message.payload.len() < 1 << 20);
        }
    }
    eventually("all sessions end", || daemon.count_logged("session ended") == 600);
    daemon.back_to(uses);
    daemon.finish();
}
