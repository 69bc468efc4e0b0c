use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use rpcap_proto::session::{ClientSession, Event};
use rustls::{AlertDescription, CertificateError, Error as TlsLibraryError, InvalidMessage};

use super::Fingerprint;
use crate::text::harmless;

/// Names of a certificate that are shown.
const NAMES: usize = 5;

/// What can go wrong with TLS, as seen from this end.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    /// The daemon speaks RPCAP, or something else, in the clear, or it turns TLS away.
    #[error("it does not speak TLS (rpcapd --tls)")]
    Plain,
    /// The daemon turns this host away, before any TLS.
    #[error("it says, before any TLS: {0}")]
    TurnedAway(String),
    /// The certificate is not trusted.
    #[error("its certificate is not trusted: {}; its fingerprint is {fingerprint}", explain(.reason))]
    Untrusted {
        /// What it is known by.
        fingerprint: Fingerprint,
        /// Why it is not trusted.
        reason: CertificateError,
    },
    /// The data connection has another certificate than the control connection.
    #[error(
        "its certificate is another one ({data}) than that of the control connection \
         ({control}): somebody else may be on the way"
    )]
    OtherCertificate {
        /// That of the control connection.
        control: Fingerprint,
        /// That of the data connection.
        data: Fingerprint,
    },
    /// The daemon does not go on, and says so.
    #[error("{}", alert(.0))]
    Alert(AlertDescription),
    /// The host's name cannot stand in a certificate.
    #[error("{0}")]
    Name(String),
    /// The daemon is not done in time.
    #[error("the handshake was not finished within {0:?}")]
    TimedOut(Duration),
    /// The connection ended before it was encrypted.
    #[error("it ended the connection during the handshake; does it speak TLS (rpcapd --tls)?")]
    Ended,
    /// The connection ended without saying so.
    #[error("it was cut off, as TLS was not closed")]
    CutOff,
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What comes is no TLS, or none that is safe.
    #[error("{0}")]
    Library(TlsLibraryError),
}

impl From<TlsLibraryError> for TlsFailure {
    fn from(error: TlsLibraryError) -> Self {
        match error {
            // libpcap's daemons and ours say this when they have no TLS at all.
            TlsLibraryError::AlertReceived(AlertDescription::HandshakeFailure) => Self::Plain,
            TlsLibraryError::AlertReceived(alert) => Self::Alert(alert),
            TlsLibraryError::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<Untrusted>() {
                    Some(Untrusted { fingerprint, reason }) => {
                        Self::Untrusted { fingerprint: *fingerprint, reason: reason.clone() }
                    }
                    None => Self::Library(CertificateError::Other(other).into()),
                }
            }
            other => Self::Library(other),
        }
    }
}

impl From<TlsFailure> for io::Error {
    fn from(failure: TlsFailure) -> Self {
        match failure {
            TlsFailure::Io(error) => error,
            // It has its own name among errors.
            TlsFailure::CutOff => Self::new(io::ErrorKind::UnexpectedEof, TlsFailure::CutOff),
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

impl TlsFailure {
    /// The failure that an error of a connection stands for.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// Whether a data connection's certificate is that of its control connection.
    pub(crate) fn unless_same(
        control: Option<Fingerprint>,
        data: Option<Fingerprint>,
    ) -> Result<(), Self> {
        match (control, data) {
            (Some(control), Some(data)) if control == data => Ok(()),
            (Some(control), Some(data)) => Err(Self::OtherCertificate { control, data }),
            // A server has always shown one by now.
            _ => Err(Self::Ended),
        }
    }

    /// What the failure of a handshake means.
    pub(crate) fn of_handshake(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Ended;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsLibraryError>()) {
            Some(TlsLibraryError::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                Self::Plain
            }
            Some(library) => library.clone().into(),
            None => Self::Io(error),
        }
    }

    /// An error of an encrypted stream, in this program's words.
    pub(crate) fn of_stream(error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::CutOff.into();
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsLibraryError>()) {
            Some(library) => Self::from(library.clone()).into(),
            None => error,
        }
    }

    /// What a peer's first bytes say that are no TLS.
    pub(super) fn plain(bytes: &[u8]) -> Self {
        let mut session = ClientSession::new();
        session.receive(bytes);
        match session.poll() {
            Ok(Some(Event::Pushed { text, .. })) if !text.is_empty() => Self::TurnedAway(text),
            _ => Self::Plain,
        }
    }

    /// Whether the daemon does not want this client, rather than there being no way to it.
    pub fn is_refusal(&self) -> bool {
        use AlertDescription as A;
        match self {
            Self::TurnedAway(_) => true,
            Self::Alert(alert) => matches!(
                alert,
                A::CertificateRequired
                    | A::BadCertificate
                    | A::UnsupportedCertificate
                    | A::CertificateRevoked
                    | A::CertificateExpired
                    | A::CertificateUnknown
                    | A::UnknownCA
                    | A::AccessDenied
            ),
            _ => false,
        }
    }
}

/// Why a certificate is not trusted, on its way through the TLS library.
#[derive(Debug)]
pub(super) struct Untrusted {
    pub(super) fingerprint: Fingerprint,
    pub(super) reason: CertificateError,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&explain(&self.reason))
    }
}

