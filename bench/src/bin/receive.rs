//! Measures what a datagram costs `rpcap`: one by one, and many at a time, in turn, in one run.

use std::io;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::{circumstances, pin};
use clap::Parser;
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use nix::time::{ClockId, clock_gettime};
use rpcap::data::datagrams::{Datagrams, Options};
use rpcap::data::{DatagramDecoder, Gauge, Inlet, Tally};
use rpcap_proto::batch::Batch;
use rpcap_proto::udpstr::Packer;
use rpcap_proto::wire::{PacketHeader, SNAPLEN_MAX};

/// Bytes of each packet.
const PACKET: [u8; 64] = [0x5a; 64];

/// Bytes of a udpstr datagram.
const UDPSTR: usize = 1472;

/// Bytes that the receiver's socket is asked to keep. Little, so that too high a rate shows soon.
const BUFFER: usize = 4 << 20;

/// Where the search for the highest rate starts.
const LOWEST: u64 = 25_000;

/// How long nothing comes when everything has come.
const QUIET: Duration = Duration::from_millis(100);

/// Send datagrams over loopback and receive them as `rpcap` does, one by one (recvfrom) and many
/// at a time (recvmmsg, UDP_GRO); print a table in markdown.
///
/// It needs two cores that have nothing else to do.
#[derive(Debug, Parser)]
#[command(name = "receive", max_term_width = 100)]
struct Cli {
    /// Datagrams per second at which CPU is measured
    #[arg(long, default_value_t = 100_000)]
    rate: u64,

    /// Seconds of sending for each measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,

    /// How often each is measured, in turn with the others
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Leave out the highest rate, which takes longest
    #[arg(long)]
    cpu_only: bool,

    /// Core of the sender
    #[arg(long, default_value_t = 0)]
    sender_core: usize,

    /// Core of the receiver
    #[arg(long, default_value_t = 1)]
    receiver_core: usize,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Udpstr,
    Classic,
}

/// How it is sent: runs of datagrams in one send, as ours does, or each by itself, as others do.
#[derive(Clone, Copy, Debug)]
struct Load {
    framing: Framing,
    runs: bool,
}

const LOADS: [Load; 4] = [
    Load { framing: Framing::Udpstr, runs: true },
    Load { framing: Framing::Classic, runs: true },
    Load { framing: Framing::Udpstr, runs: false },
    Load { framing: Framing::Classic, runs: false },
];

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    sent: u64,
    came: u64,
    calls: u64,
    /// Of the receiving thread, in µs.
    cpu: f64,
    /// The sender kept to its rate.
    kept: bool,
}

impl Sample {
    fn per_datagram(&self) -> f64 {
        self.cpu / self.came.max(1) as f64
    }
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no parent directory")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo run --release -p bench --bin receive -- {}", arguments.join(" "));
    let head = circumstances::circumstances(root, command.trim_end_matches([' ', '-']));
    pin(cli.sender_core)?;
    let measured = measure(&cli)?;
    println!("# Receiving datagrams\n\n{head}");
    println!(
        "Packets of 64 bytes over loopback, sender on core {}, receiver on core {}. CPU is the receiving \
         thread's, user and kernel time, at {} datagrams/s for {} s; the median of {} rounds (least \
         to most).\n",
        cli.sender_core, cli.receiver_core, cli.rate, cli.seconds, cli.rounds
    );
    println!(
        "| datagrams | sent | received | µs CPU for a datagram | datagrams for a call | lost | highest rate without loss, /s | limit |"
    );
    println!("|---|---|---|--:|--:|--:|--:|---|");
    for (load, plain, mut samples) in measured {
        samples.sort_by(|a, b| a.per_datagram().total_cmp(&b.per_datagram()));
        let cpu = |i: usize| samples.get(i).map_or(0.0, Sample::per_datagram);
        let sum = |f: fn(&Sample) -> u64| samples.iter().map(f).sum::<u64>();
        let highest = match cli.cpu_only {
            true => None,
            false => Some(highest(&cli, load, plain)?),
        };
        let (rate, limit) = match highest {
            None => (String::new(), ""),
            Some((rate, true)) => (rate.to_string(), "receiver"),
            Some((rate, false)) => (rate.to_string(), "sender"),
        };
        println!(
            "| {} | {} | {} | {:.3} ({:.3} to {:.3}) | {:.1} | {} | {rate} | {limit} |",
            match load.framing {
                Framing::Udpstr => "udpstr, 1472 bytes",
                Framing::Classic => "classic, 92 bytes",
            },
            if load.runs { "in runs" } else { "one by one" },
            if plain { "one by one" } else { "many at a time" },
            cpu(samples.len() / 2),
            cpu(0),
            cpu(samples.len().saturating_sub(1)),
            sum(|s| s.came) as f64 / sum(|s| s.calls).max(1) as f64,
            sum(|s| s.sent) - sum(|s| s.came),
        );
    }
    Ok(())
}

/// Everything at the same rate, in turn.
fn measure(cli: &Cli) -> anyhow::Result<Vec<(Load, bool, Vec<Sample>)>> {
    let mut measured: Vec<_> = LOADS
        .into_iter()
        .flat_map(|load| [true, false].map(|plain| (load, plain, Vec::new())))
        .collect();
    for _ in 0..cli.rounds {
        for (load, plain, samples) in &mut measured {
            samples.push(sample(cli, *load, *plain, cli.rate)?);
        }
    }
    Ok(measured)
}

