//! One daemon for a long time: captures of every kind come and go under a load that varies, with
//! receivers that stall, vanish and return. Memory and descriptors stay as they are, and every
//! capture's ledger is exact.
//!
//! It takes 20 seconds. The long form, ten minutes:
//!
//! ```text
//! RPCAP_SOAK_SECONDS=600 cargo test -p e2e --test soak
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fmt};

use e2e::frames::{self, EXPERIMENT_FILTER, SIZE_MIN};
use e2e::{Client, Daemon, Lab, Ledger, PATIENCE, Source, Start, wait_until};
use nix::sys::socket::{setsockopt, sockopt};
use rpcap_proto::udpstr::Unpacker;
use rpcap_proto::wire::{MessageType, PacketMessage, SNAPLEN_MAX, StartFlags, write_empty};
use socket2::SockRef;

/// How long it takes if nothing else is said.
const SECONDS: u64 = 20;

/// How much more memory than after the first rounds is no leak: the allocator keeps what threads
/// that have ended leave, in places of its own choice.
const MARGIN_KB: u64 = 2048;

/// So many rounds may still find new places to keep something once.
const FIRST_ROUNDS: usize = 2;

/// Frames a second, each for [`PHASE`].
const RATES: [u32; 6] = [200, 5000, 1000, 3000, 400, 2000];
const PHASE: Duration = Duration::from_millis(250);

/// Different frames, sent over and over.
const FRAMES: u32 = 2048;

/// When nothing has come for so long, nothing is on its way.
const QUIET: Duration = Duration::from_millis(100);

/// Longest stall of a receiver that waits for the kernel to drop packets.
const STALL: Duration = Duration::from_secs(3);

/// What captures are like.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A TCP client that reads all the time.
    Reads,
    /// A TCP client that stops reading until packets are dropped, and goes on.
    Stalls,
    /// A TCP client that resets its data connection and goes on with its session.
    ResetsData,
    /// A TCP client that resets its data connection and closes its session.
    ResetsDataAndCloses,
    /// A UDP client that takes udpstr.
    Udpstr,
    /// The same, and nobody listens for a while.
    UdpstrAway,
    /// A UDP client with a packet in each datagram.
    Classic,
    /// A TCP client whose control connection is reset during the capture.
    Vanishes,
    /// The same with udpstr.
    UdpstrVanishes,
}

const KINDS: [Kind; 9] = [
    Kind::Reads,
    Kind::Stalls,
    Kind::ResetsData,
    Kind::ResetsDataAndCloses,
    Kind::Udpstr,
    Kind::UdpstrAway,
    Kind::Classic,
    Kind::Vanishes,
    Kind::UdpstrVanishes,
];

const TCP: StartFlags = StartFlags(0);
const UDP: StartFlags = StartFlags::DATAGRAM;
const UDPSTR: StartFlags = StartFlags(StartFlags::DATAGRAM.0 | StartFlags::UDPSTR.0);

