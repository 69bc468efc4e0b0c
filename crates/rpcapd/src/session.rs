//! One client's session, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use mio::Waker;
use rpcap_proto::bpf::Program;
use rpcap_proto::session::{
    Action, Config, DaemonSession, DataChannel, Direction, EndReason, Next, Note, Start, Timers,
};
use rpcap_proto::wire::{ErrorCode, StartFlags, StartReply, Stats, write_error};

use crate::cli::Cli;
use crate::control::{Control, ReadResult};
use crate::devices::{self, Kind};
use crate::ledger::Ledger;
use crate::own::{Hidden, OwnTraffic, Watched};
use crate::pump::{DataPath, Event, Plan, Running};
use crate::transport::{self, Framing};

/// Bytes of a udpstr datagram where nobody chose: what Ethernet carries.
const UDPSTR_MTU: usize = 1472;

/// What all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// The command line.
    pub cli: Cli,
    /// How packets are sent, as it says there.
    pub transport: transport::Options,
    /// What no capture may contain.
    pub own: Arc<OwnTraffic>,
    /// Whether the daemon is about to end.
    pub shutdown: AtomicBool,
}

/// Serves one connection until it is over.
pub fn serve(mut control: Control, shared: &Shared) {
    let peer = control.peer;
    shared.own.hide_control(control.local);
    if let Some(allowed) = &shared.cli.allow
        && !allowed.allows(peer.ip())
    {
        tracing::warn!(%peer, "refused: not on the list of allowed hosts");
        let mut refusal = Vec::new();
        let text = "The host is not in the allowed host list. Connection refused.";
        write_error(&mut refusal, 0, ErrorCode::HostNotAllowed, text);
        if control.write_all(&mut refusal).is_ok() {
            control.linger();
        }
        return;
    }
    tracing::info!(%peer, "session started");
    let began = Instant::now();
    let mut session = Session::new(control, shared);
    let result = session.run();
    session.end_capture(false);
    let seconds = began.elapsed().as_secs();
    match result {
        Ok(End::Session(reason)) => {
            tracing::info!(%peer, seconds, "session ended: {reason}");
            if !matches!(reason, EndReason::Closed { .. } | EndReason::Eof) {
                session.control.linger();
            }
        }
        Ok(End::Shutdown) => tracing::info!(%peer, seconds, "session ended: daemon stops"),
        Err(e) => tracing::info!(%peer, seconds, "session ended: control connection: {e}"),
    }
}

enum End {
    Session(EndReason),
    Shutdown,
}

/// A capture and what goes with it.
struct Capturing {
    running: Running,
    _hidden: Hidden,
    _watched: Watched,
}

struct Session<'a> {
    shared: &'a Shared,
    control: Control,
    machine: DaemonSession,
    epoch: Instant,
    running: Option<Capturing>,
    /// The ledger of the last capture, for those who ask after it ended.
    last: Ledger,
    /// The ledger when the client last asked for it during this capture.
    asked: Ledger,
    events: Receiver<Event>,
    tell: Sender<Event>,
    waker: Arc<Waker>,
}

