//! A capture for Wireshark.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use rpcap::client::Transport::{Tcp, Udp};
use rpcap::client::{CaptureOptions, Client};
use rpcap::extcap::hosts::Host;
use rpcap::file::{self, Format, Meta, Summary, Writer, nanos};
use rpcap::filter;
use rpcap::keeper::Keeper;
use rpcap::running::{Happened, Outcome, Running};
use rpcap::text::harmless;
use rpcap_proto::bpf::Instruction;
use rpcap_proto::wire::{Device, OpenReply, PRESELECTED, Sampling, StartFlags};

use super::call::{Call, Transport};
use super::fifo;
use super::target::Target;
use super::toolbar::{Asked, Toolbar};
use crate::commands::capture::{ASK_EVERY, TICK, verdict};
use crate::exit::{self, Failure};
use crate::interrupt::{self, Interrupts};

/// Takes no packet.
const NOTHING: Instruction = Instruction { code: 6, jt: 0, jf: 0, k: 0 };

/// How long Wireshark may take to open its pipes, when there are no packets to come.
const READER: Duration = Duration::from_secs(5);

type Capturing = Running<Keeper<Writer<File>>>;

pub(super) fn run(call: &Call, hosts: anyhow::Result<Vec<Host>>) -> anyhow::Result<()> {
    let interrupts = interrupt::watch().context("cannot watch for interrupts")?;
    let path = call.fifo.as_deref().context("Wireshark names no pipe to write to")?;
    // Before anything that takes its time or fails.
    let toolbar =
        Toolbar::open(call.extcap_control_in.as_deref(), call.extcap_control_out.as_deref());
    let mut pipe = None;
    let result =
        hosts.and_then(|hosts| capture(call, &hosts, path, &interrupts, &toolbar, &mut pipe));
    if pipe.is_none() {
        // dumpcap waits for the beginning of a stream even if nothing follows.
        let began = Instant::now();
        toolbar.wait_until_open(READER);
        pipe = fifo::open(path, || began.elapsed() > READER).unwrap_or_default();
        if let Some(Ok(to)) = pipe.as_ref().map(File::try_clone) {
            drop(Writer::new(to, Format::Pcapng, &Meta::default()));
        }
    }
    toolbar.close();
    // Wireshark looks for errors once the stream ends: so it ends with the process, after the error
    // was told.
    std::mem::forget(pipe);
    result
}