/// A thread that sends frames, sometimes many and sometimes few.
struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// How many frames were sent. Nothing is sent while it is locked.
    sent: Mutex<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    fn start(source: Source, frames: Arc<[Vec<u8>]>) -> Self {
        let shared = Arc::new(Shared::default());
        let from = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut before = start;
            let mut due = 0.0;
            let mut frames = frames.iter().cycle();
            while !from.stop.load(Relaxed) {
                thread::sleep(Duration::from_millis(1));
                let mut sent = from.lock();
                let now = Instant::now();
                // What was not sent while it was held is not made up for.
                let time = now.duration_since(before).min(Duration::from_millis(20));
                before = now;
                let phase = now.duration_since(start).as_millis() / PHASE.as_millis();
                due += f64::from(RATES[phase as usize % RATES.len()]) * time.as_secs_f64();
                while due >= 1.0 {
                    due -= 1.0;
                    source.send(frames.next().expect("it is endless"));
                    *sent += 1;
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Holds the load, and tells how many frames were sent so far.
    fn hold(&self) -> MutexGuard<'_, u64> {
        self.shared.lock()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        let result = self.thread.take().expect("it is taken here only").join();
        assert!(result.is_ok() || thread::panicking(), "the load has failed");
    }
}

/// What a receiver got.
struct Tally {
    frames: Arc<[Vec<u8>]>,
    packets: u64,
    /// Packets that are missing between those that came, by their numbers.
    gaps: u64,
    last: u32,
}

impl Tally {
    fn new(frames: &Arc<[Vec<u8>]>) -> Self {
        Self { frames: Arc::clone(frames), packets: 0, gaps: 0, last: 0 }
    }

    fn packet(&mut self, npkt: u32, data: &[u8]) {
        assert!(npkt > self.last, "packet {npkt} after packet {}", self.last);
        self.gaps += u64::from(npkt - self.last - 1);
        self.last = npkt;
        self.packets += 1;
        let number = frames::number(data).expect("a packet of ours");
        assert!(self.frames[number as usize] == data, "packet {npkt} is not as it was sent");
    }
}

/// How reading a data connection came to its end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The connection was closed, after a whole message.
    Closed,
    /// The connection ended in another way.
    Broken,
    /// The time was over.
    Time,
}

/// The receiving end of a TCP data connection.
struct Stream {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Stream {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        Self { stream, bytes: Vec::new() }
    }

    /// Reads until the end, or for `time`, apart from when it is `stalled`.
    fn read(&mut self, tally: &mut Tally, time: Duration, stalled: &AtomicBool) -> End {
        let deadline = Instant::now() + time;
        let mut buf = vec![0; 128 * 1024];
        while Instant::now() < deadline {
            if stalled.load(Relaxed) {
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            match self.stream.read(&mut buf) {
                Ok(0) if self.bytes.is_empty() => return End::Closed,
                Ok(0) => return End::Broken,
                Ok(n) => self.bytes.extend_from_slice(&buf[..n]),
                Err(e) if is_timeout(&e) => continue,
                Err(_) => return End::Broken,
            }
            let mut used = 0;
            while let Some(message) =
                PacketMessage::read(&self.bytes[used..], SNAPLEN_MAX).expect("a sound message")
            {
                tally.packet(message.header.npkt, message.data);
                used += message.size;
            }
            self.bytes.drain(..used);
        }
        End::Time
    }

    /// Ends it without a word of farewell.
    fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a reset on close");
    }
}

fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The receiving end of datagrams.
struct Datagrams {
    socket: UdpSocket,
    /// `None` for a message in each datagram.
    unpacker: Option<Box<Unpacker>>,
}

impl Datagrams {
    fn new(lab: &Lab, flags: StartFlags) -> Self {
        let udpstr = flags.contains(StartFlags::UDPSTR);
        let unpacker = udpstr.then(|| Box::new(Unpacker::new(SNAPLEN_MAX)));
        Self { socket: Self::socket(lab, ([127, 0, 0, 1], 0).into()), unpacker }
    }

    fn socket(lab: &Lab, address: SocketAddr) -> UdpSocket {
        let socket = lab.net.b.enter(|| UdpSocket::bind(address).expect("a UDP socket"));
        // Room for what comes while the capture is ended.
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).expect("a receive buffer");
        socket
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("its address")
    }

    /// Reads for `time`, or until nothing comes for `quiet`.
    fn read(&mut self, tally: &mut Tally, time: Duration, quiet: Duration) {
        let deadline = Instant::now() + time;
        self.socket.set_read_timeout(Some(quiet)).expect("a timeout");
        let mut buf = vec![0; 65_536];
        while Instant::now() < deadline {
            let datagram = match self.socket.recv(&mut buf) {
                Ok(n) => &buf[..n],
                Err(e) if is_timeout(&e) => break,
                Err(e) => panic!("receiving datagrams: {e}"),
            };
            if let Some(unpacker) = &mut self.unpacker {
                unpacker.datagram(datagram, |header, data| tally.packet(header.npkt, data));
                assert_eq!(unpacker.counts().malformed, 0, "{:?}", unpacker.counts());
            } else {
                let message = PacketMessage::read(datagram, SNAPLEN_MAX).expect("a sound message");
                let message = message.expect("a whole message");
                assert_eq!(message.size, datagram.len(), "one message in a datagram");
                tally.packet(message.header.npkt, message.data);
            }
        }
    }

    /// Reads what is still on its way.
    fn finish(&mut self, tally: &mut Tally) {
        self.read(tally, PATIENCE, QUIET);
        if let Some(unpacker) = &mut self.unpacker {
            unpacker.finish(|header, data| tally.packet(header.npkt, data));
        }
    }
}

