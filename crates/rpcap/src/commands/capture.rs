use std::fmt::Write as _;
use std::io::{self, BufWriter, Stdout};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use rpcap::client::{CaptureOptions, Client, Error, Transport};
use rpcap::data::datagrams::Options;
use rpcap::data::{DataError, Receiver};
use rpcap::file::{self, Begun, Format, Meta, Record, Summary, Writer, nanos};
use rpcap::keeper::{Keeper, Lines, Output};
use rpcap::running::{Happened, Outcome, Running};
use rpcap::text::{harmless, plural};
use rpcap::{filter, linktype};
use rpcap_proto::bpf::Instruction;
use rpcap_proto::wire::{OpenReply, Sampling, StartFlags};

use super::live::{Both, Live};
use super::progress::Progress;
use crate::cli::Capture;
use crate::exit::Failure;
use crate::interrupt::{self, Interrupts};
use crate::say::note;

/// Between two looks at what does not wake the control connection's wait: interrupts, the clock.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Often enough for 32-bit counters not to run round unnoticed, and to keep what lies between the
/// two ends from forgetting an idle connection.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(30);

pub(crate) fn run(args: &Capture) -> anyhow::Result<()> {
    let Some(device) = args.url.device.as_deref() else {
        bail!(
            "no device is named; `rpcap devices {}{}` lists them",
            if args.url.tls { "rpcaps://" } else { "" },
            harmless(args.url.endpoint.to_string().as_bytes())
        );
    };
    let bytecode = args.filter_bytecode.as_deref().map(bytecode).transpose()?;
    let interrupts = interrupt::watch().context("cannot watch for interrupts")?;
    let mut client = super::connect(&args.url, &args.connect)?;
    let OpenReply { linktype: dlt, system } = client.open(device)?;
    let filter = match (&args.filter, bytecode) {
        (Some(text), _) => filter::from_text(text, dlt, args.snaplen)?,
        (None, Some(program)) => program,
        (None, None) => Vec::new(),
    };
    // Before the capture starts: nothing is captured that cannot be kept.
    let file = args.write.as_deref().map(begin).transpose()?;
    let live = Live::start(&args.to, args.repair)?;
    let started = SystemTime::now();
    let receiver = start(&mut client, args, filter)?;
    if !args.udp {
        // What comes meanwhile waits, as datagrams might not.
        client.compare_clocks()?;
    }
    let meta = Meta {
        linktype: dlt,
        snaplen: args.snaplen,
        interface: device.to_owned(),
        filter: args.filter.clone(),
        os: system,
        clock: client.clock_offset(),
        comment: Some(format!("captured by rpcap from {}", args.url.endpoint)),
        ..Meta::default()
    };
    let mut keeper = Keeper::new(open_output(args, file, &meta)?, args.count);
    if let Some(repair) = args.repair {
        keeper.repair(repair, dlt);
    }
    live.begin(device, &meta);
    let sink = Both { keeper, live: live.outlet() };
    let sampled = args.sample.unwrap_or_default() != Sampling::None;
    let running = Running::new(client, receiver, sink, sampled)?;
    if !args.quiet {
        say_start(args, device, dlt);
    }
    let (failure, outcome) = watch(running, args, &interrupts);
    finish(args, started, outcome, live, failure)
}

type Sunk = Both<Kept>;

/// What is done with packets by the thread that receives them.
enum Kept {
    Lines(Lines<BufWriter<Stdout>>),
    File(Box<Writer>),
    /// They go to outputs only.
    Nowhere,
}

impl Output for Kept {
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        match self {
            Self::Lines(lines) => lines.write(record),
            Self::File(writer) => Output::write(writer.as_mut(), record),
            Self::Nowhere => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(lines) => lines.flush(),
            Self::File(writer) => Output::flush(writer.as_mut()),
            Self::Nowhere => Ok(()),
        }
    }
}

