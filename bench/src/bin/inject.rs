//! Measures what a packet costs that comes out of a virtual interface: by `rpcap`'s own output (a TAP
//! interface, a system call for each packet), and by a veth pair (many packets in one `sendmmsg`), in
//! turn, in one run.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bench::{circumstances, pin};
use clap::Parser;
use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrStorage, bind, sendmmsg,
    setsockopt, socket, sockopt,
};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use rpcap::file::{Meta, Record};
use rpcap::journal::Journal;
use rpcap::output::{self, Account, Begin, Destination, Drain, OutputPlan};

/// Packets between two looks at the clock, as a batch of the collector has.
const BATCH: usize = 256;

/// Have packets come out of a virtual interface as fast as they go, by a TAP interface as `rpcap`
/// does, and by a veth pair with sendmmsg; and send them as VXLAN. With nobody who reads, and with
/// a tcpdump. Print a table in markdown.
///
/// It needs root, tcpdump, and two cores that have nothing else to do; its interfaces are in a
/// network namespace of its own.
#[derive(Debug, Parser)]
#[command(name = "inject", max_term_width = 100)]
struct Cli {
    /// Packets for each measurement
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,

    /// How often each is measured, in turn with the others
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Core of the sender
    #[arg(long, default_value_t = 0)]
    sender_core: usize,

    /// Core of the reader
    #[arg(long, default_value_t = 1)]
    reader_core: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tap,
    Veth,
    Vxlan,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Tap => "`interface:` (TAP, write)",
            Self::Veth => "veth pair, sendmmsg of 256",
            Self::Vxlan => "`vxlan:` to 127.0.0.1",
        }
    }

    /// Where the reader reads.
    fn device(self) -> &'static str {
        match self {
            Self::Tap => "bench-tap",
            Self::Veth => "bench-out",
            Self::Vxlan => "lo",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Of the sending thread, in ns for a packet.
    cpu: f64,
    /// Packets per second.
    rate: f64,
    /// Packets that the reader had.
    read: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no parent directory")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo run --release -p bench --bin inject -- {}", arguments.join(" "));
    let head = circumstances::circumstances(root, command.trim_end_matches([' ', '-']));
    // /sys has to be that of the namespace.
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("a network namespace")?;
    run("mount --make-rprivate /")?;
    run("mount -t sysfs sysfs /sys")?;
    run("ip link set lo up")?;
    run("ip link add bench-in mtu 65535 type veth peer name bench-out mtu 65535")?;
    for end in ["bench-in", "bench-out"] {
        run(&format!("ip link set {end} addrgenmode none arp off up"))?;
    }
    pin(cli.sender_core)?;
    println!("# Packets out of an interface\n\n{head}");
    println!(
        "{} packets as fast as they go, sender on core {}, reader on core {}; CPU is the sending \
         thread's, user and kernel time; the median of {} rounds (least to most).\n",
        cli.packets, cli.sender_core, cli.reader_core, cli.rounds
    );
    println!("| way | packet | reader | ns CPU for a packet | packets/s | read |");
    println!("|---|--:|---|--:|--:|--:|");
    for size in [64, 1514] {
        for reader in [false, true] {
            let ways = [Way::Tap, Way::Veth, Way::Vxlan];
            let mut samples = [vec![], vec![], vec![]];
            for _ in 0..cli.rounds {
                for (way, samples) in ways.iter().zip(&mut samples) {
                    // A reader of `lo` would see VXLAN twice, and is not what it is for.
                    if !(reader && *way == Way::Vxlan) {
                        samples.push(measure(&cli, *way, size, reader)?);
                    }
                }
            }
            for (way, samples) in ways.iter().zip(samples) {
                print(*way, size, reader, cli.packets, samples);
            }
        }
    }
    Ok(())
}

fn print(way: Way, size: usize, reader: bool, packets: u64, mut samples: Vec<Sample>) {
    samples.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    let (Some(least), Some(median), Some(most)) =
        (samples.first(), samples.get(samples.len() / 2), samples.last())
    else {
        return;
    };
    let read: u64 = samples.iter().filter_map(|s| s.read).sum();
    let all = packets * samples.len() as u64;
    let read =
        if reader { format!("{:.1} %", read as f64 * 100.0 / all as f64) } else { String::new() };
    let reader = if reader { "tcpdump" } else { "none" };
    println!(
        "| {} | {size} | {reader} | {:.0} ({:.0} to {:.0}) | {:.0} | {read} |",
        way.name(),
        median.cpu,
        least.cpu,
        most.cpu,
        median.rate
    );
}

