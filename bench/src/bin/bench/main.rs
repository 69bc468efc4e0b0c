//! Measures what forwarding a packet costs: our daemon and libpcap's, in turn, in one run.

mod cpu;
mod place;
mod report;
mod subject;
mod syscalls;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use bench::{Workload, pin};
use clap::{Parser, ValueEnum};

use place::{Place, Via};
use report::Row;
use subject::{Bench, Data, Load, Subject};
use syscalls::Tracer;

/// Measure our rpcapd and libpcap's, in turn, over a veth pair; print tables in markdown.
///
/// It needs root, two cores, and best nothing else that runs. README.md says how it measures.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Cli {
    /// What to measure
    #[arg(long, value_enum, default_value_t = Mode::Cpu)]
    mode: Mode,

    /// Packets to send: "imix" or sizes in bytes separated by commas; may be repeated
    /// [default: 64, imix and 1514]
    #[arg(long)]
    workload: Vec<Workload>,

    /// Packets per second, the same for every workload [default: 50000 for packets of 64 bytes,
    /// less for larger ones; 1000 under strace]
    #[arg(long)]
    rate: Option<u64>,

    /// Seconds of sending for each measurement [default: 10; 2 for other modes]
    #[arg(long)]
    seconds: Option<f64>,

    /// How often each daemon is measured, in turn with the others
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Our daemon [default: beside this program]
    #[arg(long)]
    ours: Option<PathBuf>,

    /// libpcap's daemon [default: the one that scripts/peers built]
    #[arg(long)]
    libpcap: Option<PathBuf>,

    /// The floor [default: beside this program]
    #[arg(long)]
    floor: Option<PathBuf>,

    /// Measure ours only
    #[arg(long)]
    only_ours: bool,

    /// How packets are forwarded; may be repeated [default: tcp and udpstr]
    #[arg(long, value_enum)]
    data: Vec<Data>,

    /// The way of RPCAP between daemon and receiver
    #[arg(long, value_enum, default_value_t = Via::Veth)]
    via: Via,

    /// MTU of the veth pairs
    #[arg(long, default_value_t = 1500)]
    mtu: u32,

    /// Core of the sender
    #[arg(long, default_value_t = 0)]
    sender_core: usize,

    /// Core of the receiver [default: the sender's]
    #[arg(long)]
    receiver_core: Option<usize>,

    /// Core of the daemon
    #[arg(long, default_value_t = 1)]
    daemon_core: usize,

    /// Microseconds after which the receiver looks for packets again; 0: it sleeps, and whoever
    /// sends has to wake it
    #[arg(long, default_value_t = 0)]
    poll: u64,

    /// Read timeout that the client asks for, in milliseconds
    #[arg(long, default_value_t = 10)]
    read_timeout: u32,

    /// Snaplen that the client asks for
    #[arg(long, default_value_t = 262_144)]
    snaplen: u32,

    /// Keep the report as runs/DATE-NAME.md beside this package's README
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// CPU per packet and loss, at a rate nobody should drop at
    Cpu,
    /// System calls per thousand packets, under strace
    Syscalls,
    /// The highest rate without loss
    MaxRate,
    /// How long packets take, when there are few of them
    Latency,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no parent directory")?;
    let tools = subject::tools()?;
    let mut notes = Vec::new();
    let subjects = subjects(&cli, root, &tools, &mut notes)?;
    // The circumstances of the start: a commit may follow while it runs.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("bench/run {}", arguments.join(" "));

    pin(cli.sender_core)?;
    let mut bench = Bench {
        place: Place::make(cli.via, cli.mtu)?,
        tools,
        sender_core: cli.sender_core,
        receiver_core: cli.receiver_core.unwrap_or(cli.sender_core),
        daemon_core: cli.daemon_core,
        poll: cli.poll,
        read_timeout: cli.read_timeout,
        snaplen: cli.snaplen,
        next_port: 2002,
    };
    let way = match cli.via {
        Via::Veth => format!("a veth pair of its own, MTU {}", cli.mtu),
        Via::Lo => "`lo`".to_owned(),
    };
    notes.push(format!(
        "daemon on core {}, sender on core {}, receiver on core {}",
        bench.daemon_core, bench.sender_core, bench.receiver_core
    ));
    notes.push(format!(
        "RPCAP over {way}; snaplen {}, read timeout {} ms; receiver {}",
        cli.snaplen,
        cli.read_timeout,
        match cli.poll {
            0 => "is woken".to_owned(),
            us => format!("looks every {us} µs"),
        }
    ));
    let loads = loads(&cli)?;
    preflight(&mut bench, &subjects, &loads)?;
    let (title, table) = match cli.mode {
        Mode::Cpu => {
            let rows = cpu(&mut bench, &cli, &subjects, &loads)?;
            let samples: Vec<_> = rows.iter().flat_map(|r| &r.samples).collect();
            if let Some(sample) = samples.first() {
                let stolen: Duration = samples.iter().map(|s| s.stolen).sum();
                notes.push(format!(
                    "CPU time by {}; {} rounds; the hypervisor took the daemon's core away for \
                     {stolen:?} in all",
                    sample.method, cli.rounds
                ));
            }
            let tables = format!("{}\n{}", report::cpu_table(&rows), report::cost_table(&rows));
            ("CPU per packet and loss", tables)
        }
        Mode::Latency => {
            let rows = cpu(&mut bench, &cli, &subjects, &loads)?;
            ("Latency", report::latency_table(&rows))
        }
        Mode::Syscalls => ("System calls", trace(&mut bench, &subjects, &loads)?),
        Mode::MaxRate => ("Highest loss-free rate", max_rate(&mut bench, &subjects, &loads)?),
    };
    let circumstances = report::circumstances(root, command.trim(), &notes);
    let text = format!("# {title}\n\n{circumstances}\n{table}");
    print!("{text}");
    if let Some(name) = &cli.save {
        let date = report::output(Command::new("date").args(["-u", "+%Y-%m-%d"]));
        let runs = root.join("bench/runs");
        std::fs::create_dir_all(&runs)?;
        let path = runs.join(format!("{date}-{name}.md"));
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("kept as {}", path.display());
    }
    Ok(())
}