fn bytecode(given: &str) -> anyhow::Result<Vec<Instruction>> {
    let text = match given.strip_prefix('@') {
        Some(path) => &std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the filter from {path}"))?,
        None => given,
    };
    Ok(filter::from_bytecode(text)?)
}

fn begin(path: &Path) -> anyhow::Result<Begun> {
    Writer::begin(path, Format::of(path)).map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, error: file::Error) -> anyhow::Error {
    match error {
        file::Error::Create { source, .. } | file::Error::Write(source) => {
            Failure::Output(shown(path), source).into()
        }
        error => error.into(),
    }
}

fn open_output(args: &Capture, file: Option<Begun>, meta: &Meta) -> anyhow::Result<Kept> {
    let (Some(path), Some(file)) = (&args.write, file) else {
        if !args.to.is_empty() {
            return Ok(Kept::Nowhere);
        }
        let to = BufWriter::with_capacity(64 * 1024, io::stdout());
        return Ok(Kept::Lines(Lines::new(to, meta.linktype)));
    };
    let writer = file.describe(meta).map_err(|error| unwritable(path, error))?;
    Ok(Kept::File(Box::new(writer)))
}

pub(super) fn shown(path: &Path) -> String {
    match path.as_os_str() == "-" {
        true => "to standard output".to_owned(),
        false => path.display().to_string(),
    }
}

fn start(
    client: &mut Client,
    args: &Capture,
    filter: Vec<Instruction>,
) -> anyhow::Result<Receiver> {
    let sampling = args.sample.unwrap_or_default();
    if sampling != Sampling::None {
        client.set_sampling(sampling)?;
    }
    let direction = match (args.inbound, args.outbound) {
        (true, _) => StartFlags::INBOUND,
        (_, true) => StartFlags::OUTBOUND,
        _ => StartFlags::default(),
    };
    let (transport, framing) = match args.udp {
        // Only asked for: what comes tells by itself what it is.
        true => (Transport::Udp, StartFlags::UDPSTR | StartFlags::SOURCE_PORT),
        false => (Transport::Tcp, StartFlags::default()),
    };
    let receiver = client.start(&CaptureOptions {
        snaplen: args.snaplen,
        promisc: !args.no_promisc,
        flags: direction | framing,
        transport,
        filter,
        ..CaptureOptions::default()
    })?;
    if let Receiver::Udp(receiver) = &receiver
        && !args.quiet
    {
        say_buffer(receiver.receive_buffer());
    }
    Ok(receiver)
}

/// Says so where the system keeps less for the socket than it was asked for.
fn say_buffer(granted: usize) {
    if granted < Options::default().receive_buffer {
        note!(
            "rpcap: this host lets only {} KiB of datagrams wait, and bursts above that are lost; as root \
             more wait, or for everybody with a larger net.core.rmem_max (Linux)",
            granted / 1024,
        );
    }
}

fn say_start(args: &Capture, device: &str, dlt: u32) {
    let name = linktype::name(dlt).map_or(format!("link type {dlt}"), str::to_owned);
    note!(
        "rpcap: capturing from {} at {} ({name}, snaplen {}, {})",
        harmless(device.as_bytes()),
        args.url.endpoint,
        args.snaplen,
        match (args.udp, args.url.tls) {
            (true, false) => "UDP",
            (true, true) => "UDP, sealed",
            (false, false) => "TCP",
            (false, true) => "TCP with TLS",
        },
    );
}

