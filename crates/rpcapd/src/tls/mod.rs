//! TLS: certificates, and connections that are encrypted.
//!
//! The daemon is the server on every connection, also on those that it makes itself, as the protocol
//! has it (docs/protocol.md, "TLS").

mod files;
mod init;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpcap_proto::sealed::{self, Cipher, EXPORTER_LABEL, Secret};
use rustls::crypto::ring::default_provider;
use rustls::server::{NoServerSessionStorage, ServerConnection, WebPkiClientVerifier};
use rustls::{ProtocolVersion, ServerConfig};

use crate::files::shown;

pub use init::{InitArgs, run as init};

/// The first byte of a TLS connection: a record of the handshake.
pub const HANDSHAKE: u8 = 22;

/// Bytes of records that wait to be sent, at most: a batch and what encryption adds.
const BUFFER: usize = 1024 * 1024;

/// Bytes of a record.
const RECORD: usize = 16 * 1024;

/// Records that a connection of TLS 1.2 may have: AES-GCM allows 2^24 with one key (RFC 8446 section
/// 5.5), and only TLS 1.3 takes another key then. A few more were in the handshake.
const RECORDS_MAX: u64 = (1 << 24) - 64;

/// What connections are encrypted with.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// Reads a certificate, with those that vouch for it behind it, and its key; with `client_ca`
    /// clients have to have a certificate that one in there vouches for. An error names the file
    /// and what is wrong with it.
    pub fn load(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, String> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS: {e}"))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(files::roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|e| format!("{}: {e}", shown(path)))?,
                )
            }
        };
        let mut config = builder
            .with_single_cert(files::certificates(cert)?, files::key(key)?)
            .map_err(|e| format!("{} and {}: {e}", shown(cert), shown(key)))?;
        // Sessions are not resumed: a certificate is looked at each time. And a data connection carries
        // nothing but packets.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self(Arc::new(config)))
    }

    /// A connection whose peer is about to begin.
    pub fn accept(&self) -> io::Result<ServerConnection> {
        let mut connection =
            ServerConnection::new(Arc::clone(&self.0)).map_err(io::Error::other)?;
        connection.set_buffer_limit(Some(BUFFER));
        Ok(connection)
    }
}

/// A data connection that is encrypted. The socket is in blocking mode.
#[derive(Debug)]
pub struct TlsStream {
    connection: Box<ServerConnection>,
    socket: TcpStream,
    /// Records that may still be sent.
    left: u64,
}

impl TlsStream {
    /// Greets the peer, who has to be done within `time`.
    pub fn accept(tls: &Tls, socket: TcpStream, time: Duration) -> io::Result<Self> {
        let connection = Box::new(tls.accept()?);
        let mut stream = Self { connection, socket, left: u64::MAX };
        let deadline = Instant::now() + time;
        while stream.connection.is_handshaking() {
            stream.flush()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.socket.set_read_timeout(Some(left))?;
            match stream.connection.read_tls(&mut stream.socket) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // What a timeout is called depends on the system.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(e) => return Err(e),
            }
            if let Err(e) = stream.connection.process_new_packets() {
                // The peer is told, if it listens.
                let _ = stream.flush();
                return Err(io::Error::new(io::ErrorKind::InvalidData, e));
            }
        }
        stream.flush()?;
        stream.socket.set_read_timeout(None)?;
        if stream.connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            stream.left = RECORDS_MAX;
        }
        Ok(stream)
    }

    /// Sends all of these bytes.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // Beyond it everything would be taken and nothing sent.
            let records = bytes.len().div_ceil(RECORD) as u64;
            self.left = self.left.checked_sub(records).ok_or_else(|| {
                io::Error::other("TLS 1.2 allows no more with this key: TLS 1.3 does")
            })?;
            let taken = self.connection.writer().write(bytes)?;
            bytes = &bytes[taken..];
            self.flush()?;
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
        let _ = self.flush();
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the datagrams of a capture can be sealed with. TLS 1.2 has no secret for it: its exporter
/// does not by itself tell one connection from another (RFC 7627 section 1).
pub fn seal(connection: &ServerConnection, capture: u32) -> Option<(Secret, Cipher)> {
    if connection.is_handshaking() {
        return None;
    }
    // Only suites of TLS 1.3 have one.
    let suite = connection.negotiated_cipher_suite()?;
    let cipher = Cipher::of_suite(suite.suite().into())?;
    let context = sealed::exporter_context(capture);
    let secret = connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&context)).ok()?;
    Some((Secret::new(secret), cipher))
}

/// What the certificate of the peer, which was found to be good, calls it: the first DNS name of its
/// subjectAltName, in small letters. The subject's common name says whatever it likes (RFC 9525).
pub fn name_of(connection: &ServerConnection) -> Option<String> {
    let certificate = connection.peer_certificates()?.first()?;
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    certificate.valid_dns_names().next().map(str::to_ascii_lowercase)
}

/// Feeds what came from a socket into a connection.
pub fn take(connection: &mut ServerConnection, from: &mut impl Read) -> io::Result<usize> {
    let n = connection.read_tls(from)?;
    connection
        .process_new_packets()
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {e}")))?;
    Ok(n)
}
