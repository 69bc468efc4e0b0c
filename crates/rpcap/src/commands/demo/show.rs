use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use rpcap::client::{CaptureOptions, Client, Credentials};
use rpcap::file::{Format, Meta, Record, Summary, Writer, nanos};
use rpcap::keeper::{Keeper, Lines, Output};
use rpcap::ledger::Ledger;
use rpcap::running::{Happened, Running};
use rpcap::text::Count;

use super::DEVICE;
use super::daemon::Daemon;
use crate::exit::Failure;
use crate::say::say;

/// The most it may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// How many packets are shown.
const SHOWN: u64 = 12;
/// How long packets may be under way.
const SETTLE: Duration = Duration::from_millis(150);

/// Whether there is enough to see.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Enough {
    NotYet,
    Now,
}

/// What came of it.
pub(super) struct Shown {
    pub(super) packets: u64,
    pub(super) ledger: Ledger,
}

/// Lists the daemon's devices, captures from the one that matters into a file, prints the first
/// packets, and tells what became of all of them. `enough` is told how many packets came.
pub(super) fn show(
    daemon: &Daemon,
    output: &Path,
    mut enough: impl FnMut(u64) -> anyhow::Result<Enough>,
) -> anyhow::Result<Shown> {
    let mut client = Client::connect(daemon.endpoint(), PATIENCE)?;
    client.authenticate(&Credentials::Null)?;
    say!("\n$ rpcap devices {}", daemon.endpoint());
    say!("{}", crate::commands::devices::table(&mut client)?.trim_end());

    let dlt = client.open(DEVICE)?.linktype;
    let meta = Meta { linktype: dlt, interface: DEVICE.to_owned(), ..Meta::default() };
    say!("\n$ rpcap capture rpcap://{}/{DEVICE} -w {}", daemon.endpoint(), output.display());
    let cannot_write = |e| Failure::Output(output.display().to_string(), e);
    let writer = match Writer::open(output, Format::of(output), &meta) {
        Ok(writer) => writer,
        Err(rpcap::file::Error::Create { source, .. }) => return Err(cannot_write(source).into()),
        Err(error) => return Err(error).context("cannot start the file"),
    };
    let sink =
        Keeper::new(Both { writer, lines: Lines::new(io::stdout(), dlt), left: SHOWN }, None);
    let receiver = client.start(&CaptureOptions::default())?;
    let started = SystemTime::now();
    let mut running = Running::new(client, receiver, sink, false)?;
    let deadline = Instant::now() + PATIENCE;
    while enough(running.gauge().packets())? == Enough::NotYet && Instant::now() < deadline {
        match running.wait(SETTLE) {
            None | Some(Happened::Told(_)) => {}
            Some(Happened::Satisfied) => break,
            Some(Happened::EndedByDaemon(p)) => return Err(Failure::EndedByDaemon(p).into()),
            Some(Happened::DataEnded) => return Err(Failure::DataEnded.into()),
            Some(Happened::ControlLost(error)) => return Err(error.into()),
        }
    }
    std::thread::sleep(SETTLE);
    let outcome = running.end(&AtomicBool::new(false));
    let Some(sink) = outcome.sink else {
        bail!("the receiving thread panicked; this is a bug");
    };
    let packets = sink.kept();
    let (Both { writer, .. }, failed) = sink.into_output();
    if let Some(error) = failed {
        return Err(cannot_write(error).into());
    }
    let summary = Summary {
        start: nanos(started),
        end: nanos(SystemTime::now()),
        ..outcome.ledger.summary()
    };
    writer.finish(&summary).map_err(cannot_write)?;
    if let Some(error) = outcome.control_error {
        return Err(error.into());
    }
    if packets > SHOWN {
        say!("... and {} more", Count(packets - SHOWN));
    }
    say!("\n{}\n", outcome.ledger);
    Ok(Shown { packets, ledger: outcome.ledger })
}

/// Into a file, and the first packets as lines.
struct Both {
    writer: Writer,
    lines: Lines<io::Stdout>,
    left: u64,
}

impl Output for Both {
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            // Nobody may be reading them; the file is what counts.
            let _ = self.lines.write(record);
        }
        self.writer.write(record)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
