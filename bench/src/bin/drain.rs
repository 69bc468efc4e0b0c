//! Captures over RPCAP and throws everything away, as cheaply as that goes.

use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bench::{DaemonStats, Drained, pin};
use clap::Parser;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBufForce, UdpGroSegment};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use rpcap_proto::bpf::Instruction;
use rpcap_proto::session::{ClientSession, Event, Request};
use rpcap_proto::udpstr::{self, Unpacker};
use rpcap_proto::wire::{
    AuthRequest, FilterBlock, PacketHeader, PacketMessage, StartFlags, StartRequest, Stats,
};

/// Bytes of the receive buffer.
const BUFFER: usize = 1024 * 1024;

/// Instruction code of `ret #k`.
const RET_K: u16 = 0x06;

/// How long the daemon may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the end is looked for. Seldom: the sender has the same core.
const TICK: Duration = Duration::from_millis(100);

/// Capture over RPCAP, count, and say in one line of JSON what came.
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

    /// Take packets by UDP, however they are framed
    #[arg(long)]
    udp: bool,

    /// Ask for udpstr
    #[arg(long, requires = "udp")]
    udpstr: bool,

    /// Say how long packets took
    #[arg(long)]
    latency: bool,
}

/// What came so far, for the thread that waits.
#[derive(Debug, Default)]
struct Progress {
    packets: AtomicU64,
    ended: AtomicBool,
}

/// What came, counted.
#[derive(Debug, Default)]
struct Count {
    done: Drained,
    last_npkt: u32,
    /// In microseconds, if they are wanted.
    latencies: Option<Vec<f64>>,
}

impl Count {
    fn new(cli: &Cli) -> Self {
        Self { latencies: cli.latency.then(Vec::new), ..Self::default() }
    }

    fn packet(&mut self, header: &PacketHeader, data: &[u8]) {
        self.done.packets += 1;
        self.done.bytes += data.len() as u64;
        let gap = header.npkt.wrapping_sub(self.last_npkt).wrapping_sub(1);
        self.done.gaps += u64::from(gap);
        self.last_npkt = header.npkt;
        if let Some(latencies) = &mut self.latencies {
            let stamp = Duration::new(header.secs.into(), header.micros * 1000);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            latencies.push(now.saturating_sub(stamp).as_secs_f64() * 1e6);
        }
    }

    fn finish(mut self) -> Drained {
        if let Some(latencies) = &mut self.latencies
            && !latencies.is_empty()
        {
            latencies.sort_by(f64::total_cmp);
            let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
            self.done.latency_us = [at(0.5), at(0.99), at(1.0)];
        }
        self.done
    }
}

/// A socket for datagrams.
struct Datagrams(UdpSocket);

impl Datagrams {
    fn open(local: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((local.ip(), 0)).context("a UDP socket")?;
        setsockopt(&socket, RcvBufForce, &(64 * BUFFER)).context("SO_RCVBUFFORCE")?;
        // Fewer, larger reads where the kernel can.
        let _ = setsockopt(&socket, UdpGroSegment, &true);
        socket.set_read_timeout(Some(TICK))?;
        Ok(Self(socket))
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// Reads until nothing more comes after the capture's end.
    fn read(&self, cli: &Cli, progress: &Progress) -> anyhow::Result<Drained> {
        let mut count = Count::new(cli);
        let mut unpacker = Unpacker::new(cli.snaplen);
        let mut buffer = vec![0; 65_536];
        let mut control = nix::cmsg_space!(i32);
        loop {
            let ended = progress.ended.load(Relaxed);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let fd = self.0.as_raw_fd();
            let (len, size) =
                match recvmsg::<()>(fd, &mut parts, Some(&mut control), MsgFlags::empty()) {
                    Ok(message) => {
                        let size = message.cmsgs()?.find_map(|c| match c {
                            ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
                            _ => None,
                        });
                        (message.bytes, size.unwrap_or(message.bytes))
                    }
                    Err(Errno::EAGAIN) if ended => break,
                    Err(Errno::EAGAIN | Errno::EINTR) => continue,
                    Err(e) => return Err(e).context("reading datagrams"),
                };
            for datagram in buffer[..len].chunks(size.max(1)) {
                count.done.datagrams += 1;
                count.done.wire_bytes += datagram.len() as u64;
                if datagram.get(1) == Some(&udpstr::TYPE) {
                    unpacker.datagram(datagram, |header, data| count.packet(&header, data));
                } else if let Some(message) = PacketMessage::read(datagram, cli.snaplen)? {
                    count.packet(&message.header, message.data);
                }
            }
            progress.packets.store(count.done.packets, Relaxed);
        }
        unpacker.finish(|header, data| count.packet(&header, data));
        Ok(count.finish())
    }
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(core) = cli.core {
        pin(core)?;
    }
    let mut control = Control::connect(cli.daemon)?;
    control.expect(&Request::Authenticate(AuthRequest::Null))?;
    control.expect(&Request::Open(&cli.device))?;
    let datagrams =
        if cli.udp { Some(Datagrams::open(control.socket.local_addr()?)?) } else { None };
    let own_port = datagrams.as_ref().map_or(Ok(0), Datagrams::port)?;
    let port = match control.expect(&Request::Start(&start_request(&cli, own_port)))? {
        Event::Started(reply) => reply.port,
        other => bail!("the daemon answered the start with {other:?}"),
    };
    let stream = match &datagrams {
        Some(_) => None,
        None => Some(
            TcpStream::connect((cli.daemon.ip(), port)).context("opening the data connection")?,
        ),
    };

    let progress = Progress::default();
    let drained = thread::scope(|scope| -> anyhow::Result<Drained> {
        let reader = scope.spawn(|| match (stream, datagrams) {
            (Some(stream), _) => read(stream, &cli, &progress),
            (None, Some(datagrams)) => datagrams.read(&cli, &progress),
            (None, None) => bail!("no data connection"),
        });
        println!("ready");
        wait(&cli, &progress);
        // libpcap's daemon forgets its counters when the capture ends; ours are final then.
        let during = control.stats()?;
        control.expect(&Request::EndCapture)?;
        progress.ended.store(true, Relaxed);
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
fn start_request(cli: &Cli, port: u16) -> StartRequest {
    let mut flags = StartFlags::PROMISC;
    if cli.udp {
        flags = flags | StartFlags::DATAGRAM;
    }
    if cli.udpstr {
        flags = flags | StartFlags::UDPSTR;
    }
    let all = Instruction { code: RET_K, jt: 0, jf: 0, k: cli.snaplen };
    StartRequest {
        snaplen: cli.snaplen,
        read_timeout_ms: cli.read_timeout,
        flags,
        port,
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
    let mut count = Count::new(cli);
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
            count.packet(&message.header, message.data);
            rest = &rest[message.size..];
        }
        count.done.wire_bytes += n as u64;
        progress.packets.store(count.done.packets, Relaxed);
        let left = rest.len();
        if n == 0 {
            return if left == 0 {
                Ok(count.finish())
            } else {
                bail!("the last message is cut off")
            };
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