/// Looks after the capture until it is over, and why it is if that is a failure.
fn watch(
    mut running: Running<Sunk>,
    args: &Capture,
    interrupts: &Interrupts,
) -> (Option<anyhow::Error>, Outcome<Sunk>) {
    let end = args.duration.map(|d| Instant::now() + d);
    // Lines that come and go in between would be unreadable.
    let mut progress = match args.quiet || (args.write.is_none() && args.to.is_empty()) {
        true => None,
        false => Progress::new(),
    };
    if args.udp
        && let Err(error) = running.compare_clocks()
    {
        return (Some(error.into()), running.end(&interrupts.hurry));
    }
    let mut asked = Instant::now();
    let failure = loop {
        let left = end.map_or(TICK, |end| end.saturating_duration_since(Instant::now()));
        if interrupts.stop.load(Relaxed) || left.is_zero() {
            break None;
        }
        match running.wait(left.min(TICK)) {
            None => {}
            Some(Happened::Satisfied) => break None,
            Some(Happened::Told(pushed)) => {
                if let Some(progress) = &mut progress {
                    progress.clear();
                }
                note!("rpcap: the daemon says: {pushed}");
            }
            Some(Happened::EndedByDaemon(p)) => break Some(Failure::EndedByDaemon(p).into()),
            Some(Happened::DataEnded) => break Some(Failure::DataEnded.into()),
            Some(Happened::ControlLost(error)) => break Some(error.into()),
        }
        let due = progress.as_ref().is_some_and(Progress::is_due);
        if due || asked.elapsed() > ASK_EVERY {
            if let Err(error) = running.ask() {
                break Some(error.into());
            }
            asked = Instant::now();
        }
        if let Some(progress) = progress.as_mut().filter(|_| due) {
            progress.show(running.gauge(), running.counts());
        }
    };
    if let Some(progress) = &mut progress {
        progress.clear();
    }
    (failure, running.end(&interrupts.hurry))
}

/// Finishes the output, tells what became of every packet, and decides how it ended.
fn finish(
    args: &Capture,
    started: SystemTime,
    outcome: Outcome<Sunk>,
    live: Live,
    failure: Option<anyhow::Error>,
) -> anyhow::Result<()> {
    let Outcome { sink, ledger, clock, data_error, control_error } = outcome;
    let Some(Both { keeper, live: outlet }) = sink else {
        bail!("the receiving thread panicked; this is a bug");
    };
    let kept = keeper.kept();
    if let Some(mut outlet) = outlet {
        outlet.flush();
    }
    let summary =
        Summary { start: nanos(started), end: nanos(SystemTime::now()), clock, ..ledger.summary() };
    let outputs = live.end(kept, &summary);
    let (destination, mut error) = keeper.into_output();
    let finished = match destination {
        Kept::Lines(mut lines) => lines.flush(),
        Kept::File(writer) => writer.finish(&summary).map(drop),
        Kept::Nowhere => Ok(()),
    };
    if error.is_none() {
        error = finished.err();
    }
    if !args.quiet {
        let mut text = plural(kept, "packet", "packets");
        match &args.write {
            Some(path) => write!(text, " written to {}", shown(path).trim_start_matches("to "))?,
            None if args.to.is_empty() => text.push_str(" printed"),
            None => text.push_str(" captured"),
        }
        if let Some(clock) = clock {
            write!(text, "\n{}", clock.in_words())?;
        }
        note!("{text}\n{ledger}{outputs}");
    }
    match error {
        // Whoever read it has seen enough: `| head` is no failure.
        Some(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Some(e) => {
            let to = args.write.as_deref().map_or("to standard output".to_owned(), shown);
            return Err(Failure::Output(to, e).into());
        }
        None => {}
    }
    verdict(failure, data_error, control_error)
}

/// Why a capture ended comes before what went wrong while it was being ended.
pub(super) fn verdict(
    failure: Option<anyhow::Error>,
    data_error: Option<DataError>,
    control_error: Option<Error>,
) -> anyhow::Result<()> {
    match (failure, data_error, control_error) {
        (Some(failure), Some(data), _) if failure.is::<Failure>() => {
            Err(match failure.downcast()? {
                Failure::DataEnded => Failure::Data(data).into(),
                other => other.into(),
            })
        }
        (Some(failure), ..) => Err(failure),
        (None, Some(data), _) => Err(Failure::Data(data).into()),
        (None, None, Some(control)) => Err(control.into()),
        (None, None, None) => Ok(()),
    }
}
