//! The daemon's end of a control connection (docs/protocol.md, "States").

use core::time::Duration;

use zeroize::Zeroizing;

use super::action::{Action, Config, EndReason, Next, Note};
use super::open::device_name;
use super::start::{BadStart, Start};
use crate::bpf::Program;
use crate::deframe::{Deframer, Frame};
use crate::wire::{
    AuthReply, AuthRequest, Clock, Device, ErrorCode, FilterBlock, Header, Malformed, Mark,
    MarkedStats, MessageType, OpenReply, Reader, Sampling, StartFlags, StartReply, Stats,
    StatsRequest, TELL_SYSTEM, VERSION, error_text, write_devices, write_empty, write_error,
};

/// Most payload that is kept of any request: a STARTCAP with the longest filter.
pub const MAX_REQUEST_PAYLOAD: u32 = 20 + 8 * 8192;

/// Failed tries before a connection is ended.
const MAX_AUTH_FAILURES: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capture {
    None,
    Running,
    /// Ended by itself. The client was told; it may still end it, or start another.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Authenticate,
    Devices,
    Open,
    Start,
    Filter,
    Stats,
    Stop,
}

/// The daemon's end of a control connection.
#[derive(Debug)]
pub struct DaemonSession {
    config: Config,
    input: Deframer,
    output: Vec<u8>,
    eof: bool,
    seen_first_byte: bool,
    authenticated: bool,
    tls_required: bool,
    auth_failures: u32,
    device: Option<String>,
    opening: Option<String>,
    sampling: Sampling,
    capture: Capture,
    /// Whether the OPEN that is pending asked for the system's name.
    wants_system: bool,
    /// Whether the client was told that it may ask for the clock.
    tells_clock: bool,
    pending: Option<Pending>,
    /// The mark of the STATS that is pending.
    mark: Option<Mark>,
    /// When the wait for a request, or for an AUTH, began.
    waiting_since: Duration,
    /// When the first byte of an incomplete message was seen.
    message_since: Option<Duration>,
    /// When a STARTCAP was seen that may have a tail.
    undecided_since: Option<Duration>,
    paused_until: Option<Duration>,
}

impl DaemonSession {
    /// A session on a connection that was made at `now`.
    pub fn new(config: Config, now: Duration) -> Self {
        Self {
            config,
            input: Deframer::tolerant(MAX_REQUEST_PAYLOAD),
            output: Vec::new(),
            eof: false,
            seen_first_byte: false,
            authenticated: false,
            tls_required: false,
            auth_failures: 0,
            device: None,
            opening: None,
            sampling: Sampling::None,
            capture: Capture::None,
            wants_system: false,
            tells_clock: false,
            pending: None,
            mark: None,
            waiting_since: now,
            message_since: None,
            undecided_since: None,
            paused_until: None,
        }
    }

