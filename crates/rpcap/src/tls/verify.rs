//! Whether a certificate is a daemon's.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::Fingerprint;
use super::failure::Untrusted;

/// What decides.
#[derive(Debug)]
pub(super) enum Judge {
    Roots { roots: RootCertStore, names: bool },
    Fingerprints(Vec<Fingerprint>),
    Anybody,
}

/// Whatever decides, the peer has to have the certificate's key.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) judge: Judge,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Whether it matters what a daemon is called.
    pub(super) fn asks_names(&self) -> bool {
        matches!(self.judge, Judge::Roots { names: true, .. })
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        match &self.judge {
            Judge::Anybody => Ok(()),
            Judge::Fingerprints(known) if known.contains(&Fingerprint::of(certificate)) => Ok(()),
            Judge::Fingerprints(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
            Judge::Roots { roots, names } => {
                let parsed = ParsedCertificate::try_from(certificate)?;
                let algorithms = self.algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, now, algorithms)?;
                match names {
                    true => verify_server_name(&parsed, name),
                    false => Ok(()),
                }
            }
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.judge(certificate, others, name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            // With what the user needs to trust it after all.
            Err(Error::InvalidCertificate(reason)) => {
                let fingerprint = Fingerprint::of(certificate);
                let untrusted = OtherError(Arc::new(Untrusted { fingerprint, reason }));
                Err(CertificateError::Other(untrusted).into())
            }
            Err(other) => Err(other),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
