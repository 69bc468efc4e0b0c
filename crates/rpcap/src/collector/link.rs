//! A TCP connection with an agent, encrypted or not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::{self, Fingerprint, Tls, TlsFailure};

/// A connection with an agent.
#[derive(Debug)]
pub enum Link {
    /// Everybody on the way can read it.
    Plain(TcpStream),
    /// Encrypted. rustls takes a few KiB at a time, the socket is read in larger pieces.
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
}

/// How the connections of one agent are encrypted: this end is the client, though the agent calls.
#[derive(Clone, Debug)]
pub struct Cipher {
    /// Which agents are trusted.
    pub tls: Tls,
    /// What this one's certificate has to be for.
    pub name: ServerName<'static>,
}

impl Cipher {
    /// Greets the agent, which has to be done within `time`. Then up to `room` bytes are taken from
    /// the socket at a time.
    pub async fn greet(
        &self,
        socket: TcpStream,
        room: usize,
        time: Duration,
    ) -> Result<Link, TlsFailure> {
        let connector = TlsConnector::from(self.tls.config().clone());
        let socket = BufReader::with_capacity(room, socket);
        let greeting = connector.connect(self.name.clone(), socket);
        match tokio::time::timeout(time, greeting).await {
            Ok(Ok(stream)) => Ok(Link::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(TlsFailure::of_handshake(error)),
            Err(_) => Err(TlsFailure::TimedOut(time)),
        }
    }
}

impl Link {
    /// Whether nobody on the way can read it.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Bytes that only this end and the agent know; see
    /// [`Client::export_keying_material`](crate::client::Client::export_keying_material).
    pub fn export_keying_material<const N: usize>(
        &self,
        label: &[u8],
        context: &[u8],
    ) -> Option<[u8; N]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => tls::export(stream.get_ref().1, label, context),
        }
    }

    /// The agent's certificate, with those behind it that vouch for it.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Plain(_) => &[],
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().unwrap_or_default(),
        }
    }

    /// What the agent's own certificate is known by.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.certificates().first().map(|c| Fingerprint::of(c))
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, to),
            Self::Tls(stream) => {
                Pin::new(stream).poll_read(context, to).map_err(TlsFailure::of_stream)
            }
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