fn measure(cli: &Cli, way: Way, size: usize, reader: bool) -> anyhow::Result<Sample> {
    let mut frame = vec![0x5a; size];
    // From nobody to nobody, of the type for experiments.
    frame[..14].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5]);
    // What takes VXLAN, and throws it away.
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    let mut out: Box<dyn FnMut(usize) -> anyhow::Result<()>> = match way {
        Way::Tap => drain(Destination::Interface(way.device().to_owned()), frame)?,
        Way::Vxlan => {
            drain(Destination::Vxlan { host: sink.local_addr()?.to_string(), vni: 1 }, frame)?
        }
        Way::Veth => veth(frame)?,
    };
    let tcpdump = reader.then(|| Reader::start(cli, way.device())).transpose()?;
    let cpu = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let (began, before) = (Instant::now(), cpu()?);
    let mut left = cli.packets as usize;
    while left > 0 {
        let now = left.min(BATCH);
        out(now)?;
        left -= now;
    }
    let (took, used) = (began.elapsed(), cpu()? - before);
    let read = tcpdump.map(Reader::count).transpose()?;
    let packets = cli.packets as f64;
    Ok(Sample { cpu: used.as_nanos() as f64 / packets, rate: packets / took.as_secs_f64(), read })
}

/// As the collector's thread drives an output.
fn drain(
    destination: Destination,
    frame: Vec<u8>,
) -> anyhow::Result<Box<dyn FnMut(usize) -> anyhow::Result<()>>> {
    let mut drain: Box<dyn Drain> =
        output::open(&OutputPlan::live("live".to_owned(), destination), &Arc::default())?;
    let account = Arc::new(Account::default());
    drain.begin(Begin {
        stream: 1,
        label: String::new(),
        meta: Meta { linktype: 1, ..Meta::default() },
        account: Arc::clone(&account),
    });
    let journal = Journal::default();
    Ok(Box::new(move |packets| {
        let record = Record {
            secs: 1,
            nanos: 0,
            len: frame.len() as u32,
            data: &frame,
            ..Record::default()
        };
        for _ in 0..packets {
            drain.packet(1, &record);
        }
        drain.tick(&journal);
        let refused = account.unwritten.load(Relaxed);
        ensure!(refused == 0, "{refused} packets were not written");
        Ok(())
    }))
}

fn veth(frame: Vec<u8>) -> anyhow::Result<Box<dyn FnMut(usize) -> anyhow::Result<()>>> {
    let address = getifaddrs()?
        .filter(|i| i.interface_name == "bench-in")
        .find_map(|i| i.address?.as_link_addr().copied())
        .context("no bench-in")?;
    let socket: OwnedFd =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &address)?;
    setsockopt(&socket, sockopt::SndBufForce, &(16 << 20))?;
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let addresses = vec![None; BATCH];
    Ok(Box::new(move |packets| {
        let mut left = packets;
        while left > 0 {
            let slices = vec![[IoSlice::new(&frame)]; left];
            let fd = socket.as_raw_fd();
            let none = MsgFlags::empty();
            left -= sendmmsg(fd, &mut headers, &slices, &addresses[..left], [], none)?.count();
        }
        Ok(())
    }))
}

/// A tcpdump that looks at the headers of everything and keeps nothing.
struct Reader(Child);

impl Reader {
    fn start(cli: &Cli, device: &str) -> anyhow::Result<Self> {
        let core = cli.reader_core.to_string();
        let mut command = Command::new("taskset");
        command.args(["-c", &core, "tcpdump", "-Z", "root", "-n", "-B", "65536", "-s", "128"]);
        command.args(["-i", device, "-w", "/dev/null"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        // It says that it listens before its ring is filled.
        thread::sleep(Duration::from_millis(700));
        Ok(Self(child))
    }

    /// Ends it and tells how many packets it had.
    fn count(self) -> anyhow::Result<u64> {
        thread::sleep(Duration::from_millis(1500));
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT)?;
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find_map(|l| l.strip_suffix(" packets captured"));
        line.and_then(|n| n.trim().parse().ok()).with_context(|| format!("tcpdump: {text}"))
    }
}

fn run(line: &str) -> anyhow::Result<()> {
    let mut words = line.split_whitespace();
    let status = Command::new(words.next().unwrap_or_default()).args(words).status();
    match status.with_context(|| line.to_owned())? {
        status if status.success() => Ok(()),
        status => bail!("{line}: {status}"),
    }
}
