use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rpcap_proto::session::ClientError;
use rpcap_proto::wire::ErrorCode;

use super::Pushed;
use crate::tls::TlsFailure;
use crate::url::Endpoint;

/// What a daemon was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To let the client in.
    Authenticate,
    /// For its devices.
    ListDevices,
    /// Whether a device can be captured from.
    Open,
    /// To leave packets out.
    SetSampling,
    /// To start a capture.
    Start,
    /// To change the filter.
    UpdateFilter,
    /// For its counters.
    Stats,
    /// To end the capture.
    EndCapture,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authenticate => "to authenticate",
            Self::ListDevices => "to list devices",
            Self::Open => "to open the device",
            Self::SetSampling => "to set sampling",
            Self::Start => "to start the capture",
            Self::UpdateFilter => "to change the filter",
            Self::Stats => "to read statistics",
            Self::EndCapture => "to end the capture",
        })
    }
}

/// What can go wrong with a daemon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's name leads nowhere.
    #[error("cannot find host {}: {source}", endpoint.host)]
    Resolve {
        /// Who was meant.
        endpoint: Endpoint,
        /// What the resolver says.
        source: io::Error,
    },
    /// Nobody answers at any of the host's addresses.
    #[error("cannot connect to {endpoint} ({}): {source}; is rpcapd running there?", address.ip())]
    Connect {
        /// Who was meant.
        endpoint: Endpoint,
        /// The last address tried.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The connection cannot be encrypted, or not with the daemon that was meant.
    #[error("{endpoint}: {source}")]
    Tls {
        /// Who was meant.
        endpoint: Endpoint,
        /// Why.
        source: Box<TlsFailure>,
    },
    /// The data connection cannot be encrypted, or not with the daemon of the control connection.
    #[error("cannot encrypt the data connection with {address}: {source}")]
    DataTls {
        /// The daemon's end.
        address: SocketAddr,
        /// Why.
        source: Box<TlsFailure>,
    },
    /// Packets were asked for by UDP on an encrypted session, and the daemon does not encrypt them, or
    /// there is no TLS 1.3.
    #[error("{0}: packets by UDP would not be encrypted: use TCP")]
    DatagramsInClear(Endpoint),
    /// The data connection cannot be made.
    #[error("cannot make the data connection with {address}: {source}")]
    Data {
        /// The daemon's end, or where the daemon is.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The daemon waits for a data connection but does not say where.
    #[error("{0} names no port for the data connection")]
    NoDataPort(Endpoint),
    /// The control connection ended.
    #[error("{endpoint} ended the connection{}{}", because(.pushed), why(.source))]
    Lost {
        /// Who.
        endpoint: Endpoint,
        /// The last thing it said, if it said anything.
        pushed: Option<Pushed>,
        /// What the system says, unless it was ended in an orderly way.
        source: Option<io::Error>,
    },
    /// No answer came in time.
    #[error("{endpoint} did not answer the request {asked} within {after:?}")]
    Timeout {
        /// Who.
        endpoint: Endpoint,
        /// To what.
        asked: Asked,
        /// How long it was waited for.
        after: Duration,
    },
    /// The daemon said no.
    #[error("{endpoint} refuses {asked}: {}", text_or_code(.text, *.code))]
    Refused {
        /// Who.
        endpoint: Endpoint,
        /// What.
        asked: Asked,
        /// The protocol's number for the reason; peers agree on few of them.
        code: u16,
        /// The reason as one harmless line, possibly empty.
        text: String,
    },
    /// What the daemon sent is not the protocol.
    #[error("{endpoint}: {source}")]
    Protocol {
        /// Who.
        endpoint: Endpoint,
        /// What is wrong with it.
        source: ClientError,
    },
}

fn because(pushed: &Option<Pushed>) -> String {
    pushed.as_ref().map_or(String::new(), |p| format!(": {p}"))
}

fn why(source: &Option<io::Error>) -> String {
    source.as_ref().map_or(String::new(), |e| format!(": {e}"))
}

impl Error {
    /// Whether the daemon wants TLS, which was left out.
    pub fn wants_tls(&self) -> bool {
        let code = match self {
            Self::Refused { code, .. } => *code,
            Self::Lost { pushed: Some(pushed), .. } => pushed.code,
            _ => return false,
        };
        code == ErrorCode::TlsRequired as u16
    }
}

/// Some daemons refuse without a word.
pub(super) fn text_or_code(text: &str, code: u16) -> String {
    match text.is_empty() {
        true => format!("error {code}, without a text"),
        false => text.to_owned(),
    }
}
