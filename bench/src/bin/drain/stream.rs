//! Connections by TCP, plain or encrypted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rpcap_proto::sealed::{Cipher, EXPORTER_LABEL, Opener, Secret, exporter_context};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// What connections are encrypted with.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// For the daemon that has this certificate.
    pub(crate) fn trusting(certificate: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).context("--tls")?;
        roots.add(certificate).context("--tls")?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// A connection.
pub(crate) enum Stream {
    Plain(Counted),
    Encrypted(Box<StreamOwned<ClientConnection, Counted>>),
}

impl Stream {
    /// Connects, and greets if it is to be encrypted.
    pub(crate) fn connect(to: SocketAddr, tls: Option<&Tls>) -> anyhow::Result<Self> {
        let mut counted = Counted { socket: TcpStream::connect(to)?, bytes: 0 };
        let Some(Tls(config)) = tls else { return Ok(Self::Plain(counted)) };
        let name = ServerName::try_from("localhost")?;
        let mut connection = ClientConnection::new(Arc::clone(config), name)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut counted).context("TLS handshake")?;
        }
        Ok(Self::Encrypted(Box::new(StreamOwned::new(connection, counted))))
    }

    /// The cipher suite, if there is one.
    pub(crate) fn suite(&self) -> Option<String> {
        let Self::Encrypted(stream) = self else { return None };
        stream.conn.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()))
    }

    /// What opens the datagrams of the first capture, which are sealed.
    pub(crate) fn opener(&self) -> Option<Opener> {
        let Self::Encrypted(stream) = self else { return None };
        let cipher = Cipher::of_suite(stream.conn.negotiated_cipher_suite()?.suite().into())?;
        let context = exporter_context(0);
        let secret = stream.conn.export_keying_material([0; 32], EXPORTER_LABEL, Some(&context));
        Some(Opener::new(Secret::new(secret.ok()?), cipher))
    }

    fn counted(&self) -> &Counted {
        match self {
            Self::Plain(counted) => counted,
            Self::Encrypted(stream) => &stream.sock,
        }
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.counted().socket
    }

    /// Bytes that came, as they were on the way.
    pub(crate) fn wire_bytes(&self) -> u64 {
        self.counted().bytes
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(counted) => counted.read(buf),
            Self::Encrypted(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(counted) => counted.write(buf),
            Self::Encrypted(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(counted) => counted.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}

/// A socket that counts what comes.
pub(crate) struct Counted {
    socket: TcpStream,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.socket.read(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