/// The highest rate at which nothing is lost, and whether it is the receiver who takes no more.
fn highest(cli: &Cli, load: Load, plain: bool) -> anyhow::Result<(u64, bool)> {
    let holds = |rate| -> anyhow::Result<(bool, bool)> {
        let mut kept = true;
        // What else the machine does is no limit.
        for _ in 0..2 {
            let sample = sample(cli, load, plain, rate)?;
            kept = sample.kept;
            if kept && sample.sent == sample.came {
                return Ok((true, kept));
            }
        }
        Ok((false, kept))
    };
    let (mut low, mut high) = (0, LOWEST);
    let mut receiver = loop {
        let (held, kept) = holds(high)?;
        if !held {
            break kept;
        }
        (low, high) = (high, high * 2);
    };
    for _ in 0..4 {
        let rate = low.midpoint(high);
        let (held, kept) = holds(rate)?;
        if held {
            low = rate;
        } else {
            (high, receiver) = (rate, kept);
        }
    }
    Ok((low, receiver))
}

/// Sends at a rate and receives.
fn sample(cli: &Cli, load: Load, plain: bool, rate: u64) -> anyhow::Result<Sample> {
    let options = Options { receive_buffer: BUFFER, plain, ..Options::default() };
    let datagrams = Datagrams::bind(([127, 0, 0, 1], 0).into(), &options)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(datagrams.local_addr())?;
    let (ready, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let core = cli.receiver_core;
    let receiver = {
        let (ready, done) = (Arc::clone(&ready), Arc::clone(&done));
        thread::spawn(move || receive(datagrams, core, &ready, &done))
    };
    while !ready.load(Relaxed) && !receiver.is_finished() {
        thread::yield_now();
    }
    let sent = send(&socket, load, rate, Duration::from_secs_f64(cli.seconds));
    done.store(true, Relaxed);
    let Ok(received) = receiver.join() else { bail!("the receiver panicked") };
    let (sent, kept) = sent.context("sending")?;
    Ok(Sample { sent, kept, ..received? })
}

fn receive(
    mut datagrams: Datagrams,
    core: usize,
    ready: &AtomicBool,
    done: &AtomicBool,
) -> anyhow::Result<Sample> {
    pin(core)?;
    let (gauge, mut sink) = (Gauge::default(), ());
    let mut tally = Tally::default();
    let mut inlet = Inlet::new(&mut tally, &mut sink, &gauge);
    let mut decoder = DatagramDecoder::new(SNAPLEN_MAX);
    let start = cpu()?;
    ready.store(true, Relaxed);
    loop {
        let ended = done.load(Relaxed);
        let batch = datagrams.receive(Some(QUIET))?;
        for (_, bytes) in &batch {
            decoder.datagram(bytes, &mut inlet);
        }
        if ended && batch.is_empty() {
            break;
        }
    }
    let cpu = (cpu()? - start).as_secs_f64() * 1e6;
    let counts = datagrams.counts();
    let r = inlet.received();
    if r.malformed + r.udpstr.malformed > 0 {
        bail!("what came is not what was sent");
    }
    Ok(Sample { came: counts.datagrams, calls: counts.calls, cpu, ..Sample::default() })
}

/// The calling thread's.
fn cpu() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Sends a millisecond's datagrams at a time: how many, and whether the rate was kept.
fn send(socket: &UdpSocket, load: Load, rate: u64, time: Duration) -> io::Result<(u64, bool)> {
    let mut source = Source::new(load.framing)?;
    let burst = (rate / 1000).clamp(1, 1024) as usize;
    let (mut sent, mut segment) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < time {
        let due = Duration::from_secs_f64(sent as f64 / rate as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
        let batch = source.next(burst);
        sent += batch.datagrams() as u64;
        if load.runs {
            for run in batch.runs() {
                if segment != run.segment_size {
                    segment = run.segment_size;
                    setsockopt(socket, UdpGsoSegment, &(segment as i32))?;
                }
                socket.send(run.bytes)?;
            }
        } else {
            for datagram in (0..).map_while(|i| batch.datagram(i)) {
                socket.send(datagram.bytes)?;
            }
        }
        batch.clear();
    }
    let kept = sent as f64 / start.elapsed().as_secs_f64() > 0.97 * rate as f64;
    Ok((sent, kept))
}

/// Datagrams without end.
struct Source {
    framing: Framing,
    number: u32,
    packer: Packer,
    messages: Batch,
}

impl Source {
    fn new(framing: Framing) -> io::Result<Self> {
        let packer = Packer::new(UDPSTR).map_err(io::Error::other)?;
        Ok(Self { framing, number: 0, packer, messages: Batch::default() })
    }

    fn next(&mut self, datagrams: usize) -> &mut Batch {
        let len = PACKET.len() as u32;
        let mut header = || {
            self.number = self.number.wrapping_add(1);
            PacketHeader { caplen: len, len, npkt: self.number, ..PacketHeader::default() }
        };
        match self.framing {
            Framing::Udpstr => {
                while self.packer.batch().datagrams() < datagrams {
                    self.packer.push(&header(), &PACKET);
                }
                self.packer.flushed()
            }
            Framing::Classic => {
                for _ in 0..datagrams {
                    self.messages.extend(&header().to_message_bytes());
                    self.messages.extend(&PACKET);
                    self.messages.close(1, false);
                }
                &mut self.messages
            }
        }
    }
}