/// The daemons, ours first.
fn subjects(
    cli: &Cli,
    root: &Path,
    tools: &Path,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Subject>> {
    let ours = cli.ours.clone().unwrap_or_else(|| tools.join("rpcapd"));
    let mut subjects = vec![Subject { name: "ours", program: ours, udpstr: true }];
    if !cli.only_ours {
        let floor = cli.floor.clone().unwrap_or_else(|| tools.join("floor"));
        subjects.push(Subject { name: "floor", program: floor, udpstr: true });
        let program = match &cli.libpcap {
            Some(program) => program.clone(),
            None => {
                let found = report::output(Command::new(root.join("scripts/peers")).arg("--find"));
                if found.is_empty() {
                    bail!("libpcap's rpcapd is not built; scripts/peers builds it");
                }
                Path::new(&found).join("bin/rpcapd")
            }
        };
        let versions = program.ancestors().nth(2).map(|dir| dir.join("VERSIONS"));
        if let Some(text) = versions.and_then(|v| std::fs::read_to_string(v).ok()) {
            let version = text.lines().find(|l| l.starts_with("libpcap ")).unwrap_or("");
            notes.push(format!("libpcap's daemon is of {version}, as Debian patches it"));
        }
        subjects.push(Subject { name: "libpcap", program, udpstr: false });
    }
    for subject in &subjects {
        if !subject.program.exists() {
            bail!("{} is not there", subject.program.display());
        }
    }
    Ok(subjects)
}

fn loads(cli: &Cli) -> anyhow::Result<Vec<Load>> {
    let mut workloads = cli.workload.clone();
    if workloads.is_empty() {
        for text in ["64", "imix", "1514"] {
            workloads.push(text.parse().map_err(anyhow::Error::msg)?);
        }
    }
    let mut ways = cli.data.clone();
    if ways.is_empty() {
        ways = vec![Data::Tcp, Data::Udpstr];
    }
    let seconds = cli.seconds.unwrap_or(match cli.mode {
        Mode::Cpu => 10.0,
        Mode::Latency => 20.0,
        Mode::MaxRate | Mode::Syscalls => 2.0,
    });
    let load = |workload: &Workload, data| {
        let rate = cli.rate.unwrap_or(match cli.mode {
            Mode::Syscalls => 1000,
            Mode::Latency => 20,
            Mode::Cpu | Mode::MaxRate => usual_rate(workload),
        });
        let count = (rate as f64 * seconds) as u64;
        let latency = cli.mode == Mode::Latency;
        Load { workload: workload.clone(), data, rate, count, latency }
    };
    let every = ways.iter().flat_map(|data| workloads.iter().map(|w| load(w, *data)));
    Ok(every.collect())
}

/// A rate at which neither daemon drops, on a core of a server of these days.
fn usual_rate(workload: &Workload) -> u64 {
    let mean = workload.bytes(workload.sizes().len() as u64) / workload.sizes().len() as u64;
    match mean {
        0..200 => 50_000,
        200..800 => 25_000,
        _ => 12_500,
    }
}

/// A number is worth something only for a daemon that does the job.
fn preflight(bench: &mut Bench, subjects: &[Subject], loads: &[Load]) -> anyhow::Result<()> {
    for subject in subjects {
        for load in loads.iter().filter(|load| subject.can(load.data)) {
            let load = Load { rate: 5000, count: 1000, ..load.clone() };
            let sample = bench.measure(subject, &load)?;
            if !sample.is_exact() {
                bail!(
                    "{} does not forward what was sent: {:?}, {:?}",
                    subject.name,
                    sample.sent,
                    sample.drained
                );
            }
        }
        eprintln!("{}: forwards exactly what is sent", subject.name);
    }
    Ok(())
}

fn cpu(
    bench: &mut Bench,
    cli: &Cli,
    subjects: &[Subject],
    loads: &[Load],
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for load in loads {
        let first = rows.len();
        rows.extend(subjects.iter().filter(|s| s.can(load.data)).map(|subject| Row {
            subject: subject.clone(),
            load: load.clone(),
            samples: Vec::new(),
        }));
        // In turn, so that what changes on the machine meets all of them.
        for round in 1..=cli.rounds {
            for row in &mut rows[first..] {
                let sample = bench.measure(&row.subject, load)?;
                eprintln!(
                    "{} {} {}, round {round}: {:.3} µs/packet, {} lost of {}, {:.0}/s",
                    load.workload,
                    load.data.name(),
                    row.subject.name,
                    sample.micros_per_packet(),
                    sample.lost(),
                    sample.sent.packets,
                    sample.sent.rate,
                );
                row.samples.push(sample);
            }
        }
    }
    Ok(rows)
}

fn trace(bench: &mut Bench, subjects: &[Subject], loads: &[Load]) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for load in loads {
        for subject in subjects.iter().filter(|s| s.can(load.data)) {
            let (sample, calls) =
                bench.measure_with(subject, load, Tracer::attach, Tracer::finish)?;
            let row = Row { subject: subject.clone(), load: load.clone(), samples: vec![sample] };
            rows.push((row, calls));
        }
    }
    Ok(report::syscall_table(&rows))
}