impl StdError for Untrusted {}

fn explain(error: &CertificateError) -> String {
    use CertificateError as E;
    let days = |seconds: u64| match seconds / 86_400 {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        n => format!("{n} days"),
    };
    match error {
        // The other two say that it claims to be signed by one who did not sign it.
        E::UnknownIssuer
        | E::BadSignature
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "nobody who is trusted vouches for it".to_owned()
        }
        E::ApplicationVerificationFailure => "it is not one of those that were named".to_owned(),
        E::NotValidForNameContext { expected, presented } => {
            format!("it is for {}, not for {}", names(presented), expected.to_str(),)
        }
        E::ExpiredContext { time, not_after } => {
            format!("it expired {} ago", days(time.as_secs().saturating_sub(not_after.as_secs())))
        }
        E::NotValidYetContext { time, not_before } => format!(
            "it is not valid yet, for {}",
            days(not_before.as_secs().saturating_sub(time.as_secs()))
        ),
        E::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "it is one of a CA, which only its fingerprint can vouch for".to_owned()
        }
        other => other.to_string(),
    }
}

/// The names of a certificate, which are the peer's own words, and as many as it likes.
fn names(presented: &[String]) -> String {
    let shown = presented.iter().take(NAMES).map(|name| {
        // What is longer is no name of a host.
        harmless(bare(name).chars().take(253).collect::<String>().as_bytes())
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match presented.len() {
        0 => "no host (subjectAltName)".to_owned(),
        n if n > NAMES => format!("{shown} and {} more", n - NAMES),
        _ => shown,
    }
}

/// A name as rustls shows it, `DnsName("h")`, without its kind.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

fn alert(alert: &AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => {
            "it wants a certificate of this client, and was shown none".to_owned()
        }
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied => {
            format!("it does not take this client's certificate ({alert:?})")
        }
        other => format!("it refuses to go on ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_certificate_are_strangers_words() {
        let name = |text: &str| format!("DnsName({text:?})");
        assert_eq!(names(&[name("a.example"), name("b\u{1b}[31m")]), "a.example, b\\u{1b}[31m");
        assert_eq!(names(&["x\ny".to_owned()]), "x\\ny");
        let long = names(&["x".repeat(60_000)]);
        assert_eq!(long.len(), 253);
        let many: Vec<_> = (0..1000).map(|n| name(&format!("h{n}"))).collect();
        assert_eq!(names(&many), "h0, h1, h2, h3, h4 and 995 more");
        assert_eq!(names(&[]), "no host (subjectAltName)");
    }

    #[test]
    fn what_is_no_tls_may_be_a_refusal() {
        let error = [0, 1, 0, 10, 0, 0, 0, 3, b'n', b'o', 7];
        let said = TlsFailure::plain(&error);
        assert!(said.is_refusal());
        assert_eq!(said.to_string(), "it says, before any TLS: no\\u{7}");
        for cut in 0..error.len() {
            assert!(matches!(TlsFailure::plain(&error[..cut]), TlsFailure::Plain), "{cut}");
        }
    }
}
