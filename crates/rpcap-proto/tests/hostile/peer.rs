//! A daemon's session and somebody who sends it bytes.

use std::time::Duration;

use rpcap_proto::session::{Action, Config, DaemonSession, EndReason};
use rpcap_proto::wire::{ErrorCode, Header, MessageType};

use crate::support::host::{Host, drive};
use crate::support::{NULL_AUTH, hex, message, messages};

/// A request for everything, by TCP.
pub(crate) const START: &str = "0004 0000 0000001c | 00040000 000001f4 0001 0000
    | 00010000 00000001 | 0006 00 00 00040000";

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) session: DaemonSession,
    pub(crate) host: Host,
    pub(crate) end: Option<EndReason>,
    now: Duration,
    accepted: bool,
}

impl Peer {
    /// On a new connection to a daemon that lets everybody in.
    pub(crate) fn new() -> Self {
        Self::with(true)
    }

    /// On a new connection.
    pub(crate) fn with(null_auth: bool) -> Self {
        let now = Duration::from_secs(1000);
        let config = Config { null_auth, ..Config::default() };
        Self {
            session: DaemonSession::new(config, now),
            host: Host::default(),
            end: None,
            now,
            accepted: false,
        }
    }

    /// After AUTH.
    pub(crate) fn accepted() -> Self {
        let mut peer = Self::new();
        peer.answered(&NULL_AUTH, MessageType::AuthReply);
        peer.accepted = true;
        peer
    }

    /// After OPEN.
    pub(crate) fn opened() -> Self {
        let mut peer = Self::accepted();
        let open = message(MessageType::OpenRequest, b"lo");
        peer.answered(&open, MessageType::OpenReply);
        peer
    }

    /// After STARTCAP.
    pub(crate) fn capturing() -> Self {
        let mut peer = Self::opened();
        peer.answered(&hex(START), MessageType::StartCaptureReply);
        peer
    }

    /// Sends bytes and returns what comes back at once.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
        messages(&self.exchange(bytes))
    }

    /// The same, as bytes.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        assert_eq!(self.end, None, "the session is over");
        self.session.receive(bytes);
        self.end = drive(&mut self.session, &mut self.host, self.now);
        std::mem::take(self.session.output())
    }

    /// Sends bytes that get one reply of this type, and returns its payload.
    #[track_caller]
    pub(crate) fn answered(&mut self, bytes: &[u8], kind: MessageType) -> Vec<u8> {
        let mut replies = self.send(bytes);
        assert_eq!(replies.len(), 1, "{replies:?}");
        let (header, payload) = replies.remove(0);
        assert_eq!((header.version, header.kind), (0, kind), "{payload:?}");
        payload
    }

    /// Sends bytes that get one error of this code, whose text starts like this.
    #[track_caller]
    pub(crate) fn refused_like(&mut self, bytes: &[u8], code: ErrorCode, text: &str) {
        let got = self.error(bytes, 0, code);
        assert!(got.starts_with(text), "{got:?}, not {text:?}");
    }

    /// Sends bytes that get one error of this version and code, and returns its text.
    #[track_caller]
    pub(crate) fn error(&mut self, bytes: &[u8], version: u8, code: ErrorCode) -> String {
        let replies = self.send(bytes);
        let [(header, payload)] = &replies[..] else {
            panic!("{replies:?}");
        };
        assert_eq!((header.version, header.kind), (version, MessageType::Error));
        let text = String::from_utf8(payload.clone()).expect("text");
        assert_eq!(header.value, code as u16, "{text}");
        assert!(!text.is_empty());
        text
    }

    /// Sends bytes that get one error of exactly this code and text.
    #[track_caller]
    pub(crate) fn refused(&mut self, bytes: &[u8], code: ErrorCode, text: &str) {
        let payload = self.error(bytes, 0, code);
        assert_eq!(payload, text);
    }

    /// The stream is still in step: the next request is answered.
    #[track_caller]
    pub(crate) fn stays(&mut self) {
        if self.accepted {
            let stats = message(MessageType::StatsRequest, b"");
            self.answered(&stats, MessageType::StatsReply);
        } else {
            self.answered(&NULL_AUTH, MessageType::AuthReply);
            self.accepted = true;
        }
        assert_eq!(self.end, None);
    }

    /// The session is over for this reason.
    #[track_caller]
    pub(crate) fn ended(&self, reason: &EndReason) {
        assert_eq!(self.end.as_ref(), Some(reason));
    }

    /// What the program was asked last.
    pub(crate) fn asked(&self) -> &Action {
        self.host.asked.last().expect("a question to the program")
    }
}
