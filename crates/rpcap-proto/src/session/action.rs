//! What a daemon's session asks of its program, and what it is told at the start.

use core::time::Duration;
use std::sync::Arc;

#[cfg(doc)]
use super::DaemonSession;
use super::start::Start;
use crate::bpf::Program;
use crate::wire::ErrorCode;

/// How long a session waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// For an AUTH, again after each failed one; passive mode only.
    pub init: Duration,
    /// For a request while nothing is captured; passive mode only.
    pub idle: Duration,
    /// For the rest of a message once its first byte came.
    pub message: Duration,
    /// For the last eight bytes of a STARTCAP that claims not to have them.
    pub tail: Duration,
    /// Between a wrong password and the next try.
    pub auth_pause: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            init: Duration::from_secs(90),
            idle: Duration::from_secs(180),
            message: Duration::from_secs(30),
            tail: Duration::from_secs(1),
            auth_pause: Duration::from_secs(1),
        }
    }
}

/// What a session is allowed and how patient it is.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Whether a client may come without a name.
    pub null_auth: bool,
    /// Whether the daemon dialled out: no patience is needed, and it opens data connections.
    pub active: bool,
    /// See [`Timers`].
    pub timers: Timers,
    /// What the daemon's system is called, for clients that ask.
    pub system: Option<Arc<str>>,
}

/// What the program must do. All but [`Action::Note`] are answered by the method that each names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Check a name and password: [`DaemonSession::authenticated`].
    Authenticate {
        /// The name, any bytes.
        user: Vec<u8>,
        /// The password, any bytes.
        password: Vec<u8>,
    },
    /// List the devices: [`DaemonSession::devices`].
    ListDevices,
    /// See whether this device can be captured from: [`DaemonSession::opened`].
    Open(String),
    /// Start a capture; one that failed by itself ends first: [`DaemonSession::started`].
    Start(Box<Start>),
    /// Change the running capture's filter: [`DaemonSession::filter_set`].
    SetFilter(Program),
    /// Read the counters of the running or the last capture: [`DaemonSession::stats`].
    ReadStats,
    /// End the capture: [`DaemonSession::stopped`].
    Stop,
    /// Nothing: something worth a line in the log.
    Note(Note),
}

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The client is accepted.
    Authenticated,
    /// The client is not accepted.
    AuthRefused(String),
    /// The peer reported an error: one harmless line of text.
    PeerError(String),
    /// A request was refused.
    Refused(ErrorCode, String),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// CLOSE: in active mode the daemon is dismissed, if the client had been accepted.
    #[error("closed by the peer")]
    Closed {
        /// Whether the client had been accepted.
        authenticated: bool,
    },
    /// The connection ended without a CLOSE.
    #[error("the peer ended the connection")]
    Eof,
    /// The peer reported an error before it was accepted.
    #[error("the peer reported {0:?}")]
    PeerError(String),
    /// No AUTH came in time.
    #[error("no authentication within the time allowed")]
    InitTimeout,
    /// No request came in time.
    #[error("no request within the time allowed")]
    IdleTimeout,
    /// A message stayed incomplete.
    #[error("a message was not completed within the time allowed")]
    MessageTimeout,
    /// The peer does not use TLS, which is required.
    #[error("the peer does not use TLS")]
    NoTls,
    /// The peer wants TLS, which is not offered.
    #[error("the peer wants TLS")]
    Tls,
    /// The peer speaks another version.
    #[error("the peer speaks protocol version {0}")]
    Version(u8),
    /// A message claims to be longer than any may be.
    #[error("a message claims {0} bytes of payload")]
    Oversize(u32),
    /// A message that may not be sent in this state.
    #[error("{0}")]
    WrongMessage(String),
    /// Too many failed tries.
    #[error("too many failed authentications")]
    AuthFailures,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Do this, then ask again.
    Do(Action),
    /// Send [`DaemonSession::output`], then wait for bytes or until [`DaemonSession::deadline`].
    Wait,
    /// Send [`DaemonSession::output`], then end the connection.
    End(EndReason),
}