/// Doubles the rate until packets are lost, then halves the interval a few times.
fn max_rate(bench: &mut Bench, subjects: &[Subject], loads: &[Load]) -> anyhow::Result<String> {
    const STEPS: usize = 4;
    let mut rows = Vec::new();
    for load in loads {
        let seconds = load.count as f64 / load.rate.max(1) as f64;
        for subject in subjects.iter().filter(|s| s.can(load.data)) {
            let mut row = Row { subject: subject.clone(), load: load.clone(), samples: Vec::new() };
            let (mut good, mut bad, mut rate) = (0, None, load.rate);
            let mut steps = 0;
            while steps < STEPS && rate > 0 {
                let count = (rate as f64 * seconds) as u64;
                let step = Load { rate, count, ..load.clone() };
                let mut sample = bench.measure(subject, &step)?;
                if !sample.is_exact() {
                    // Something else on the machine may have had the core: twice is no accident.
                    sample = bench.measure(subject, &step)?;
                }
                let reached = sample.sent.rate > rate as f64 * 0.97;
                eprintln!(
                    "{} {} {} at {rate}/s: {} lost of {}, {:.0}/s",
                    load.workload,
                    load.data.name(),
                    subject.name,
                    sample.lost(),
                    sample.sent.packets,
                    sample.sent.rate
                );
                if sample.is_exact() {
                    good = rate;
                    row.load.rate = if reached { rate } else { 0 };
                    row.samples = vec![sample];
                    if !reached {
                        break;
                    }
                } else {
                    bad = Some(rate);
                }
                rate = match bad {
                    None => rate * 2,
                    Some(bad) => {
                        steps += 1;
                        good.midpoint(bad)
                    }
                };
            }
            rows.push(row);
        }
    }
    Ok(report::rate_table(&rows))
}
