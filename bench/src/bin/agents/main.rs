//! Many agents in one process, and one collector: what an agent and a packet cost it, and at which
//! rate packets begin to be lost, where, and why.

mod agent;
mod collector;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::circumstances::circumstances;
use clap::Parser;
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::agent::Agent;
use self::collector::{Collector, Sums};

/// An agent's ring gives packets out so often.
const BLOCK: Duration = Duration::from_millis(10);
/// Slots of that time: in each of them some of the agents send.
const SLOTS: usize = 10;
/// How long nothing must come when everything has come.
const QUIET: Duration = Duration::from_millis(500);

/// Let many agents call one collector on this host and send packets of 64 bytes as udpstr, at
/// rising rates; print a table in markdown.
///
/// The agents are the daemon's session on sockets of their own, each with an address of its own of
/// 127.0.0.0/8, in one process; the collector is `rpcap listen`, writing a file for each of them.
/// Both share the host's cores.
#[derive(Debug, Parser)]
#[command(name = "agents", max_term_width = 100)]
struct Cli {
    /// How many agents
    #[arg(long, default_value_t = 1000)]
    agents: u32,

    /// Packets per second of each agent, one measurement for each
    #[arg(long, value_delimiter = ',', default_value = "200")]
    rates: Vec<u32>,

    /// Seconds of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,

    /// Threads of the collector that receive
    #[arg(long, default_value = "2")]
    receivers: String,

