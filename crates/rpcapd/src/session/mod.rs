//! One client's session, on a thread of its own.

mod start;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::Waker;
use rpcap_proto::bpf::Program;
use rpcap_proto::session::{Action, Config, DaemonSession, EndReason, Next, Note, Timers};
use rpcap_proto::wire::{Clock, ErrorCode, Stats, write_error};

use crate::active::Callers;
use crate::auth::{By, Doorkeeper, Identity};
use crate::cli::Cli;
use crate::config;
use crate::control::{Control, ReadResult};
use crate::devices::shown;
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::limits::captures::Reserved;
use crate::listeners::Listeners;
use crate::own::{Hidden, OwnTraffic, Watched};
use crate::pump::{Event, Running};
use crate::sandbox::{Part, Paths, Sandbox};
use crate::sessions::{Ending, Entry, Sessions};
use crate::settings::{Current, Terms};
use crate::tls::{self, Tls};
use tracing::field::{DisplayValue, display};
use zeroize::{Zeroize, Zeroizing};

/// How often the kernel's counts of a capture are taken at least: they have 32 bits, which ten million
/// packets a second fill in seven minutes.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// What all sessions share.
#[derive(Debug)]
pub struct Shared {
    /// What the operator wants, as of now.
    pub settings: Current,
    /// Where the settings are from. Locked while it is read again, which happens once at a time.
    pub config: Mutex<config::Config>,
    /// All sessions.
    pub sessions: Arc<Sessions>,
    /// The collectors that are called.
    pub callers: Callers,
    /// The sockets that clients connect to.
    pub listeners: Listeners,
    /// Who compares passwords.
    pub doorkeeper: Doorkeeper,
    /// What this system is called.
    pub system: Arc<str>,
    /// What no capture may contain.
    pub own: Arc<OwnTraffic>,
    /// What all captures together may take of the host.
    pub limits: Arc<Limits>,
    /// What the daemon may do, and the files that it may read, once it is in its sandbox.
    pub sandbox: OnceLock<(Sandbox, Paths)>,
    /// Whether the daemon is about to end.
    pub shutdown: AtomicBool,
}

impl Shared {
    /// A file that these options name and that the sandbox does not let the daemon read.
    pub(crate) fn unreadable<'a>(&self, cli: &'a Cli) -> Option<&'a Path> {
        let (sandbox, paths) = self.sandbox.get()?;
        let enforced = matches!(sandbox.landlock, Part::Full | Part::Partial);
        paths.missing(cli).filter(|_| enforced)
    }
}

/// Serves one connection until it is over. Returns why it is, and whether the client had been
/// accepted.
pub fn serve(control: Control, terms: Terms, entry: &Entry, shared: &Shared) -> (End, bool) {
    let peer = control.peer;
    if !terms.active() {
        shared.own.hide_control(control.local);
        if let Some(allowed) = &terms.settings.cli.allow
            && !allowed.allows(peer.ip())
        {
            refuse(control, entry);
            return (End::Refused, false);
        }
    }
    tracing::info!(%peer, "session started");
    let began = Instant::now();
    let mut session = Session::new(control, terms, entry, shared);
    let end = session.run().unwrap_or_else(End::Connection);
    session.end_capture(false);
    let seconds = began.elapsed().as_secs();
    let Session { captures, packets, .. } = &session;
    let (user, by) = (session.user(), session.by());
    tracing::info!(%peer, user, by, seconds, captures, packets, "session ended: {end}");
    session.control.farewell();
    if let End::Session(reason) = &end
        && !matches!(reason, EndReason::Closed { .. } | EndReason::Eof)
    {
        entry.over();
        linger(session.control, entry);
    }
    (end, entry.seen().authenticated)
}

/// Nanoseconds since 1970.
fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Tells a client that it may not connect.
fn refuse(mut control: Control, entry: &Entry) {
    tracing::warn!(peer = %control.peer, "refused: not on the list of allowed hosts");
    let mut refusal = Vec::new();
    let text = "The host is not in the allowed host list. Connection refused.";
    write_error(&mut refusal, 0, ErrorCode::HostNotAllowed, text);
    entry.over();
    if control.write_all(&mut refusal).is_ok() {
        linger(control, entry);
    }
}

/// Lets a client read why its session is over, unless another one needs its place.
fn linger(control: Control, entry: &Entry) {
    control.linger(|| entry.ending().is_some());
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// For a reason of the protocol.
    #[error("{0}")]
    Session(EndReason),
    /// The client may not connect.
    #[error("not on the list of allowed hosts")]
    Refused,
    /// The daemon ends.
    #[error("daemon stops")]
    Shutdown,
    /// A change of the configuration has no place for the client.
    #[error("no longer wanted")]
    Unwanted,
    /// Others needed its place.
    #[error("no authentication, and others need its place")]
    PlaceNeeded,
    /// The control connection failed.
    #[error("control connection: {0}")]
    Connection(io::Error),
}

