//! The client's end of a control connection.

use crate::deframe::{Deframer, Frame};
use crate::wire::{
    AuthReply, AuthRequest, Clock, Device, ErrorCode, FilterBlock, Header, Malformed, Mark,
    MarkedStats, MessageType, OpenReply, Sampling, StartFlags, StartReply, StartRequest, Stats,
    StatsRequest, TELL_SYSTEM, VERSION, error_text, read_devices, write_empty, write_message,
};

/// Most payload that is kept of a reply: a list of about 32,000 addresses.
const MAX_REPLY_PAYLOAD: u32 = 16 * 1024 * 1024;

/// What a client asks a daemon for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// To be let in; the first request of every session.
    Authenticate(AuthRequest<'a>),
    /// The list of devices.
    ListDevices,
    /// A device, by the name in the list.
    Open(&'a str),
    /// To leave packets out of the next capture.
    SetSampling(Sampling),
    /// A capture from the device that was opened.
    Start(&'a StartRequest),
    /// Another filter for the running capture.
    UpdateFilter(&'a FilterBlock),
    /// The counters of the running or the last capture.
    Stats,
    /// The end of the capture.
    EndCapture,
}

/// What a daemon said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client is accepted.
    Authenticated(AuthReply),
    /// The devices.
    Devices(Vec<Device>),
    /// The device can be captured from.
    Opened(OpenReply),
    /// The next capture is sampled.
    SamplingSet,
    /// The capture runs.
    Started(StartReply),
    /// The filter is changed.
    FilterSet,
    /// The counters, and the daemon's clock if it tells it: see [`StartFlags::CLOCK`].
    Stats(Stats, Option<Clock>),
    /// The capture is over.
    Ended,
    /// The request is refused; the session goes on, unless the daemon then ends it.
    Refused {
        /// See [`ErrorCode`]; other numbers are possible.
        code: u16,
        /// One harmless line, possibly empty.
        text: String,
    },
    /// An error that answers no request, such as the end of a capture by itself.
    Pushed {
        /// See [`ErrorCode`]; other numbers are possible.
        code: u16,
        /// One harmless line, possibly empty.
        text: String,
    },
}

/// A session that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A reply's bytes are not a reply.
    #[error("the daemon's {kind:?} is malformed: {source}")]
    Malformed {
        /// Which reply.
        kind: MessageType,
        /// What is wrong.
        source: Malformed,
    },
    /// A reply is longer than any may be.
    #[error("the daemon's {kind:?} claims {len} bytes")]
    Oversize {
        /// Which message.
        kind: MessageType,
        /// Its length.
        len: u32,
    },
    /// A message that was not asked for.
    #[error("the daemon sent {got:?} where {expected:?} was expected")]
    Unexpected {
        /// What came.
        got: MessageType,
        /// What should have.
        expected: Option<MessageType>,
    },
    /// A version that nobody speaks.
    #[error("the daemon speaks protocol version {0}, this program speaks 0")]
    Version(u8),
    /// A request before the last one was answered: the program's own fault.
    #[error("a request is still unanswered")]
    Busy,
    /// A request that cannot be put into bytes.
    #[error(transparent)]
    Request(Malformed),
}

/// The client's end of a control connection.
#[derive(Debug)]
pub struct ClientSession {
    input: Deframer,
    output: Vec<u8>,
    expected: Option<MessageType>,
    /// Whether the last STARTCAP offered to ask for the clock, and whether the daemon tells it.
    offers_clock: bool,
    tells_clock: bool,
    /// The mark of the last STATS that had one.
    mark: Mark,
}

impl Default for ClientSession {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientSession {
    /// A session on a new connection.
    pub fn new() -> Self {
        Self::with_longest_reply(MAX_REPLY_PAYLOAD)
    }

    /// The same with less room for a reply, in bytes of payload: for a client that has many
    /// sessions.
    pub fn with_longest_reply(payload: u32) -> Self {
        Self {
            input: Deframer::new(payload),
            output: Vec::new(),
            expected: None,
            offers_clock: false,
            tells_clock: false,
            mark: Mark::default(),
        }
    }

    /// Puts a request into [`Self::output`]. One may be unanswered at a time.
    pub fn request(&mut self, request: &Request<'_>) -> Result<(), ClientError> {
        if self.expected.is_some() {
            return Err(ClientError::Busy);
        }
        let out = &mut self.output;
        self.expected = Some(match request {
            Request::Authenticate(auth) => {
                auth.write(out).map_err(ClientError::Request)?;
                MessageType::AuthReply
            }
            Request::ListDevices => {
                write_empty(out, MessageType::FindAllIfRequest);
                MessageType::FindAllIfReply
            }
            Request::Open(name) => {
                write_message(out, MessageType::OpenRequest, TELL_SYSTEM, |b| {
                    b.extend_from_slice(name.as_bytes());
                });
                MessageType::OpenReply
            }
            Request::SetSampling(sampling) => {
                sampling.write(out);
                MessageType::SetSamplingReply
            }
            Request::Start(start) => {
                self.offers_clock = start.flags.contains(StartFlags::CLOCK);
                start.write(out);
                MessageType::StartCaptureReply
            }
            Request::UpdateFilter(filter) => {
                write_message(out, MessageType::UpdateFilterRequest, 0, |b| filter.write(b));
                MessageType::UpdateFilterReply
            }
            Request::Stats => {
                let mark = self.tells_clock.then(|| {
                    self.mark = u64::from_be_bytes(self.mark).wrapping_add(1).to_be_bytes();
                    self.mark
                });
                StatsRequest { mark }.write(out);
                MessageType::StatsReply
            }
            Request::EndCapture => {
                write_empty(out, MessageType::EndCaptureRequest);
                MessageType::EndCaptureReply
            }
        });
        Ok(())
    }

    /// Puts a CLOSE into [`Self::output`]. It is not answered.
    pub fn close(&mut self) {
        write_empty(&mut self.output, MessageType::Close);
    }

    /// Bytes to send; the program empties it as it sends.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Takes bytes that came.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.push(bytes);
    }

    /// Whether the daemon tells its clock with the counters of this capture.
    pub fn tells_clock(&self) -> bool {
        self.tells_clock
    }

    /// Whether a request is unanswered.
    pub fn is_waiting(&self) -> bool {
        self.expected.is_some()
    }

    /// What the daemon said next, or `None` until more bytes come.
    pub fn poll(&mut self) -> Result<Option<Event>, ClientError> {
        let (header, payload) = match self.input.next_frame() {
            Frame::Incomplete { .. } => return Ok(None),
            Frame::Oversize(Header { kind, len, .. }) => {
                return Err(ClientError::Oversize { kind, len });
            }
            Frame::Message(header, payload) => (header, payload),
        };
        let kind = header.kind;
        if kind == MessageType::Error {
            // An error about the version carries a version of its own.
            let (code, text) = (header.value, error_text(payload));
            return Ok(Some(if self.expected.is_none() || is_pushed(code) {
                Event::Pushed { code, text }
            } else {
                self.expected = None;
                Event::Refused { code, text }
            }));
        }
        if header.version != VERSION {
            return Err(ClientError::Version(header.version));
        }
        if self.expected != Some(kind) {
            return Err(ClientError::Unexpected { got: kind, expected: self.expected });
        }
        self.expected = None;
        let event = match kind {
            MessageType::AuthReply => AuthReply::read(payload).map(Event::Authenticated),
            MessageType::FindAllIfReply => read_devices(payload, header.value).map(Event::Devices),
            MessageType::OpenReply => OpenReply::read(payload, header.value).map(Event::Opened),
            MessageType::StartCaptureReply => StartReply::read(payload).map(Event::Started),
            MessageType::StatsReply if self.tells_clock => {
                MarkedStats::read(payload).map(|reply| {
                    // Another request's clock tells nothing about this one.
                    Event::Stats(reply.stats, Some(reply.clock).filter(|_| reply.mark == self.mark))
                })
            }
            MessageType::StatsReply => Stats::read(payload).map(|stats| Event::Stats(stats, None)),
            MessageType::SetSamplingReply => Ok(Event::SamplingSet),
            MessageType::UpdateFilterReply => Ok(Event::FilterSet),
            _ => Ok(Event::Ended),
        }
        .map_err(|source| ClientError::Malformed { kind, source })?;
        if let Event::Started(reply) = &event {
            let granted = StartFlags(reply.extensions).contains(StartFlags::CLOCK);
            self.tells_clock = granted && self.offers_clock;
        }
        match event {
            Event::Authenticated(AuthReply { min_version, .. }) if min_version > VERSION => {
                Err(ClientError::Version(min_version))
            }
            event => Ok(Some(event)),
        }
    }
}

/// Errors that a daemon sends by itself at any time, so that they answer no request.
fn is_pushed(code: u16) -> bool {
    [ErrorCode::Read, ErrorCode::InitTimeout, ErrorCode::RuntimeTimeout]
        .iter()
        .any(|c| *c as u16 == code)
}