    /// Where the collector's files go, for as long as it runs
    #[arg(long, default_value = "/tmp")]
    directory: std::path::PathBuf,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let directory = cli.directory.join(format!("agents-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let result = run(&cli, &directory);
    std::fs::remove_dir_all(&directory)?;
    result
}

fn run(cli: &Cli, directory: &Path) -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo run --release -p bench --bin agents -- {}", arguments.join(" "));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    println!("# Many agents, one collector\n\n{}", circumstances(&root, &command));
    let collector = Collector::start(directory, &cli.receivers)?;
    let empty = collector.memory()?;
    let mut fleet = Fleet::connect(cli.agents, &collector)?;
    let (took, cpu) = (fleet.start.elapsed(), collector.cpu()?);
    let connected = collector.memory()?;
    println!(
        "{} agents connected and captured from within {:.2} s of calling, for {:.0} µs of the \
         collector's CPU each. Its memory: {} KiB without agents, {} KiB with all of them \
         connected and silent.\n",
        cli.agents,
        took.as_secs_f64(),
        cpu * 1e6 / f64::from(cli.agents),
        empty,
        connected,
    );
    println!(
        "| packets/s of an agent | of all | sent | lost | of that: socket full | queue full | not \
         written | µs CPU for a packet | cores busy | datagrams for a call | KiB for an agent | \
         agents' process was late by |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for rate in &cli.rates {
        fleet.measure(*rate, cli.seconds, &collector, empty)?;
    }
    fleet.end(collector, directory)
}

/// All agents.
struct Fleet {
    poll: Poll,
    agents: Vec<Agent>,
    start: Instant,
    unsent: u64,
}

impl Fleet {
    /// All of them call at once, and this waits until all of them are captured from.
    fn connect(count: u32, collector: &Collector) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let start = Instant::now();
        let mut fleet = Self { poll, agents: Vec::new(), start, unsent: 0 };
        for n in 0..count {
            let own = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + n);
            let mut agent =
                Agent::connect(own, collector.address).with_context(|| format!("agent {own}"))?;
            let token = Token(n as usize);
            fleet.poll.registry().register(&mut agent.control, token, Interest::READABLE)?;
            fleet.agents.push(agent);
            fleet.control(Duration::ZERO)?;
        }
        while !fleet.agents.iter().all(Agent::captures) {
            if start.elapsed() > Duration::from_secs(60) {
                bail!("not all agents are captured from after a minute");
            }
            fleet.control(Duration::from_millis(10))?;
        }
        Ok(fleet)
    }

    /// Does what the collector asks, for so long.
    fn control(&mut self, wait: Duration) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.poll.poll(&mut events, Some(left))?;
            for event in &events {
                self.agents[event.token().0].control(self.start.elapsed())?;
            }
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    /// Sends at a rate and prints what became of it.
    fn measure(
        &mut self,
        rate: u32,
        seconds: u64,
        collector: &Collector,
        empty: u64,
    ) -> anyhow::Result<()> {
        let (before, cpu) = (collector.sums()?, collector.cpu()?);
        let sent_before = self.sent();
        let start = Instant::now();
        let slot = BLOCK / SLOTS as u32;
        let blocks = seconds * 1000 / BLOCK.as_millis() as u64;
        let mut late = Duration::ZERO;
        for n in 0..blocks * SLOTS as u64 {
            let due = start + slot * n as u32;
            let left = due.saturating_duration_since(Instant::now());
            self.control(left)?;
            late = late.max(due.elapsed());
            let block = n / SLOTS as u64;
            // Packets up to the end of this block less those up to its beginning.
            let upto = |block: u64| u64::from(rate) * block / (1000 / BLOCK.as_millis() as u64);
            let count = (upto(block + 1) - upto(block)) as u32;
            let mine = self.agents.iter_mut().skip(n as usize % SLOTS).step_by(SLOTS);
            mine.for_each(|agent| agent.packets(count));
        }
        let elapsed = start.elapsed().as_secs_f64();
        let (after, spent) = self.settled(collector, cpu)?;
        let sent = self.sent() - sent_before;
        let memory = collector.memory()?;
        let d = |f: fn(&Sums) -> u64| f(&after) - f(&before);
        let delivered = d(|s| s.delivered);
        println!(
            "| {rate} | {:.0} | {sent} | {} | {} | {} | {} | {:.3} | {:.2} | {:.1} | {:.1} | {:.0} \
             ms |",
            sent as f64 / elapsed,
            sent.saturating_sub(delivered),
            d(|s| s.dropped),
            d(|s| s.overflowed),
            d(|s| s.not_written),
            spent * 1e6 / delivered.max(1) as f64,
            spent / elapsed,
            d(|s| s.datagrams) as f64 / d(|s| s.calls).max(1) as f64,
            memory.saturating_sub(empty) as f64 / self.agents.len() as f64,
            late.as_secs_f64() * 1e3,
        );
        Ok(())
    }

    /// Waits until nothing more comes; the sums then, and the CPU since `before`.
    fn settled(&mut self, collector: &Collector, before: f64) -> anyhow::Result<(Sums, f64)> {
        let spent = collector.cpu()? - before;
        let mut last = collector.sums()?;
        loop {
            self.control(QUIET)?;
            let now = collector.sums()?;
            if now.delivered == last.delivered {
                return Ok((now, spent));
            }
            last = now;
        }
    }

    /// Packets that the agents' sockets took.
    fn sent(&self) -> u64 {
        let numbered: u64 = self.agents.iter().map(|a| u64::from(a.numbered)).sum();
        let unsent: u64 = self.agents.iter().map(|a| a.unsent).sum();
        numbered - unsent - self.unsent
    }

    /// Ends the collector and checks every agent's ledger.
    fn end(mut self, mut collector: Collector, directory: &Path) -> anyhow::Result<()> {
        let sent = self.sent();
        let start = Instant::now();
        collector.terminate()?;
        while !collector.has_ended()? {
            if start.elapsed() > Duration::from_secs(90) {
                bail!("the collector does not end");
            }
            self.control(Duration::from_millis(10))?;
        }
        let log = std::fs::read_to_string(directory.join("log"))?;
        let ledgers: Vec<&str> = log.lines().filter(|l| l.contains("balanced=")).collect();
        let balanced = ledgers.iter().filter(|l| l.ends_with("balanced=yes")).count();
        let sum = |key: &str| -> u64 {
            let word = |line: &&str| {
                let mut words = line.split_whitespace().filter_map(|w| w.split_once('='));
                words.find(|(k, _)| *k == key).and_then(|(_, v)| v.parse::<u64>().ok())
            };
            ledgers.iter().filter_map(word).sum()
        };
        println!(
            "\nEnded within {:.2} s. {balanced} of {} ledgers balance: {} sent = {} delivered + {} \
             lost; {} written, {} not written, {} for which the queue was full. The agents' sockets \
             took {sent}.",
            start.elapsed().as_secs_f64(),
            ledgers.len(),
            sum("sent"),
            sum("delivered"),
            sum("lost"),
            sum("written"),
            sum("not-written"),
            sum("overflowed"),
        );
        if balanced != self.agents.len() {
            bail!("a ledger does not balance:\n{log}");
        }
        Ok(())
    }
}