    /// Takes bytes that came.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.push(bytes);
    }

    /// Whether bytes are wanted. While an answer is owed or a pause runs they are left to the
    /// kernel, which holds the peer back.
    pub fn wants_input(&self) -> bool {
        self.pending.is_none() && self.paused_until.is_none() && !self.eof
    }

    /// Takes note that no more bytes will come. What came before is still answered.
    pub fn receive_eof(&mut self) {
        self.eof = true;
    }

    /// Bytes to send; the program empties it as it sends.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// When to call [`Self::poll`] again even if nothing comes.
    pub fn deadline(&self) -> Option<Duration> {
        if self.pending.is_some() {
            return None;
        }
        if self.paused_until.is_some() {
            return self.paused_until;
        }
        let timers = &self.config.timers;
        if let Some(since) = self.undecided_since {
            // A whole message is there: only how long it is remains to be seen.
            return Some(since + timers.tail);
        }
        [
            self.message_since.map(|t| t + timers.message),
            self.patience().map(|p| self.waiting_since + p),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How long a peer that sends nothing is waited for.
    fn patience(&self) -> Option<Duration> {
        match (self.config.active, self.authenticated, self.capture) {
            (true, ..) | (_, _, Capture::Running | Capture::Failed) => None,
            (_, false, _) => Some(self.config.timers.init),
            (_, true, _) => Some(self.config.timers.idle),
        }
    }

    /// What comes next at the time `now`.
    pub fn poll(&mut self, now: Duration) -> Next {
        if self.pending.is_some() {
            return Next::Wait;
        }
        if let Some(until) = self.paused_until {
            if now < until {
                return Next::Wait;
            }
            self.paused_until = None;
            self.waiting_since = now;
        }
        if self.auth_failures >= MAX_AUTH_FAILURES {
            return Next::End(EndReason::AuthFailures);
        }
        if let Some(end) = self.refuse_tls() {
            return Next::End(end);
        }
        loop {
            let timers = self.config.timers;
            match self.input.next_frame() {
                Frame::Incomplete { undecided: true, .. } => {
                    let since = *self.undecided_since.get_or_insert(now);
                    if !self.eof && now < since + timers.tail {
                        return Next::Wait;
                    }
                    self.input.settle();
                }
                Frame::Incomplete { .. } if self.eof => return Next::End(EndReason::Eof),
                Frame::Incomplete { started, .. } => {
                    if !started {
                        self.message_since = None;
                    } else if now >= *self.message_since.get_or_insert(now) + timers.message {
                        return Next::End(EndReason::MessageTimeout);
                    }
                    return self.wait_for_peer(now);
                }
                Frame::Oversize(header) if self.tls_required => {
                    let version = header.version;
                    return Next::End(self.no_tls(version));
                }
                Frame::Message(header, _) if self.tls_required => {
                    let version = header.version;
                    return Next::End(self.no_tls(version));
                }
                Frame::Oversize(header) => return Next::End(self.oversize(header)),
                Frame::Message(header, payload) => {
                    self.message_since = None;
                    self.undecided_since = None;
                    // What is refused before an AUTH buys no more time for one.
                    if self.authenticated || header.kind == MessageType::AuthRequest {
                        self.waiting_since = now;
                    }
                    // The payload is the buffer's, which handling a message may not keep borrowed.
                    let payload = Zeroizing::new(payload.to_vec());
                    let next = self.handle(header, &payload, now);
                    if header.kind == MessageType::AuthRequest {
                        self.input.wipe();
                    }
                    if let Some(next) = next {
                        return next;
                    }
                }
            }
        }
    }

    fn wait_for_peer(&mut self, now: Duration) -> Next {
        match self.patience() {
            Some(patience) if now >= self.waiting_since + patience => {
                let (code, text, end) = if self.authenticated {
                    (
                        ErrorCode::RuntimeTimeout,
                        "The RPCAP runtime timeout has expired",
                        EndReason::IdleTimeout,
                    )
                } else {
                    (
                        ErrorCode::InitTimeout,
                        "The RPCAP initial timeout has expired",
                        EndReason::InitTimeout,
                    )
                };
                self.error(code, text);
                Next::End(end)
            }
            _ => Next::Wait,
        }
    }

    /// To be told when the peer began without TLS where that is required: its first message is
    /// answered with that, and nothing else.
    pub fn require_tls(&mut self) {
        self.tls_required = true;
    }

    /// To be told when the peer has proved who it is before it said anything, so that an AUTH without
    /// a name is enough.
    pub fn permit_null(&mut self) {
        self.config.null_auth = true;
    }

    fn no_tls(&mut self, version: u8) -> EndReason {
        let text = "TLS is required by this server";
        write_error(&mut self.output, version, ErrorCode::TlsRequired, text);
        EndReason::NoTls
    }

    /// A peer whose first byte starts a TLS record gets the alert that TLS peers understand.
    fn refuse_tls(&mut self) -> Option<EndReason> {
        const HANDSHAKE: u8 = 22;
        const RECORD_HEADER_LEN: usize = 5;
        if self.seen_first_byte {
            return None;
        }
        match *self.input.buffered() {
            [HANDSHAKE, major, minor, ..] if self.input.buffered().len() >= RECORD_HEADER_LEN => {
                // Alert record of two bytes: fatal, handshake_failure (RFC 8446 section 6).
                self.output.extend_from_slice(&[21, major, minor, 0, 2, 2, 40]);
                Some(EndReason::Tls)
            }
            [HANDSHAKE, ..] | [] => None,
            _ => {
                self.seen_first_byte = true;
                None
            }
        }
    }

    fn oversize(&mut self, header: Header) -> EndReason {
        if header.version != VERSION {
            return self.wrong_version(header.version);
        }
        match header.kind {
            MessageType::Close => {
                return EndReason::Closed { authenticated: self.authenticated };
            }
            MessageType::Error => {}
            kind => {
                let (code, text) = match self.misplaced(kind) {
                    Some(text) => (ErrorCode::WrongMessage, text),
                    None => (code_of(kind), "Message payload is too long".to_owned()),
                };
                self.error(code, &text);
            }
        }
        EndReason::Oversize(header.len)
    }

    fn wrong_version(&mut self, version: u8) -> EndReason {
        let text = if self.authenticated {
            "RPCAP version in message isn't supported by the server"
        } else {
            "RPCAP version in requests in the authentication phase must be 0"
        };
        write_error(&mut self.output, version, ErrorCode::WrongVersion, text);
        EndReason::Version(version)
    }

    /// Why a message of this type may not be sent now, if it may not.
    fn misplaced(&self, kind: MessageType) -> Option<String> {
        let name = kind.name().unwrap_or_default();
        match kind {
            MessageType::Unknown(n) => Some(format!("Unknown message type {n}")),
            kind if kind.is_from_daemon() => {
                Some(format!("Server-to-client message {name} received from client"))
            }
            MessageType::Error | MessageType::Close => None,
            MessageType::AuthRequest if self.authenticated => {
                Some(format!("{name} request sent after authentication was completed"))
            }
            MessageType::AuthRequest => None,
            _ if !self.authenticated => {
                Some(format!("{name} request sent before authentication was completed"))
            }
            _ => None,
        }
    }

    fn handle(&mut self, header: Header, payload: &[u8], now: Duration) -> Option<Next> {
        if header.version != VERSION {
            return Some(Next::End(self.wrong_version(header.version)));
        }
        if let Some(text) = self.misplaced(header.kind) {
            // A client that was accepted and then loses the thread has lost it for good.
            if self.authenticated {
                self.error(ErrorCode::WrongMessage, &text);
                return Some(Next::End(EndReason::WrongMessage(text)));
            }
            // Each is answered and logged: a stranger gets no more of them than of logins.
            self.auth_failures += 1;
            return Some(self.refuse(ErrorCode::WrongMessage, text));
        }
        match header.kind {
            MessageType::Close => {
                let authenticated = self.authenticated;
                Some(Next::End(EndReason::Closed { authenticated }))
            }
            MessageType::Error => {
                let text = error_text(payload);
                Some(if self.authenticated {
                    Next::Do(Action::Note(Note::PeerError(text)))
                } else {
                    Next::End(EndReason::PeerError(text))
                })
            }
            MessageType::AuthRequest => self.handle_auth(payload, now),
            kind => match self.handle_request(header, payload) {
                Ok((pending, action)) => {
                    self.pending = pending;
                    action.map(Next::Do)
                }
                Err(text) => Some(self.refuse(code_of(kind), text)),
            },
        }
    }

    fn handle_auth(&mut self, payload: &[u8], now: Duration) -> Option<Next> {
        match AuthRequest::read(payload) {
            Ok(AuthRequest::Null) if self.config.null_auth => {
                self.pending = Some(Pending::Authenticate);
                self.authenticated(Ok(()), now);
                Some(Next::Do(Action::Note(Note::Authenticated)))
            }
            Ok(AuthRequest::Null) => Some(self.refuse_auth(
                ErrorCode::AuthFailed,
                "Authentication failed; NULL authentication not permitted.",
            )),
            Ok(AuthRequest::Password { user, password }) => {
                self.pending = Some(Pending::Authenticate);
                Some(Next::Do(Action::Authenticate {
                    user: user.to_vec(),
                    password: password.to_vec(),
                }))
            }
            Ok(AuthRequest::Unknown(_)) => Some(self.refuse_auth(
                ErrorCode::AuthTypeNotSupported,
                "Authentication type not recognized.",
            )),
            Err(e) => Some(self.refuse_auth(ErrorCode::Auth, &e.to_string())),
        }
    }

    fn refuse_auth(&mut self, code: ErrorCode, text: &str) -> Next {
        self.error(code, text);
        self.auth_failures += 1;
        Next::Do(Action::Note(Note::AuthRefused(text.to_owned())))
    }

    /// What a request of an accepted client asks for, or why it cannot be.
    fn handle_request(
        &mut self,
        header: Header,
        payload: &[u8],
    ) -> Result<(Option<Pending>, Option<Action>), String> {
        let (pending, action) = match header.kind {
            MessageType::FindAllIfRequest => (Pending::Devices, Action::ListDevices),
            MessageType::OpenRequest => {
                self.device = None;
                let name = device_name(payload)?;
                self.opening = Some(name.clone());
                self.wants_system = header.value & TELL_SYSTEM != 0;
                (Pending::Open, Action::Open(name))
            }
            MessageType::StartCaptureRequest => {
                if self.capture == Capture::Running {
                    return Err("A capture is already running".to_owned());
                }
                let device = self.device.as_deref().ok_or("No capture device was specified")?;
                let start = Start::from_payload(payload, device, self.sampling, self.config.active)
                    .map_err(|e: BadStart| e.to_string())?;
                (Pending::Start, Action::Start(Box::new(start)))
            }
            MessageType::UpdateFilterRequest => {
                if self.capture != Capture::Running {
                    return Err("Device not opened. Cannot update filter".to_owned());
                }
                let block = FilterBlock::read(&mut Reader::new(payload))
                    .map_err(|e: Malformed| e.to_string())?;
                let program = Program::new(block.instructions)
                    .map_err(|e| format!("The filter is not valid: {e}"))?;
                (Pending::Filter, Action::SetFilter(program))
            }
            MessageType::StatsRequest => {
                self.mark = StatsRequest::read(payload).mark.filter(|_| self.tells_clock);
                (Pending::Stats, Action::ReadStats)
            }
            MessageType::EndCaptureRequest => {
                if self.capture == Capture::None {
                    return Err("Device not opened. Cannot close the capture".to_owned());
                }
                (Pending::Stop, Action::Stop)
            }
            MessageType::SetSamplingRequest => {
                self.sampling = Sampling::read(payload).map_err(|e| e.to_string())?;
                write_empty(&mut self.output, MessageType::SetSamplingReply);
                return Ok((None, None));
            }
            // `misplaced` answers all others.
            _ => return Ok((None, None)),
        };
        Ok((Some(pending), Some(action)))
    }

    fn error(&mut self, code: ErrorCode, text: &str) {
        write_error(&mut self.output, VERSION, code, text);
    }

    fn refuse(&mut self, code: ErrorCode, text: String) -> Next {
        self.error(code, &text);
        Next::Do(Action::Note(Note::Refused(code, text)))
    }

    /// Whether `pending` is what the program was asked for; an answer to nothing says nothing.
    fn answers(&mut self, pending: Pending) -> bool {
        let asked = self.pending == Some(pending);
        if asked {
            self.pending = None;
        }
        debug_assert!(asked, "an answer to nothing");
        asked
    }

    /// Answers [`Action::Authenticate`]; the error's text goes to the client.
    pub fn authenticated(&mut self, result: Result<(), &str>, now: Duration) {
        if !self.answers(Pending::Authenticate) {
            return;
        }
        self.waiting_since = now;
        match result {
            Ok(()) => {
                self.authenticated = true;
                AuthReply::OURS.write(&mut self.output);
            }
            Err(text) => {
                self.auth_failures += 1;
                self.error(ErrorCode::AuthFailed, text);
                self.paused_until = Some(now + self.config.timers.auth_pause);
            }
        }
    }

    /// Answers [`Action::ListDevices`].
    pub fn devices(&mut self, result: Result<&[Device], &str>) {
        if !self.answers(Pending::Devices) {
            return;
        }
        match result {
            Ok([]) => {
                self.error(ErrorCode::NoRemoteIf, "There are no devices that can be captured from");
            }
            Ok(devices) => write_devices(&mut self.output, devices),
            Err(text) => self.error(ErrorCode::FindAllIf, text),
        }
    }

    /// Answers [`Action::Open`] with the device's link type.
    pub fn opened(&mut self, result: Result<u32, &str>) {
        if !self.answers(Pending::Open) {
            return;
        }
        let name = self.opening.take();
        match result {
            Ok(linktype) => {
                self.device = name;
                let system = self.config.system.as_deref().filter(|_| self.wants_system);
                let system = system.map(str::to_owned);
                OpenReply { linktype, system }.write(&mut self.output);
            }
            Err(text) => self.error(ErrorCode::Open, text),
        }
    }

    /// Answers [`Action::Start`].
    pub fn started(&mut self, result: Result<StartReply, &str>) {
        if !self.answers(Pending::Start) {
            return;
        }
        match result {
            Ok(reply) => {
                self.capture = Capture::Running;
                self.tells_clock = StartFlags(reply.extensions).contains(StartFlags::CLOCK);
                reply.write(&mut self.output);
            }
            Err(text) => {
                self.capture = Capture::None;
                self.error(ErrorCode::StartCapture, text);
            }
        }
    }

    /// Answers [`Action::SetFilter`]; after an error the old filter still holds.
    pub fn filter_set(&mut self, result: Result<(), &str>) {
        if !self.answers(Pending::Filter) {
            return;
        }
        match result {
            Ok(()) => write_empty(&mut self.output, MessageType::UpdateFilterReply),
            Err(text) => self.error(ErrorCode::UpdateFilter, text),
        }
    }

    /// Answers [`Action::ReadStats`]. The client gets the clock only if it asked for that too.
    pub fn stats(&mut self, result: Result<Stats, &str>, clock: Clock) {
        if !self.answers(Pending::Stats) {
            return;
        }
        match (result, self.mark.take()) {
            (Ok(stats), None) => stats.write(&mut self.output),
            (Ok(stats), Some(mark)) => MarkedStats { stats, mark, clock }.write(&mut self.output),
            (Err(text), _) => self.error(ErrorCode::GetStats, text),
        }
    }

    /// Answers [`Action::Stop`], which cannot fail.
    pub fn stopped(&mut self, now: Duration) {
        if self.answers(Pending::Stop) {
            self.capture = Capture::None;
            self.waiting_since = now;
            write_empty(&mut self.output, MessageType::EndCaptureReply);
        }
    }

    /// Tells the client that its capture ended by itself.
    pub fn capture_failed(&mut self, text: &str) {
        if self.capture == Capture::Running {
            self.capture = Capture::Failed;
            self.error(ErrorCode::Read, text);
        }
    }
}

/// The code of an error that answers a request of this type.
fn code_of(kind: MessageType) -> ErrorCode {
    match kind {
        MessageType::AuthRequest => ErrorCode::Auth,
        MessageType::FindAllIfRequest => ErrorCode::FindAllIf,
        MessageType::OpenRequest => ErrorCode::Open,
        MessageType::StartCaptureRequest => ErrorCode::StartCapture,
        MessageType::UpdateFilterRequest => ErrorCode::UpdateFilter,
        MessageType::StatsRequest => ErrorCode::GetStats,
        MessageType::EndCaptureRequest => ErrorCode::EndCapture,
        MessageType::SetSamplingRequest => ErrorCode::SetSampling,
        _ => ErrorCode::WrongMessage,
    }
}
