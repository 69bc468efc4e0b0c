//! Measures what forwarding a packet costs: our daemon's, libpcap's, and the least that does it, in
//! turn, in one run.

mod cipher;
mod cpu;
mod impact;
mod link;
mod modes;
mod place;
mod report;
mod subject;
mod syscalls;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use bench::{Workload, circumstances, pin};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use cipher::{Certificate, Speeds};
use modes::preflight;
use place::{Place, Via};
use subject::{Bench, Data, Load, Subject};

/// Packets per second under strace: what libpcap's daemon keeps up with, and what the others do.
const TRACED: u64 = 1000;
const TRACED_FAST: u64 = 50_000;

/// Measure our rpcapd, libpcap's, and the floor, in turn, over a veth pair; print tables in
/// markdown.
///
/// It needs root, two cores, and best nothing else that runs. README.md says how it measures.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Cli {
    /// What to measure
    #[arg(long, value_enum, default_value_t = Mode::Cpu)]
    mode: Mode,

    /// Packets to send: "imix" or sizes in bytes separated by commas; may be repeated
    /// [default: 64, imix and 1514; 64 for latency]
    #[arg(long)]
    workload: Vec<Workload>,

    /// Packets per second, the same for every workload [default: 50000 for packets of 64 bytes,
    /// less for larger ones; 20 for latency; 1000 under strace, and 50000 for all but libpcap's]
    #[arg(long)]
    rate: Option<u64>,

    /// Seconds of sending for each measurement [default: cpu 10, latency 20, host-impact 3, others
    /// 2]
    #[arg(long)]
    seconds: Option<f64>,

    /// How often each daemon is measured, in turn with the others [default: cpu and host-impact 3,
    /// latency 1; the other modes know no rounds]
    #[arg(long)]
    rounds: Option<usize>,

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

    /// How packets are forwarded; may be repeated [default: all; tcp and udpstr for latency and
    /// host-impact]
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

    /// Core of the host's own programs, with host-impact [default: the daemon's]
    #[arg(long)]
    application_core: Option<usize>,

    /// Microseconds after which the receiver looks for packets again; 0: it sleeps, and whoever
    /// sends has to wake it
    #[arg(long, default_value_t = 0)]
    poll: u64,

    /// Read timeout that the client asks for, in milliseconds; may be repeated [default: 10; for
    /// latency 10 and 1000]
    #[arg(long)]
    read_timeout: Vec<u32>,

    /// Snaplen that the client asks for
    #[arg(long, default_value_t = 262_144)]
    snaplen: u32,

    /// Keep the report as runs/DATE-NAME.md beside this package's README, and the measurements it
    /// is made of as runs/DATE-NAME.json
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
    /// What a daemon does to the throughput of its host's own programs; it needs iperf3
    HostImpact,
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
    let head = circumstances::circumstances(root, command.trim());

    pin(cli.sender_core)?;
    let ours = &subjects.first().context("no daemon")?.program;
    let mut bench = Bench {
        certificate: Certificate::new(ours)?,
        place: Place::make(cli.via, cli.mtu)?,
        tools,
        sender_core: cli.sender_core,
        receiver_core: cli.receiver_core.unwrap_or(cli.sender_core),
        daemon_core: cli.daemon_core,
        poll: cli.poll,
        snaplen: cli.snaplen,
        next_port: 2002,
    };
    notes.extend(set_up(&cli, &bench));
    let loads = loads(&cli)?;
    preflight(&mut bench, &subjects, &loads, &mut notes)?;
    let (title, tables, json) = measure(&mut bench, &cli, &subjects, &loads, &mut notes)?;
    let notes: String = notes.iter().map(|note| format!("* {note}\n")).collect();
    let text = format!("# {title}\n\n{head}{notes}\n{tables}");
    print!("{text}");
    if let Some(name) = &cli.save {
        let date = circumstances::output(Command::new("date").args(["-u", "+%Y-%m-%d"]));
        let runs = root.join("bench/runs");
        std::fs::create_dir_all(&runs)?;
        let json = format!("{}\n", serde_json::to_string_pretty(&json)?);
        for (extension, content) in [("md", text), ("json", json)] {
            let path = runs.join(format!("{date}-{name}.{extension}"));
            std::fs::write(&path, content)
                .with_context(|| format!("writing {}", path.display()))?;
            eprintln!("kept as {}", path.display());
        }
    }
    Ok(())
}

/// Who is where, and how they talk.
fn set_up(cli: &Cli, bench: &Bench) -> [String; 2] {
    let way = match cli.via {
        Via::Veth => format!("a veth pair of its own, MTU {}", cli.mtu),
        Via::Lo => "`lo`".to_owned(),
    };
    [
        format!(
            "daemon on core {}, sender on core {}, receiver on core {}",
            bench.daemon_core, bench.sender_core, bench.receiver_core
        ),
        format!(
            "RPCAP over {way}; snaplen {}, read timeout {} ms; receiver {}",
            cli.snaplen,
            read_timeouts(cli).iter().map(u32::to_string).collect::<Vec<_>>().join(" and "),
            match cli.poll {
                0 => "is woken".to_owned(),
                us => format!("looks every {us} µs"),
            }
        ),
    ]
}

