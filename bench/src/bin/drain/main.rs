//! Captures over RPCAP and throws everything away, as cheaply as that goes.

mod control;
mod datagrams;
mod stream;

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bench::{DaemonStats, Drained, number_of, pin};
use clap::Parser;
use control::Control;
use datagrams::Datagrams;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use rpcap_proto::bpf::Instruction;
use rpcap_proto::session::{Event, Request};
use rpcap_proto::wire::{
    AuthRequest, FilterBlock, PacketHeader, PacketMessage, StartFlags, StartRequest,
};
use stream::{Stream, Tls};

/// Bytes of the receive buffer.
const BUFFER: usize = 1024 * 1024;

/// Instruction code of `ret #k`.
const RET_K: u16 = 0x06;

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

    /// Ask for times in nanoseconds, with what is known of checksums
    #[arg(long)]
    nanos: bool,

    /// Encrypt, and trust the daemon that has this certificate; with --udpstr, datagrams are sealed
    #[arg(long, value_name = "FILE")]
    tls: Option<PathBuf>,

    /// Say how long packets took, and the number in the last one
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
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            latencies.push(now.saturating_sub(header.time()).as_secs_f64() * 1e6);
            self.done.last_number = number_of(data).unwrap_or_default();
        }
    }

    fn finish(mut self) -> Drained {
        if let Some(latencies) = &mut self.latencies
            && !latencies.is_empty()
        {
            latencies.sort_by(f64::total_cmp);
            self.done.latency_us = [0.5, 0.99, 1.0].map(|share| percentile(latencies, share));
        }
        self.done
    }
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(core) = cli.core {
        pin(core)?;
    }
    let tls = cli.tls.as_deref().map(Tls::trusting).transpose()?;
    let mut control = Control::connect(cli.daemon, tls.as_ref())?;
    control.expect(&Request::Authenticate(AuthRequest::Null))?;
    control.expect(&Request::Open(&cli.device))?;
    let datagrams = if cli.udp {
        Some(Datagrams::open(control.stream.socket().local_addr()?, &cli)?)
    } else {
        None
    };
    let own_port = datagrams.as_ref().map_or(Ok(0), Datagrams::port)?;
    let port = match control.expect(&Request::Start(&start_request(&cli, own_port)))? {
        Event::Started(reply) => reply.port,
        other => bail!("the daemon answered the start with {other:?}"),
    };
    let stream = match &datagrams {
        Some(_) => None,
        None => Some(
            Stream::connect((cli.daemon.ip(), port).into(), tls.as_ref())
                .context("opening the data connection")?,
        ),
    };
    let suite = control.stream.suite();
    let opener = control.stream.opener();

    let progress = Progress::default();
    let drained = thread::scope(|scope| -> anyhow::Result<Drained> {
        let reader = scope.spawn(|| match (stream, datagrams) {
            (Some(stream), _) => read(stream, &cli, &progress),
            (None, Some(datagrams)) => datagrams.read(&cli, &progress, opener),
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
        drained.suite = suite;
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

/// The value that so large a share of the values, which are sorted, does not exceed.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Everything, through a filter of one instruction, as clients without a filter ask for it.
fn start_request(cli: &Cli, port: u16) -> StartRequest {
    let mut flags = StartFlags::PROMISC;
    if cli.udp {
        flags = flags | StartFlags::DATAGRAM;
    }
    if cli.nanos {
        flags = flags | StartFlags::NANOS;
    }
    if cli.udpstr {
        flags = flags | StartFlags::UDPSTR;
    }
    if cli.tls.is_some() {
        flags = flags | StartFlags::SEALED;
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
fn read(mut data: Stream, cli: &Cli, progress: &Progress) -> anyhow::Result<Drained> {
    data.socket().set_nonblocking(cli.poll > 0)?;
    // What comes between two looks has room.
    let _ = setsockopt(data.socket(), RcvBufForce, &(4 * BUFFER));
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
        count.done.wire_bytes = data.wire_bytes();
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

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_a_value_that_was_there() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|s| percentile(&hundred, s)), [50.0, 99.0, 100.0]);
        assert_eq!([0.5, 0.99, 1.0].map(|s| percentile(&[7.0], s)), [7.0; 3]);
    }
}