impl<'a> Session<'a> {
    fn new(control: Control, shared: &'a Shared) -> Self {
        let cli = &shared.cli;
        let config = Config {
            null_auth: cli.null_auth,
            active: false,
            timers: Timers {
                init: cli.init_timeout,
                idle: cli.idle_timeout,
                message: cli.message_timeout,
                ..Timers::default()
            },
        };
        let (tell, events) = mpsc::channel();
        Self {
            shared,
            machine: DaemonSession::new(config, Duration::ZERO),
            epoch: Instant::now(),
            running: None,
            last: Ledger::default(),
            asked: Ledger::default(),
            events,
            tell,
            waker: control.waker(),
            control,
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn run(&mut self) -> io::Result<End> {
        let mut buf = [0; 16 * 1024];
        loop {
            self.heed_capture();
            let end = loop {
                match self.machine.poll(self.now()) {
                    Next::Do(action) => self.perform(action),
                    Next::Wait => break None,
                    Next::End(reason) => break Some(reason),
                }
                // Replies leave one by one, so that a peer cannot pile them up.
                self.control.write_all(self.machine.output())?;
            };
            self.control.write_all(self.machine.output())?;
            if let Some(reason) = end {
                return Ok(End::Session(reason));
            }
            if self.shared.shutdown.load(SeqCst) {
                return Ok(End::Shutdown);
            }
            let read = if self.machine.wants_input() {
                self.control.read(&mut buf)?
            } else {
                ReadResult::Nothing
            };
            match read {
                ReadResult::Bytes(n) => self.machine.receive(&buf[..n]),
                ReadResult::Eof => self.machine.receive_eof(),
                ReadResult::Nothing => {
                    self.control.wait(self.machine.deadline().map(|d| self.epoch + d))?;
                }
            }
        }
    }

    /// Tells the client of a capture that ended by itself.
    fn heed_capture(&mut self) {
        while let Ok(Event::Failed(reason)) = self.events.try_recv() {
            tracing::warn!(peer = %self.control.peer, reason, "capture failed");
            self.end_capture(false);
            self.machine.capture_failed(&reason);
        }
    }

    fn end_capture(&mut self, deliver_rest: bool) {
        let Some(Capturing { running, .. }) = self.running.take() else {
            return;
        };
        let device = running.device.escape_debug().to_string();
        let seconds = running.since.elapsed().as_secs_f64();
        self.last = running.end(deliver_rest);
        // A message of the ended capture is not one of the next.
        while self.events.try_recv().is_ok() {}
        let peer = self.control.peer;
        tracing::info!(%peer, device, "capture ended: seconds={seconds:.3} {}", self.last);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Note(note) => self.log(&note),
            Action::Authenticate { .. } => {
                tracing::warn!(peer = %self.control.peer, "password refused: not available yet");
                self.machine.authenticated(Err("Authentication failed"), self.now());
            }
            Action::ListDevices => match devices::list(&self.shared.cli.replay) {
                Ok(devices) => self.machine.devices(Ok(&devices)),
                Err(e) => self.machine.devices(Err(&self.logged("FINDALLIF", &e))),
            },
            Action::Open(name) => match self.linktype(&name) {
                Ok(linktype) => self.machine.opened(Ok(linktype.0)),
                Err(text) => self.machine.opened(Err(&self.logged("OPEN", &text))),
            },
            Action::Start(start) => {
                // One that failed by itself is over now at the latest.
                self.end_capture(false);
                match self.start(&start) {
                    Ok(reply) => self.machine.started(Ok(reply)),
                    Err(text) => self.machine.started(Err(&self.logged("STARTCAP", &text))),
                }
            }
            Action::SetFilter(program) => {
                let result = self
                    .running
                    .as_ref()
                    .map_or(Ok(()), |c| c.running.control().set_filter(&instructions(&program)));
                match result {
                    Ok(()) => self.machine.filter_set(Ok(())),
                    Err(e) => self.machine.filter_set(Err(&self.logged("UPDATEFILTER", &e))),
                }
            }
            Action::ReadStats => match self.stats() {
                Ok(stats) => self.machine.stats(Ok(stats)),
                Err(e) => self.machine.stats(Err(&self.logged("STATS", &e))),
            },
            Action::Stop => {
                self.end_capture(true);
                self.machine.stopped(self.now());
            }
        }
    }

    /// What peers said is quoted, so that it cannot look like anything else in the line.
    fn log(&self, note: &Note) {
        let peer = self.control.peer;
        match note {
            Note::Authenticated => tracing::info!(%peer, "client accepted without a name"),
            Note::AuthRefused(text) => tracing::warn!(%peer, text, "client refused"),
            Note::PeerError(text) => tracing::warn!(%peer, text, "peer reports an error"),
            Note::Refused(code, text) => tracing::warn!(%peer, ?code, text, "request refused"),
        }
    }

    /// Logs why a request failed; the text is also what the client is told.
    fn logged(&self, request: &str, reason: &dyn std::fmt::Display) -> String {
        let text = reason.to_string();
        tracing::warn!(peer = %self.control.peer, request, text, "request failed");
        text
    }

    fn stats(&mut self) -> Result<Stats, capture::Error> {
        let ledger = match &self.running {
            Some(c) => c.running.ledger()?,
            None => self.last,
        };
        if self.shared.cli.log_statistics {
            let peer = self.control.peer;
            let way = self.running.as_ref().map(|c| c.running.way()).unwrap_or_default();
            tracing::info!(
                %peer, datagram_limit = way.datagram_limit, segmentation = way.segmentation,
                "statistics since asked before: {}", ledger.since(&self.asked).running()
            );
            tracing::info!(%peer, "statistics in all: {}", ledger.running());
            self.asked = ledger;
        }
        Ok(ledger.stats())
    }

    /// What the client's datagrams carry: as the command line says, otherwise what the client asks
    /// for.
    fn framing(&self, start: &Start) -> Framing {
        match self.shared.cli.udpstr_mtu {
            Some(0) => Framing::Messages,
            Some(mtu) => Framing::UdpStream(mtu),
            None if start.flags.contains(StartFlags::UDPSTR) => Framing::UdpStream(UDPSTR_MTU),
            None => Framing::Messages,
        }
    }

    /// The link type of a listed device. What a capture needs beyond that, a right or an interface
    /// that is up, STARTCAP will tell.
    fn linktype(&self, name: &str) -> Result<capture::LinkType, String> {
        match self.find(name)? {
            Kind::Interface => capture::linktype(name),
            Kind::Savefile(path) => capture::replay::open(path, &capture::Options::default(), true)
                .map(|capture| capture.linktype()),
        }
        .map_err(|e| e.to_string())
    }

    fn find(&self, name: &str) -> Result<Kind<'_>, String> {
        devices::find(name, &self.shared.cli.replay)
            .map_err(|e| e.to_string())?
            .ok_or_else(|| format!("{}: No such device exists", shown(name)))
    }