fn capture(
    call: &Call,
    hosts: &[Host],
    path: &Path,
    interrupts: &Interrupts,
    toolbar: &Toolbar,
    opened: &mut Option<File>,
) -> anyhow::Result<()> {
    let target = Target::of(call, hosts)?;
    let snaplen = call.snaplen()?;
    let mut options = CaptureOptions { snaplen, promisc: call.promiscuous(), ..Default::default() };
    (options.transport, options.flags) = match call.transport()? {
        Transport::Tcp => (Tcp, StartFlags::default()),
        Transport::Udp => (Udp, StartFlags::SOURCE_PORT),
        Transport::Udpstr => (Udp, StartFlags::UDPSTR | StartFlags::SOURCE_PORT),
    };
    let sampling = call.sampling()?;
    let mut client = match target.connect(interrupts) {
        // Whatever else it was, it was not wanted any more.
        Err(_) if interrupts.stop.load(Relaxed) => return Ok(()),
        other => other?,
    };
    let device = device(&target, &mut client)?;
    let OpenReply { linktype, system } = client.open(&device)?;
    target.learn(&device, linktype);
    let text = call.extcap_capture_filter.clone().unwrap_or_default();
    let chosen = Filter { linktype, snaplen, text, paused: false };
    // What is wrong with it is told before anything is captured.
    options.filter = chosen.program()?;
    let to = |e| Failure::Output("to Wireshark".to_owned(), e);
    let Some(pipe) = fifo::open(path, || interrupts.stop.load(Relaxed)).map_err(to)? else {
        client.close();
        return Ok(());
    };
    let pipe = &*opened.insert(pipe);
    let writer = match writer(pipe, &target, &client, &device, system, &chosen) {
        Err(file::Error::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(file::Error::Write(e)) => return Err(to(e).into()),
        other => other?,
    };
    let started = SystemTime::now();
    let mut running = start(client, sampling, &options, Keeper::new(writer, None))?;
    toolbar.log(&format!(
        "capturing from {} at {}",
        harmless(device.as_bytes()),
        target.url.endpoint
    ));
    // Wireshark has the beginning of the stream already: it stands at the end.
    let failure = match running.compare_clocks() {
        Ok(()) => watch(&mut running, chosen, pipe, toolbar, interrupts),
        Err(error) => Some(error.into()),
    };
    finish(running.end(&interrupts.hurry), started, failure, toolbar)
}

/// The device that was chosen, or that the daemon says to take.
fn device(target: &Target, client: &mut Client) -> anyhow::Result<String> {
    if let Some(device) = &target.url.device {
        return Ok(device.clone());
    }
    let devices = client.devices()?;
    let name = |d: &Device| String::from_utf8_lossy(&d.name).into_owned();
    match devices.first() {
        Some(first) if first.description.ends_with(PRESELECTED) => Ok(name(first)),
        _ => {
            let names: Vec<_> = devices.iter().take(10).map(|d| harmless(&d.name)).collect();
            bail!(
                "no device is chosen in the interface's options; {} has {}",
                client.endpoint(),
                names.join(", ")
            );
        }
    }
}

/// Which packets.
struct Filter {
    linktype: u32,
    snaplen: u32,
    text: String,
    paused: bool,
}

impl Filter {
    fn program(&self) -> Result<Vec<Instruction>, filter::FilterError> {
        match self.text.trim() {
            _ if self.paused => Ok(vec![NOTHING]),
            "" => Ok(Vec::new()),
            text => filter::from_text(text, self.linktype, self.snaplen),
        }
    }
}

fn writer(
    pipe: &File,
    target: &Target,
    client: &Client,
    device: &str,
    system: Option<String>,
    chosen: &Filter,
) -> Result<Writer<File>, file::Error> {
    let meta = Meta {
        linktype: chosen.linktype,
        snaplen: chosen.snaplen,
        interface: device.to_owned(),
        description: Some(format!("{device} at {}", client.endpoint().host)),
        filter: Some(chosen.text.clone()).filter(|text| !text.is_empty()),
        os: system,
        comment: Some(match target.waits {
            false => format!("captured by rpcap from {}", client.endpoint()),
            true => format!("captured by rpcap from {}, which dialled in", client.peer().ip()),
        }),
        ..Meta::default()
    };
    Writer::new(pipe.try_clone().map_err(file::Error::Write)?, Format::Pcapng, &meta)
}

fn start(
    mut client: Client,
    sampling: Sampling,
    options: &CaptureOptions,
    keeper: Keeper<Writer<File>>,
) -> anyhow::Result<Capturing> {
    let sampled = sampling != Sampling::None;
    if sampled {
        client.set_sampling(sampling)?;
    }
    let receiver = client.start(options)?;
    Ok(Running::new(client, receiver, keeper, sampled)?)
}

/// Looks after the capture until it is over, and why it is if that is a failure.
fn watch(
    running: &mut Capturing,
    mut chosen: Filter,
    pipe: &File,
    toolbar: &Toolbar,
    interrupts: &Interrupts,
) -> Option<anyhow::Error> {
    let mut asked = Instant::now();
    loop {
        if interrupts.stop.load(Relaxed) || fifo::is_closed(pipe) {
            return None;
        }
        match running.wait(TICK) {
            None => {}
            Some(Happened::Satisfied) => return None,
            Some(Happened::Told(pushed)) => toolbar.log(&format!("the daemon says: {pushed}")),
            Some(Happened::EndedByDaemon(p)) => return Some(Failure::EndedByDaemon(p).into()),
            Some(Happened::DataEnded) => return Some(Failure::DataEnded.into()),
            Some(Happened::ControlLost(error)) => return Some(error.into()),
        }
        while let Some(wanted) = toolbar.asked() {
            if let Err(error) = change(running, &mut chosen, wanted, toolbar) {
                return Some(error.into());
            }
        }
        if asked.elapsed() > ASK_EVERY {
            if let Err(error) = running.ask() {
                return Some(error.into());
            }
            asked = Instant::now();
        }
    }
}

/// Does what the toolbar's user wants. What cannot be done is said there, and changes nothing.
fn change(
    running: &mut Capturing,
    chosen: &mut Filter,
    wanted: Asked,
    toolbar: &Toolbar,
) -> Result<(), rpcap::client::Error> {
    let mut new = Filter { text: chosen.text.clone(), ..*chosen };
    match wanted {
        Asked::State => {
            toolbar.show(&chosen.text, chosen.paused);
            return Ok(());
        }
        Asked::Pause(paused) => new.paused = paused,
        Asked::Filter(text) => new.text = text,
    }
    // The text is judged even during a pause.
    let judged = Filter { text: new.text.clone(), paused: false, ..new }.program();
    let program = match judged.and_then(|_| new.program()) {
        Ok(program) => program,
        Err(error) => {
            toolbar.warn(&exit::line(&error.into()));
            return Ok(());
        }
    };
    match running.update_filter(program) {
        Ok(()) => {
            *chosen = new;
            let text = match (chosen.paused, chosen.text.as_str()) {
                (true, _) => "paused: the host sends no packets".to_owned(),
                (false, "") => "the host sends all packets".to_owned(),
                (false, text) => {
                    format!("the host sends packets for: {}", harmless(text.as_bytes()))
                }
            };
            toolbar.note(&text);
            toolbar.log(&text);
            Ok(())
        }
        Err(error @ rpcap::client::Error::Refused { .. }) => {
            toolbar.warn(&exit::line(&error.into()));
            toolbar.show(&chosen.text, chosen.paused);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Finishes the stream, tells what became of every packet, and decides how it ended.
fn finish(
    outcome: Outcome<Keeper<Writer<File>>>,
    started: SystemTime,
    failure: Option<anyhow::Error>,
    toolbar: &Toolbar,
) -> anyhow::Result<()> {
    let Outcome { sink, ledger, clock, data_error, control_error } = outcome;
    let Some(keeper) = sink else {
        bail!("the receiving thread panicked; this is a bug");
    };
    let (writer, mut error) = keeper.into_output();
    let summary =
        Summary { start: nanos(started), end: nanos(SystemTime::now()), clock, ..ledger.summary() };
    let finished = writer.finish(&summary);
    toolbar.log(&ledger.to_string());
    if error.is_none() {
        error = finished.err();
    }
    match error {
        // Wireshark has seen enough.
        Some(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Some(e) => Err(Failure::Output("to Wireshark".to_owned(), e).into()),
        None => verdict(failure, data_error, control_error),
    }
}