/// A capture and what goes with it.
struct Capturing {
    running: Running,
    /// When the kernel's counts were taken last.
    counted: Instant,
    /// The filter that bounds the client's.
    ceiling: Option<Program>,
    _hidden: Hidden,
    _watched: Watched,
    _reserved: Reserved,
}

struct Session<'a> {
    shared: &'a Shared,
    terms: Terms,
    entry: &'a Entry,
    control: Control,
    /// What the connection is to be encrypted with, until the client's first byte decides.
    undecided: Option<Tls>,
    /// When the client has to know us, if the connection is encrypted.
    greeted_by: Option<Instant>,
    machine: DaemonSession,
    epoch: Instant,
    /// What the wall clock said when something was read last.
    heard: u64,
    running: Option<Capturing>,
    /// Who the client's certificate says it is, until its AUTH says as whom it comes.
    certified: Option<Identity>,
    /// The name under which the client was accepted, if it has one, as it can be logged, and how it
    /// proved it.
    user: Option<(String, By)>,
    /// Captures so far whose datagrams were sealed.
    sealed: u32,
    /// Captures that are over, and the packets that were sent of them.
    captures: u32,
    packets: u64,
    /// The ledger of the last capture, for those who ask after it ended.
    last: Ledger,
    /// The ledger when the client last asked for it during this capture.
    asked: Ledger,
    events: Receiver<Event>,
    tell: Sender<Event>,
    waker: Arc<Waker>,
}

impl<'a> Session<'a> {
    fn new(control: Control, terms: Terms, entry: &'a Entry, shared: &'a Shared) -> Self {
        let cli = &terms.settings.cli;
        let config = Config {
            null_auth: cli.null_auth,
            active: terms.active(),
            timers: Timers {
                init: cli.init_timeout,
                idle: cli.idle_timeout,
                message: cli.message_timeout,
                ..Timers::default()
            },
            system: Some(Arc::clone(&shared.system)),
        };
        let (tell, events) = mpsc::channel();
        Self {
            shared,
            entry,
            machine: DaemonSession::new(config, Duration::ZERO),
            epoch: Instant::now(),
            heard: 0,
            running: None,
            certified: None,
            user: None,
            sealed: 0,
            captures: 0,
            packets: 0,
            last: Ledger::default(),
            asked: Ledger::default(),
            events,
            tell,
            waker: control.waker(),
            control,
            undecided: terms.tls().cloned(),
            greeted_by: None,
            terms,
        }
    }