    /// Starts to capture from a listed device, the daemon's own traffic kept out.
    fn open(&self, name: &str, mut options: capture::Options) -> Result<capture::Capture, String> {
        match self.find(name)? {
            Kind::Interface => capture::linktype(name).and_then(|linktype| {
                options.guard = self.shared.own.guard(linktype);
                capture::open(name, &options)
            }),
            Kind::Savefile(path) => capture::replay::open(path, &options, true),
        }
        .map_err(|e| e.to_string())
    }

    /// Starts a capture: device first, then the data connection, so that a client is not connected
    /// to for nothing; the filter is on before the ring takes its first packet.
    fn start(&mut self, start: &Start) -> Result<StartReply, String> {
        let cli = &self.shared.cli;
        let options = capture::Options {
            snaplen: start.snaplen,
            promisc: start.promisc,
            ring_bytes: usize::try_from(cli.buffer).unwrap_or(usize::MAX),
            block_timeout: start.read_timeout.min(cli.latency),
            direction: match start.direction {
                Direction::Both => capture::Direction::Both,
                Direction::In => capture::Direction::In,
                Direction::Out => capture::Direction::Out,
            },
            filter: instructions(&start.filter),
            ..capture::Options::default()
        };
        let capture = self.open(&start.device, options)?;
        let watched = self.shared.own.watch(capture.control(), capture.linktype());
        let (local, peer) = (self.control.local, self.control.peer);
        // Hidden before its first packet can be.
        let hide = |flow| self.shared.own.hide(flow);
        let (data, hidden) = DataPath::open(start.data, local, peer, cli.data_port, hide)
            .map_err(|e| e.to_string())?;
        let framing = self.framing(start);
        let udpstr = matches!((start.data, framing), (DataChannel::Udp(_), Framing::UdpStream(_)));
        // Only what the client offered is confirmed.
        let offered = start.flags.contains(StartFlags::UDPSTR);
        let reply = StartReply {
            buffer_size: u32::try_from(capture.ring_bytes()).unwrap_or(u32::MAX),
            port: data.port(),
            extensions: if udpstr && offered { StartFlags::UDPSTR.0 } else { 0 },
        };
        let device = start.device.escape_debug().to_string();
        if let Some(asked) = capture.ring_shrunk() {
            tracing::warn!(
                %peer, device, asked, granted = capture.ring_bytes(),
                "capture buffer is smaller than asked: memory is short"
            );
        }
        tracing::info!(
            %peer, device, snaplen = start.snaplen, promisc = start.promisc,
            filter = start.filter.instructions().len(), data = ?start.data, udpstr,
            sampling = ?start.sampling, ring = capture.ring_bytes(), "capture started"
        );
        let (tell, waker) = (self.tell.clone(), Arc::clone(&self.waker));
        let tell = move |event| {
            // Neither fails while the session is there to hear it.
            let _ = tell.send(event);
            let _ = waker.wake();
        };
        let options = self.shared.transport.clone();
        let plan = Plan { sampling: start.sampling, framing, options };
        self.asked = Ledger::default();
        let running = Running::start(&start.device, capture, data, plan, tell)
            .map_err(|e| format!("starting the capture's thread: {e}"))?;
        self.running = Some(Capturing { running, _hidden: hidden, _watched: watched });
        Ok(reply)
    }
}

/// A name from a client as it can be logged and sent back: harmless, and short enough that what is
/// said of it is not cut off.
fn shown(name: &str) -> String {
    const LONGEST: usize = 64;
    let mut shown: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

fn instructions(program: &Program) -> Vec<capture::Instruction> {
    program
        .instructions()
        .iter()
        .map(|i| capture::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect()
}