/// What happened in all.
#[derive(Default)]
struct Totals {
    rounds: usize,
    captures: usize,
    /// Packets that the filter accepted.
    received: u64,
    dropped: u64,
    unsent: u64,
    sent: u64,
    /// Packets that came to a receiver, and those missing between them.
    delivered: u64,
    gaps: u64,
    /// Memory after each round, in kB.
    memory: Vec<u64>,
    descriptors: usize,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rounds={} captures={} received={} dropped={} unsent={} sent={} delivered={} gaps={} \
             rss-first={}kB rss-last={}kB rss-max={}kB descriptors={}",
            self.rounds,
            self.captures,
            self.received,
            self.dropped,
            self.unsent,
            self.sent,
            self.delivered,
            self.gaps,
            self.memory.first().unwrap_or(&0),
            self.memory.last().unwrap_or(&0),
            self.memory.iter().max().unwrap_or(&0),
            self.descriptors,
        )
    }
}

struct Soak<'a> {
    lab: &'a Lab,
    daemon: &'a Daemon,
    frames: &'a Arc<[Vec<u8>]>,
    load: Load,
    start: Start,
    totals: Totals,
}

impl Soak<'_> {
    fn start(&self, flags: StartFlags) -> Start {
        Start { flags, ..self.start.clone() }
    }

    /// A capture over TCP; how many frames were sent before it.
    fn stream(&self, start: &Start) -> (Client, Stream, u64) {
        let mut client = Client::on_b0(self.daemon);
        let before = self.load.hold();
        let stream = client.start_unread(start).expect("STARTCAP");
        (client, Stream::new(stream), *before)
    }

    /// A capture over UDP; how many frames were sent before it.
    fn datagrams(&self, flags: StartFlags) -> (Client, Datagrams, u64) {
        let mut client = Client::on_b0(self.daemon);
        let datagrams = Datagrams::new(self.lab, flags);
        let port = datagrams.address().port();
        let before = self.load.hold();
        client.request_start(&self.start(flags), port).expect("STARTCAP");
        (client, datagrams, *before)
    }

    /// Ends a capture; how many frames were sent during it.
    fn end(&self, mut client: Client, before: u64) -> u64 {
        let sent = self.load.hold();
        let during = *sent - before;
        wait_until("the filter has seen every frame", || {
            u64::from(client.stats().expect("STATS").received) == during
        });
        client.end_capture().expect("ENDCAP");
        client.close();
        during
    }

    /// The ledger of the capture that has just ended.
    fn ledger(&mut self) -> Ledger {
        self.totals.captures += 1;
        let mut ledgers = self.daemon.wait_for_ledgers(self.totals.captures);
        let ledger = ledgers.pop().expect("as many as were asked for");
        ledger.check();
        self.totals.received += ledger.get("received");
        self.totals.dropped += ledger.get("dropped");
        self.totals.unsent += ledger.get("unsent");
        self.totals.sent += ledger.get("sent");
        ledger
    }

    /// One capture, of about `time`.
    fn capture(&mut self, kind: Kind, time: Duration) {
        let mut tally = Tally::new(self.frames);
        let mut during = None;
        let never = AtomicBool::new(false);
        match kind {
            Kind::Reads => {
                let (client, stream, before) = self.stream(&self.start(TCP));
                during = Some(self.read_to_the_end(client, stream, before, &mut tally, time, None));
            }
            Kind::Stalls => {
                // What nobody reads is to be in the ring, not in the socket.
                let start = Start { receive_buffer: Some(4096), ..self.start(TCP) };
                let (client, stream, before) = self.stream(&start);
                let stall = Some(STALL);
                during =
                    Some(self.read_to_the_end(client, stream, before, &mut tally, time, stall));
            }
            Kind::ResetsData | Kind::ResetsDataAndCloses => {
                let (mut client, mut stream, _) = self.stream(&self.start(TCP));
                assert_eq!(stream.read(&mut tally, time, &never), End::Time);
                stream.reset();
                if matches!(kind, Kind::ResetsData) {
                    let error = client.pushed_error();
                    assert_eq!(error.code, 9, "{error}");
                    client.end_capture().expect("ENDCAP");
                    client.close();
                }
            }
            Kind::Udpstr | Kind::Classic => {
                let flags = if matches!(kind, Kind::Classic) { UDP } else { UDPSTR };
                let (client, mut datagrams, before) = self.datagrams(flags);
                datagrams.read(&mut tally, time, PATIENCE);
                during = Some(self.end(client, before));
                datagrams.finish(&mut tally);
            }
            Kind::UdpstrAway => {
                let (client, mut datagrams, before) = self.datagrams(UDPSTR);
                datagrams.read(&mut tally, time / 2, PATIENCE);
                let Datagrams { socket, unpacker } = datagrams;
                let address = socket.local_addr().expect("its address");
                drop(socket);
                thread::sleep(time / 2);
                let mut datagrams =
                    Datagrams { socket: Datagrams::socket(self.lab, address), unpacker };
                datagrams.read(&mut tally, time / 2, PATIENCE);
                during = Some(self.end(client, before));
                datagrams.finish(&mut tally);
                assert!(tally.gaps > 0, "nobody listened, and nothing is missing");
            }
            Kind::Vanishes => {
                let (client, mut stream, _) = self.stream(&self.start(TCP));
                assert_eq!(stream.read(&mut tally, time, &never), End::Time);
                vanish(client);
                let end = stream.read(&mut tally, PATIENCE, &never);
                assert_ne!(end, End::Time, "the data connection outlives its session");
            }
            Kind::UdpstrVanishes => {
                let (client, mut datagrams, _) = self.datagrams(UDPSTR);
                datagrams.read(&mut tally, time, PATIENCE);
                vanish(client);
                datagrams.finish(&mut tally);
            }
        }
        let ledger = self.ledger();
        self.totals.delivered += tally.packets;
        self.totals.gaps += tally.gaps;
        let Tally { packets, gaps, .. } = tally;
        let context = format!("{kind:?}: {packets} packets came, {gaps} are missing: {ledger:?}");
        // UDP packets that were not sent have numbers too.
        let numbered = ledger.get("sent") + ledger.get("unsent");
        let Some(during) = during else {
            assert!(packets + gaps <= numbered, "{context}");
            return;
        };
        assert_eq!(ledger.get("received"), during, "{context}");
        assert_eq!(packets + gaps, numbered, "{context}");
        if !matches!(kind, Kind::UdpstrAway) {
            assert_eq!((gaps, ledger.get("unsent")), (0, 0), "{context}");
        }
        if !matches!(kind, Kind::Stalls) {
            // The ring is made for a stall of no length; a busy machine is still no excuse for
            // losing more than it holds.
            assert!(packets > 0 || during == 0, "{context}");
        }
    }

    /// Reads a capture over TCP until it is ended after `time`, but for a stall in its middle.
    fn read_to_the_end(
        &self,
        mut client: Client,
        mut stream: Stream,
        before: u64,
        tally: &mut Tally,
        time: Duration,
        stall: Option<Duration>,
    ) -> u64 {
        let stalled = AtomicBool::new(false);
        thread::scope(|s| {
            let reader = s.spawn(|| stream.read(tally, PATIENCE, &stalled));
            thread::sleep(time / 2);
            if let Some(longest) = stall {
                stalled.store(true, Relaxed);
                let deadline = Instant::now() + longest;
                while client.stats().expect("STATS").kernel_dropped == 0
                    && Instant::now() < deadline
                {
                    thread::sleep(Duration::from_millis(20));
                }
                stalled.store(false, Relaxed);
            }
            thread::sleep(time / 2);
            let during = self.end(client, before);
            let end = reader.join().expect("a reader that does not fail");
            assert_eq!(end, End::Closed, "how the data connection ended");
            during
        })
    }

    /// Captures of every kind, then a look at what they left.
    fn round(&mut self, idle_threads: u64) {
        let round = self.totals.rounds;
        for (n, kind) in KINDS.into_iter().enumerate() {
            let millis = 100 + (round * 137 + n * 61) % 300;
            self.capture(kind, Duration::from_millis(millis as u64));
        }
        wait_until("no session is left", || self.daemon.status("Threads") == idle_threads);
        if round == 0 {
            self.totals.descriptors = self.daemon.descriptors();
        }
        let expected = self.totals.descriptors;
        assert_eq!(self.daemon.descriptors(), expected, "descriptors after round {round}");
        let memory = self.daemon.status("VmRSS");
        self.totals.memory.push(memory);
        self.totals.rounds += 1;
        let first = self.totals.memory.iter().take(FIRST_ROUNDS).max().copied().unwrap_or(0);
        assert!(
            memory <= first + MARGIN_KB,
            "more than {MARGIN_KB} kB grown after round {round}: {:?}",
            self.totals.memory
        );
    }
}

