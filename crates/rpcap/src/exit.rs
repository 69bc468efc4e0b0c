//! How the program ends: the one place that says which failure has which number.

use std::io;
use std::process::ExitCode;

use rpcap::client::{Asked, Error, Pushed};
use rpcap::filter::FilterError;
use rpcap::tls::TlsFailure;

/// What `--help` says of it.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  another error
  2  wrong command line
  3  the daemon cannot be reached, or the connection to it was lost
  4  the daemon does not let this client in
  5  there is no such device, or it cannot be captured from
  6  the filter is wrong, was refused, or needs libpcap, which is missing
  7  the daemon ended the capture
  8  the output cannot be written";

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Other = 1,
    Connection = 3,
    Authentication = 4,
    Device = 5,
    Filter = 6,
    EndedByDaemon = 7,
    Output = 8,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Failures that are not the library's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the daemon ended the capture: {0}")]
    EndedByDaemon(Pushed),
    #[error("the daemon ended the data connection without giving a reason")]
    DataEnded,
    #[error(transparent)]
    Data(#[from] rpcap::data::DataError),
    #[error("cannot write {0}: {1}")]
    Output(String, #[source] io::Error),
}

/// The number of a failure.
pub(crate) fn code(error: &anyhow::Error) -> Code {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<Error>() {
            return of_client(error);
        }
        if cause.is::<FilterError>() {
            return Code::Filter;
        }
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return match failure {
                Failure::EndedByDaemon(_) | Failure::DataEnded => Code::EndedByDaemon,
                Failure::Data(_) => Code::Connection,
                Failure::Output(..) => Code::Output,
            };
        }
    }
    Code::Other
}

/// What a daemon says by itself to a client that it does not let in, perhaps before that has asked.
fn is_refusal(pushed: &Pushed) -> bool {
    use rpcap_proto::wire::ErrorCode::{
        Auth, AuthFailed, AuthTypeNotSupported, HostNotAllowed, TlsRequired,
    };
    [Auth, HostNotAllowed, AuthFailed, TlsRequired, AuthTypeNotSupported]
        .iter()
        .any(|code| *code as u16 == pushed.code)
}

fn of_client(error: &Error) -> Code {
    match error {
        Error::Lost { pushed: Some(pushed), .. } if is_refusal(pushed) => Code::Authentication,
        Error::Lost { source: Some(source), .. }
            if TlsFailure::of(source).is_some_and(TlsFailure::is_refusal) =>
        {
            Code::Authentication
        }
        Error::Tls { source, .. } if source.is_refusal() => Code::Authentication,
        Error::DatagramsInClear(_) | Error::Protocol { .. } => Code::Other,
        Error::Refused { asked, text, .. } => match asked {
            Asked::Authenticate => Code::Authentication,
            Asked::Open => Code::Device,
            Asked::UpdateFilter => Code::Filter,
            // Every daemon has one code for all that can go wrong here, and its own words.
            Asked::Start if text.to_ascii_lowercase().contains("filter") => Code::Filter,
            Asked::Start => Code::Device,
            _ => Code::Other,
        },
        _ => Code::Connection,
    }
}

/// What the user could do.
fn advice(error: &Error) -> &'static str {
    match error {
        Error::Tls { source, .. } => match **source {
            TlsFailure::Plain => "; if nobody on the way can listen, rpcap:// does without",
            TlsFailure::Untrusted { .. } => {
                "; if that is the daemon's: --tls-fingerprint, or --tls-ca with its CA"
            }
            _ => "",
        },
        error if error.wants_tls() => "; use rpcaps://",
        _ => "",
    }
}

/// The failure as one line: what failed, then why, unless that was said already.
pub(crate) fn line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.push_str(error.chain().find_map(|cause| cause.downcast_ref()).map_or("", advice));
    rpcap::text::harmless_line(&text)
}
