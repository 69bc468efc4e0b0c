//! Captures over RPCAP and throws everything away, as cheaply as that goes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::{DaemonStats, Drained, pin};
use clap::Parser;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use rpcap_proto::bpf::Instruction;
use rpcap_proto::session::{ClientSession, Event, Request};
use rpcap_proto::wire::{AuthRequest, FilterBlock, PacketMessage, StartFlags, StartRequest, Stats};

/// Bytes of the receive buffer.
const BUFFER: usize = 1024 * 1024;

/// Instruction code of `ret #k`.
const RET_K: u16 = 0x06;

/// How long the daemon may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the end is looked for. Seldom: the sender has the same core.
const TICK: Duration = Duration::from_millis(100);

/// Capture over RPCAP (TCP), count, and say in one line of JSON what came.
///
/// Prints "ready" when the capture runs. Ends when standard input does, or as --count and --idle
/// say.
#[derive(Debug, Parser)]
#[command(name = "drain")]
struct Cli {
    /// Address and port of the daemon
    daemon: SocketAddr,

    /// Device to capture from
    device: String,

    /// Most bytes of a packet
    #[arg(long, default_value_t = 262_144)]
    snaplen: u32,

    /// Milliseconds for which the daemon may gather packets
    #[arg(long, default_value_t = 10)]
    read_timeout: u32,

    /// Microseconds to sleep when nothing is there; 0: sleep until something is. Nobody has to wake
    /// a receiver that looks by itself, as nobody here has to wake one on another host
    #[arg(long, default_value_t = 0)]
    poll: u64,

    /// End after this many packets
    #[arg(long)]
    count: Option<u64>,

    /// End when nothing came for this many seconds, after something had come
    #[arg(long)]
    idle: Option<f64>,

    /// Core to run on
    #[arg(long)]
    core: Option<usize>,
}

/// What came so far, for the thread that waits.
#[derive(Debug, Default)]
struct Progress {
    packets: AtomicU64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(core) = cli.core {
        pin(core)?;
    }
    let mut control = Control::connect(cli.daemon)?;
    control.expect(&Request::Authenticate(AuthRequest::Null))?;
    control.expect(&Request::Open(&cli.device))?;
    let port = match control.expect(&Request::Start(&start_request(&cli)))? {
        Event::Started(reply) => reply.port,
        other => bail!("the daemon answered the start with {other:?}"),
    };
    let data =
        TcpStream::connect((cli.daemon.ip(), port)).context("opening the data connection")?;

    let progress = Progress::default();
    let drained = thread::scope(|scope| -> anyhow::Result<Drained> {
        let reader = scope.spawn(|| read(data, &cli, &progress));
        println!("ready");
        wait(&cli, &progress);
        // libpcap's daemon forgets its counters when the capture ends; ours are final then.
        let during = control.stats()?;
        control.expect(&Request::EndCapture)?;
        let mut drained = match reader.join() {
            Ok(read) => read?,
            Err(_) => bail!("the reading thread panicked"),
        };
        let after = control.stats()?;
        let stats = if after.received >= during.received { after } else { during };
        drained.stats = DaemonStats {
            received: stats.received,
            if_dropped: stats.if_dropped,
            kernel_dropped: stats.kernel_dropped,
            sent: stats.sent,
        };
        Ok(drained)
    })?;
    control.session.close();
    control.send()?;
    println!("{}", serde_json::to_string(&drained)?);
    Ok(())
}

/// Everything, through a filter of one instruction, as clients without a filter ask for it.
fn start_request(cli: &Cli) -> StartRequest {
    let all = Instruction { code: RET_K, jt: 0, jf: 0, k: cli.snaplen };
    StartRequest {
        snaplen: cli.snaplen,
        read_timeout_ms: cli.read_timeout,
        flags: StartFlags::PROMISC,
        port: 0,
        filter: FilterBlock { instructions: vec![all] },
    }
}

/// Returns when the capture is to end.
fn wait(cli: &Cli, progress: &Progress) {
    let (tell, told) = mpsc::channel::<()>();
    // It is not joined: nothing ends a read of standard input.
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(tell);
    });
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        if told.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let packets = progress.packets.load(Relaxed);
        if packets > seen {
            (seen, since) = (packets, Instant::now());
        }
        let idle = cli.idle.is_some_and(|s| seen > 0 && since.elapsed().as_secs_f64() >= s);
        if idle || cli.count.is_some_and(|n| packets >= n) {
            return;
        }
    }
}

/// Reads the data connection to its end.
fn read(mut data: TcpStream, cli: &Cli, progress: &Progress) -> anyhow::Result<Drained> {
    data.set_nonblocking(cli.poll > 0)?;
    // What comes between two looks has room.
    let _ = setsockopt(&data, RcvBufForce, &(4 * BUFFER));
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    let mut done = Drained::default();
    let mut last_npkt = 0;
    loop {
        let n = match data.read(&mut buffer[filled..]) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_micros(cli.poll));
                continue;
            }
            Err(e) => return Err(e).context("reading the data connection"),
        };
        filled += n;
        let mut rest = &buffer[..filled];
        while let Some(message) = PacketMessage::read(rest, cli.snaplen)? {
            done.packets += 1;
            done.bytes += message.data.len() as u64;
            done.gaps += u64::from(message.header.npkt.wrapping_sub(last_npkt).wrapping_sub(1));
            last_npkt = message.header.npkt;
            rest = &rest[message.size..];
        }
        progress.packets.store(done.packets, Relaxed);
        let left = rest.len();
        if n == 0 {
            return if left == 0 { Ok(done) } else { bail!("the last message is cut off") };
        }
        buffer.copy_within(filled - left..filled, 0);
        filled = left;
    }
}

/// The control connection.
struct Control {
    socket: TcpStream,
    session: ClientSession,
}

impl Control {
    /// Connects; a daemon that was only just started may need a moment until it listens.
    fn connect(daemon: SocketAddr) -> anyhow::Result<Self> {
        let start = Instant::now();
        let socket = loop {
            match TcpStream::connect(daemon) {
                Ok(socket) => break socket,
                Err(e) if start.elapsed() > PATIENCE => {
                    return Err(e).with_context(|| format!("connecting to {daemon}"));
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        socket.set_read_timeout(Some(2 * PATIENCE))?;
        Ok(Self { socket, session: ClientSession::new() })
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let output = self.session.output();
        self.socket.write_all(output).context("sending a request")?;
        output.clear();
        Ok(())
    }

    /// Sends a request and waits for its answer, which is not a refusal.
    fn expect(&mut self, request: &Request<'_>) -> anyhow::Result<Event> {
        self.session.request(request)?;
        self.send()?;
        let mut bytes = [0; 4096];
        loop {
            match self.session.poll()? {
                Some(Event::Refused { code, text }) => bail!("refused: {text} ({code})"),
                Some(Event::Pushed { code, text }) => eprintln!("drain: {text} ({code})"),
                Some(event) => return Ok(event),
                None => match self.socket.read(&mut bytes).context("waiting for an answer")? {
                    0 => bail!("the daemon closed the control connection"),
                    n => self.session.receive(&bytes[..n]),
                },
            }
        }
    }

    fn stats(&mut self) -> anyhow::Result<Stats> {
        match self.expect(&Request::Stats)? {
            Event::Stats(stats) => Ok(stats),
            other => bail!("the daemon answered with {other:?}"),
        }
    }
}
