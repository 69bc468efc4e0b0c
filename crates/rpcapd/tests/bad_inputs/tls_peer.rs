//! A client that encrypts, with everything in its hands: what leaves it can be cut, held back and
//! damaged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, Stream,
    SupportedProtocolVersion,
};

use crate::daemon::{Daemon, SOON};
use crate::message as m;
use crate::peer::Message;

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Whose certificate it is does not matter here.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The client's end of TLS without a connection.
pub(crate) fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

/// What the client wants to send.
pub(crate) fn outgoing(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Greets the server as far as its answer; what is to be sent then.
pub(crate) fn last_flight(client: &mut ClientConnection, stream: &mut TcpStream) -> Vec<u8> {
    stream.write_all(&outgoing(client)).unwrap();
    while !client.wants_write() {
        assert_ne!(client.read_tls(stream).unwrap(), 0, "an end within the handshake");
        client.process_new_packets().unwrap();
    }
    outgoing(client)
}

/// An encrypted connection.
pub(crate) struct TlsPeer {
    pub(crate) tls: ClientConnection,
    pub(crate) stream: TcpStream,
}

impl TlsPeer {
    /// Connects and greets.
    pub(crate) fn connect(to: SocketAddr, version: &'static SupportedProtocolVersion) -> Self {
        Self::greet(TcpStream::connect(to).unwrap(), version)
    }

    /// Greets the server of this connection.
    pub(crate) fn greet(mut stream: TcpStream, version: &'static SupportedProtocolVersion) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut tls = client(version);
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
        Self { tls, stream }
    }

    /// Connects, is accepted and opens the device.
    pub(crate) fn opened(daemon: &Daemon) -> Self {
        let mut peer = Self::connect(daemon.address, &TLS13);
        peer.send(&m::auth());
        peer.reply(m::AUTH);
        peer.send(&m::open(crate::daemon::DEVICE));
        peer.reply(m::OPEN);
        peer
    }

    fn both(&mut self) -> Stream<'_, ClientConnection, TcpStream> {
        Stream::new(&mut self.tls, &mut self.stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.both().write_all(bytes).unwrap();
        self.both().flush().unwrap();
    }

    /// The records of these bytes, not sent.
    pub(crate) fn sealed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(bytes).unwrap();
        outgoing(&mut self.tls)
    }

    /// The next message, or `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<Message>> {
        Message::read(&mut self.both())
    }

    /// The payload of the next message, which is the reply to a request of this type.
    pub(crate) fn reply(&mut self, request: u8) -> Vec<u8> {
        let message = self.next().unwrap().expect("a reply, not the end");
        let text = String::from_utf8_lossy(&message.payload);
        assert_eq!((message.version, message.kind), (0, request | m::REPLY), "{text:?}");
        message.payload
    }

    /// The text of the next message, which is an error with this code.
    pub(crate) fn error(&mut self, code: u16) -> String {
        let message = self.next().unwrap().expect("an error, not the end");
        assert_eq!((message.kind, message.value), (m::ERROR, code));
        String::from_utf8(message.payload).unwrap()
    }

    /// The next request is answered, and nothing comes before the answer. Packets sent so far.
    pub(crate) fn in_sync(&mut self) -> u32 {
        self.send(&m::msg(m::STATS, &[]));
        let payload = self.reply(m::STATS);
        u32::from_be_bytes(payload[12..].try_into().unwrap())
    }

    /// Ends the capture.
    pub(crate) fn endcap(&mut self) {
        self.send(&m::msg(m::ENDCAP, &[]));
        self.reply(m::ENDCAP);
    }

    /// The daemon ends the connection, in order or not.
    pub(crate) fn gone(mut self) {
        let mut rest = Vec::new();
        // Whatever comes, it is the end.
        let _ = self.both().read_to_end(&mut rest);
        let mut byte = [0];
        let last = self.stream.read(&mut byte);
        assert!(!matches!(last, Ok(1)), "there is more");
        if let Err(e) = last {
            assert!(crate::peer::is_gone(&e), "{e}");
        }
    }
}