/// Ends a control connection with a reset: there is something that the client has not read.
fn vanish(mut client: Client) {
    let mut message = Vec::new();
    write_empty(&mut message, MessageType::StatsRequest);
    client.send(&message);
    thread::sleep(Duration::from_millis(30));
    drop(client);
}

#[test]
fn captures_come_and_go_and_nothing_grows() {
    let seconds = match env::var("RPCAP_SOAK_SECONDS") {
        Ok(text) => text.parse().expect("RPCAP_SOAK_SECONDS is a number of seconds"),
        Err(_) => SECONDS,
    };
    let Some(lab) = Lab::new() else { return };
    // A small ring, that a stall of a second fills.
    let daemon = Daemon::start_with(&lab, &["-n", "-z", "524288"]);
    let size = |n: u32| SIZE_MIN + (n as usize * 97) % (1514 - SIZE_MIN + 1);
    let frames: Arc<[_]> = (0..FRAMES).map(|n| frames::frame(n, size(n))).collect();
    let load = Load::start(Source::new(&lab.net.a, "a0"), Arc::clone(&frames));
    let start = Start { timeout_ms: 10, ..Start::filtered(EXPERIMENT_FILTER) };
    let idle_threads = daemon.status("Threads");
    let begin = Instant::now();
    let totals = Totals::default();
    let mut soak = Soak { lab: &lab, daemon: &daemon, frames: &frames, load, start, totals };
    while begin.elapsed() < Duration::from_secs(seconds) || soak.totals.rounds <= FIRST_ROUNDS {
        soak.round(idle_threads);
    }
    let Soak { load, totals, .. } = soak;
    drop(load);
    // Not println!, which the test runner keeps to itself when a test passes.
    let line = format!("soak: {:.0?}: {totals}\n", begin.elapsed());
    let _ = io::stderr().write_all(line.as_bytes());
    assert!(totals.dropped > 0, "no receiver ever stalled for long enough");
    assert_eq!(lab.net.b.promiscuity("b0"), 0);
    assert_eq!(daemon.finish().len(), totals.captures);
}