/// Measures: a title, tables, and the measurements one by one.
fn measure(
    bench: &mut Bench,
    cli: &Cli,
    subjects: &[Subject],
    loads: &[Load],
    notes: &mut Vec<String>,
) -> anyhow::Result<(&'static str, String, Value)> {
    let rounds = cli.rounds.unwrap_or(match cli.mode {
        Mode::Cpu | Mode::HostImpact => 3,
        Mode::Syscalls | Mode::MaxRate | Mode::Latency => 1,
    });
    let title = match cli.mode {
        Mode::Cpu => "CPU per packet and loss",
        Mode::Latency => "Latency",
        Mode::Syscalls => "System calls",
        Mode::MaxRate => "Highest loss-free rate",
        Mode::HostImpact => "What it does to the host",
    };
    let (tables, json) = match cli.mode {
        Mode::Cpu => {
            let rows = modes::rounds(bench, subjects, loads, rounds)?;
            if let Some(sample) = rows.iter().flat_map(|r| &r.samples).next() {
                notes.push(format!("CPU time by {}; {rounds} rounds", sample.method));
            }
            let mut tables = vec![report::cpu_table(&rows)];
            if rows.iter().any(|row| row.load.data.is_encrypted()) {
                let speeds = Speeds::measure(bench.daemon_core)?;
                notes.push(speeds.to_string());
                tables.push(report::cipher_table(&rows, &speeds));
            }
            tables.extend([report::cost_table(&rows), report::conduct_table(&rows)]);
            (tables.join("\n"), report::samples_json(&rows))
        }
        Mode::Latency => {
            let rows = modes::rounds(bench, subjects, loads, rounds)?;
            (report::latency_table(&rows), report::samples_json(&rows))
        }
        Mode::Syscalls => {
            let rows = modes::trace(bench, subjects, loads, cli.rate.unwrap_or(TRACED))?;
            let table = report::syscall_table(&rows);
            let (rows, calls): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            (table, json!({ "measurements": report::samples_json(&rows), "calls": calls }))
        }
        Mode::MaxRate => {
            let peaks = modes::max_rate(bench, subjects, loads)?;
            let table = report::rate_table(&peaks);
            let rows: Vec<_> = peaks.into_iter().map(|peak| peak.row).collect();
            let tables =
                [table, report::cost_table(&rows), report::conduct_table(&rows)].join("\n");
            (tables, report::samples_json(&rows))
        }
        Mode::HostImpact => {
            let core = cli.application_core.unwrap_or(cli.daemon_core);
            notes.push(format!(
                "the host's iperf3 on core {core}, the other host's on core {}",
                cli.sender_core
            ));
            let rows = impact::measure(bench, subjects, loads, rounds, seconds(cli), core)?;
            (report::impact_table(&rows), report::impact_json(&rows))
        }
    };
    Ok((title, tables, json))
}

/// The daemons, ours first.
fn subjects(
    cli: &Cli,
    root: &Path,
    tools: &Path,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Subject>> {
    let ours = cli.ours.clone().unwrap_or_else(|| tools.join("rpcapd"));
    let mut subjects =
        vec![Subject { name: "ours", program: ours, udpstr: true, tls: true, dry_run: false }];
    if !cli.only_ours {
        let floor = cli.floor.clone().unwrap_or_else(|| tools.join("floor"));
        subjects.push(Subject {
            name: "floor",
            program: floor,
            udpstr: true,
            tls: false,
            dry_run: false,
        });
        let program = match &cli.libpcap {
            Some(program) => program.clone(),
            None => {
                let found =
                    circumstances::output(Command::new(root.join("scripts/peers")).arg("--find"));
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
        subjects.push(Subject {
            name: "libpcap",
            program,
            udpstr: false,
            tls: false,
            dry_run: false,
        });
    }
    for subject in &subjects {
        if !subject.program.exists() {
            bail!("{} is not there", subject.program.display());
        }
    }
    Ok(subjects)
}

/// Seconds of sending.
fn seconds(cli: &Cli) -> f64 {
    cli.seconds.unwrap_or(match cli.mode {
        Mode::Cpu => 10.0,
        Mode::Latency => 20.0,
        Mode::HostImpact => 3.0,
        Mode::MaxRate | Mode::Syscalls => 2.0,
    })
}

/// Milliseconds that the client asks for.
fn read_timeouts(cli: &Cli) -> Vec<u32> {
    match (&cli.read_timeout[..], cli.mode) {
        // What most clients ask for is far more than the daemon should ever wait.
        ([], Mode::Latency) => vec![10, 1000],
        ([], _) => vec![10],
        (given, _) => given.to_vec(),
    }
}

fn loads(cli: &Cli) -> anyhow::Result<Vec<Load>> {
    let mut workloads = cli.workload.clone();
    if workloads.is_empty() {
        let usual: &[&str] = match cli.mode {
            Mode::Latency | Mode::HostImpact => &["64"],
            Mode::Cpu | Mode::MaxRate | Mode::Syscalls => &["64", "imix", "1514"],
        };
        for text in usual {
            workloads.push(text.parse().map_err(anyhow::Error::msg)?);
        }
    }
    let mut ways = cli.data.clone();
    if ways.is_empty() {
        ways = match cli.mode {
            Mode::Latency | Mode::HostImpact => vec![Data::Tcp, Data::Udpstr],
            Mode::Cpu | Mode::MaxRate | Mode::Syscalls => Data::value_variants().to_vec(),
        };
    }
    let latency = cli.mode == Mode::Latency;
    let mut loads = Vec::new();
    for data in ways {
        for workload in &workloads {
            let usual = match cli.mode {
                Mode::Syscalls => vec![TRACED, TRACED_FAST],
                Mode::Latency => vec![20],
                Mode::Cpu | Mode::MaxRate | Mode::HostImpact => vec![usual_rate(workload)],
            };
            for rate in cli.rate.map_or(usual, |rate| vec![rate]) {
                let count = (rate as f64 * seconds(cli)) as u64;
                for read_timeout in read_timeouts(cli) {
                    let workload = workload.clone();
                    loads.push(Load { data, workload, rate, count, latency, read_timeout });
                }
            }
        }
    }
    Ok(loads)
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
