//! TLS: which daemons are trusted, and connections that are encrypted.
//!
//! The daemon is the TLS server on every connection, whoever opened it (docs/protocol.md, "TLS"),
//! so this end is always the client.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use rpcap::client::{Client, Credentials};
//! use rpcap::tls::{Tls, TlsOptions, Trust};
//! use rpcap::url::Url;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let url: Url = "rpcaps://server.example/eth0".parse()?;
//! // What `rpcapd tls init` printed on that server.
//! let fingerprint = std::env::var("FINGERPRINT")?.parse()?;
//! let tls = Tls::new(&TlsOptions {
//!     trust: Trust::Fingerprints(vec![fingerprint]),
//!     ..TlsOptions::default()
//! })?;
//! let mut client = Client::connect_tls(&url.endpoint, &tls, Duration::from_secs(10))?;
//! assert!(client.is_encrypted());
//! client.authenticate(&Credentials::Null)?;
//! # Ok(())
//! # }
//! ```

mod failure;
mod fingerprint;
mod stream;
mod verify;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpcap_proto::sealed::{self, Cipher, EXPORTER_LABEL, Secret};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig};

pub use self::failure::TlsFailure;
pub use self::fingerprint::{Fingerprint, NoFingerprint};
pub use self::stream::TlsStream;
use self::verify::{Judge, Verifier};

/// Which daemons are taken for what they say they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those whose certificate is for the name that they were called by, and vouched for by one of
    /// those whom the system trusts.
    #[default]
    System,
    /// Those whose certificate is for the name that they were called by, and vouched for by one in
    /// this file (PEM).
    Ca(PathBuf),
    /// Those whose certificate is vouched for by one in this file, whatever name it is for: any
    /// holder of such a certificate can pass for any other.
    CaOfAnyName(PathBuf),
    /// Those whose certificate is one of these, whatever it says.
    Fingerprints(Vec<Fingerprint>),
    /// All. Whoever is on the way can read and change everything.
    Anybody,
}

/// What connections are encrypted with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Which daemons are trusted.
    pub trust: Trust,
    /// Files (PEM) of a certificate, with those that vouch for it behind it, and of its key, for
    /// daemons that want one of their clients.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system trusts nobody.
    #[error("this system has no certificates to trust{0}; name a CA or a fingerprint")]
    NoRoots(String),
    /// The TLS library refuses.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// What connections are encrypted with, read and checked. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files, or the system's certificates.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let judge = match &options.trust {
            Trust::System => Judge::Roots { roots: system_roots()?, names: true },
            Trust::Ca(path) => Judge::Roots { roots: roots(path)?, names: true },
            Trust::CaOfAnyName(path) => Judge::Roots { roots: roots(path)?, names: false },
            Trust::Fingerprints(all) => Judge::Fingerprints(all.clone()),
            Trust::Anybody => Judge::Anybody,
        };
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Arc::new(Verifier { judge, algorithms });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Verifier>::clone(&verifier));
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|e| not_its_key(cert, key, &e))?,
        };
        // So that the daemon shows its certificate on every connection.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), verifier })
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// Whether a daemon that showed these certificates under this name is trusted.
    pub(crate) fn trusts(
        &self,
        certificates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<(), TlsFailure> {
        let Some((own, others)) = certificates.split_first() else {
            return Err(TlsFailure::Ended);
        };
        let now = UnixTime::now();
        self.verifier.verify_server_cert(own, others, name, &[], now)?;
        Ok(())
    }

    /// What a daemon's certificate has to be for; the daemon is told, too.
    pub(crate) fn name(
        &self,
        host: &str,
        address: IpAddr,
    ) -> Result<ServerName<'static>, TlsFailure> {
        // Where an address is valid is no part of it.
        let bare = match host.contains(':') {
            true => host.split('%').next().unwrap_or(host),
            false => host,
        };
        match ServerName::try_from(bare.to_owned()) {
            Ok(name) => Ok(name),
            Err(_) if self.verifier.asks_names() => {
                let why = format!("`{host}` is no name that a certificate can have");
                Err(TlsFailure::Name(why))
            }
            Err(_) => Ok(ServerName::IpAddress(address.into())),
        }
    }
}

/// What the datagrams of a capture are sealed with: `None` without TLS 1.3.
pub(crate) fn seal(connection: &ClientConnection, capture: u32) -> Option<(Secret, Cipher)> {
    // Only suites of TLS 1.3 have one.
    let suite = connection.negotiated_cipher_suite()?;
    let cipher = Cipher::of_suite(suite.suite().into())?;
    let secret = export(connection, EXPORTER_LABEL, &sealed::exporter_context(capture))?;
    Some((Secret::new(secret), cipher))
}

/// See [`crate::client::Client::export_keying_material`].
pub(crate) fn export<const N: usize>(
    connection: &ClientConnection,
    label: &[u8],
    context: &[u8],
) -> Option<[u8; N]> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection.export_keying_material([0; N], label, Some(context)).ok()
}

/// What a server needs that shows this certificate (PEM, with those that vouch for it behind it),
/// whose key is in another file: TLS 1.2 and 1.3, anybody may come.
pub(crate) fn server_config(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(cert)?, private_key(key)?)
        .map_err(|e| not_its_key(cert, key, &e))
}

fn not_its_key(cert: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    file(key, format!("{error}; is it the key of {}?", cert.display()))
}

fn file(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: reason.to_string() }
}

fn pem(path: &Path, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(e) => file(path, e),
        other => file(path, other),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| pem(path, e))?.collect();
    match all.map_err(|e| pem(path, e))? {
        none if none.is_empty() => Err(file(path, "there is no certificate in it")),
        all => Ok(all),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| match e {
        pem::Error::NoItemsFound => file(path, "there is no key in it"),
        other => pem(path, other),
    })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| file(path, e))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Among so many there may be one that is out of fashion.
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => {
            let why = found.errors.first().map_or(String::new(), |e| format!(" ({e})"));
            Err(TlsError::NoRoots(why))
        }
    }
}