    /// The name under which the client was accepted, as it can be logged.
    fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|(name, _)| name.as_str())
    }

    /// How it proved it.
    fn by(&self) -> Option<DisplayValue<By>> {
        self.user.as_ref().map(|(_, by)| display(*by))
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
            match self.entry.ending() {
                None => {}
                Some(Ending::Unwanted) => return Ok(End::Unwanted),
                Some(Ending::PlaceNeeded) => return Ok(End::PlaceNeeded),
            }
            let read = if self.machine.wants_input() {
                self.control.read(&mut buf)?
            } else {
                ReadResult::Nothing
            };
            match read {
                ReadResult::Bytes(n) => {
                    self.heard = wall_clock();
                    let taken = self.receive(&buf[..n]);
                    // A password may be in it.
                    buf[..n].zeroize();
                    taken?;
                }
                ReadResult::Eof => self.machine.receive_eof(),
                ReadResult::Nothing => {
                    let deadline = self.machine.deadline().map(|d| self.epoch + d);
                    let greeting = self.greeted_by.filter(|_| self.control.is_handshaking());
                    if greeting.is_some_and(|by| Instant::now() >= by) {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "TLS handshake"));
                    }
                    let counting = self.running.as_ref().map(|_| Instant::now() + COUNT_EVERY);
                    self.control
                        .wait(deadline.into_iter().chain(greeting).chain(counting).min())?;
                    self.count();
                }
            }
        }
    }

    /// Has the kernel's counts taken, if it is time: while a capture waits for its client, nobody else
    /// does.
    fn count(&mut self) {
        if let Some(Capturing { running, counted, .. }) = &mut self.running
            && counted.elapsed() >= COUNT_EVERY
        {
            *counted = Instant::now();
            // An error is told to those who ask.
            let _ = running.gauge.ledger();
        }
    }

    /// Takes what was read. The first byte of all decides whether the connection is encrypted.
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = self.undecided.take() {
            if bytes[0] == tls::HANDSHAKE {
                self.greeted_by = Some(Instant::now() + self.terms.settings.cli.init_timeout);
                return self.control.encrypt(&tls, bytes);
            }
            self.machine.require_tls();
        }
        if self.greeted_by.take().is_some() {
            // The first that it says, so the handshake is over.
            let name = self.control.certified_name();
            let settings = self.shared.settings.get();
            self.certified = name.and_then(|name| settings.users.of_certificate(&name));
            if self.certified.is_some() {
                self.machine.permit_null();
            }
        }
        self.machine.receive(bytes);
        Ok(())
    }

    /// Lets the client in as somebody, unless a reload has taken that away meanwhile: it either finds
    /// the name in the list of sessions, or is seen here.
    fn accept(&mut self, identity: Identity) {
        let Identity { name, by, rights } = identity;
        let peer = self.control.peer;
        let user = shown(&name);
        tracing::info!(%peer, user, %by, "client accepted");
        self.entry.authenticated(Some((name.clone(), by)));
        let settings = self.shared.settings.get();
        if !settings.users.allow(&name, by, settings.cli.accounts()) {
            self.entry.end(Ending::Unwanted);
        }
        self.user = Some((user, by));
        self.terms.rights = rights;
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
        // What belongs to the capture is given back when it is over.
        let Some(capturing) = self.running.take() else {
            return;
        };
        let running = capturing.running;
        let device = Arc::clone(&running.gauge.device);
        let seconds = running.gauge.since.elapsed().as_secs_f64();
        self.last = running.end(deliver_rest);
        self.shared.sessions.capture_ended(self.entry, &self.last);
        self.captures += 1;
        self.packets += self.last.counts.sent.packets;
        // A message of the ended capture is not one of the next.
        while self.events.try_recv().is_ok() {}
        let peer = self.control.peer;
        let (user, by) = (self.user(), self.by());
        tracing::info!(%peer, user, by, device = &*device, "capture ended: seconds={seconds:.3} {}", self.last);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Note(note) => self.log(&note),
            Action::Authenticate { user, password } => {
                self.log_in(&user, &Zeroizing::new(password));
            }
            Action::ListDevices => match self.terms.devices().list() {
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
            Action::SetFilter(program) => match self.set_filter(&program) {
                Ok(()) => self.machine.filter_set(Ok(())),
                Err(text) => self.machine.filter_set(Err(&self.logged("UPDATEFILTER", &text))),
            },
            Action::ReadStats => {
                let stats = self.stats().map_err(|e| self.logged("STATS", &e));
                let clock = Clock { taken: self.heard, replied: wall_clock() };
                self.machine.stats(stats.as_ref().copied().map_err(String::as_str), clock);
            }
            Action::Stop => {
                self.end_capture(true);
                self.machine.stopped(self.now());
            }
        }
    }

    /// Lets a client in that gives a name and a password, or not. It learns no more than that.
    fn log_in(&mut self, user: &[u8], password: &[u8]) {
        let peer = self.control.peer;
        let cli = &self.terms.settings.cli;
        if !self.control.is_encrypted() && !cli.allow_cleartext_passwords {
            tracing::warn!(%peer, "password refused: the connection is not encrypted");
            let text = "Authentication failed; passwords are taken over encrypted connections only";
            return self.machine.authenticated(Err(text), self.now());
        }
        // Those of now: somebody may have been taken out since the session began.
        let settings = self.shared.settings.get();
        let (users, accounts) = (&settings.users, settings.cli.accounts());
        let shown = shown(&String::from_utf8_lossy(user));
        match self.shared.doorkeeper.login(users, accounts, peer.ip(), user, password) {
            Ok(identity) => {
                self.accept(identity);
                self.machine.authenticated(Ok(()), self.now());
            }
            Err(reason) => {
                tracing::warn!(%peer, user = shown, "password refused: {reason}");
                self.machine.authenticated(Err("Authentication failed"), self.now());
            }
        }
    }

    /// What peers said is quoted, so that it cannot look like anything else in the line.
    fn log(&mut self, note: &Note) {
        let peer = self.control.peer;
        match note {
            Note::Authenticated => match self.certified.take() {
                Some(identity) => self.accept(identity),
                None => {
                    self.entry.authenticated(None);
                    tracing::info!(%peer, "client accepted without a name");
                    // As in `accept`.
                    if !self.shared.settings.get().cli.null_auth {
                        self.entry.end(Ending::Unwanted);
                    }
                }
            },
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
            Some(c) => c.running.gauge.ledger()?,
            None => self.last,
        };
        if self.terms.settings.cli.log_statistics {
            let peer = self.control.peer;
            let way = self.running.as_ref().map(|c| c.running.gauge.way()).unwrap_or_default();
            tracing::info!(
                %peer, datagram_limit = way.datagram_limit, segmentation = way.segmentation,
                "statistics since asked before: {}", ledger.since(&self.asked).running()
            );
            tracing::info!(%peer, "statistics in all: {}", ledger.running());
            self.asked = ledger;
        }
        Ok(ledger.stats())
    }
}
