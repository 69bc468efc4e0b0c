//! Daemons that encrypt, badly: handshakes and records that are cut, changed, or slow, and data
//! connections of somebody else.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rpcap::client::{CaptureOptions, Client, Credentials, Error, Transport};
use rpcap::data::{DataError, Gauge, Received, Receiver};
use rpcap::tls::{Fingerprint, Tls, TlsFailure, TlsOptions, Trust};
use rpcap::url::Endpoint;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, version};

use crate::common::*;

const PATIENCE: Duration = Duration::from_secs(10);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// An encrypted connection, as the daemon has it.
type Encrypted = StreamOwned<ServerConnection, TcpStream>;

/// A daemon's certificate.
struct Identity {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl Identity {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let fingerprint = Fingerprint::of(certificate.der());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self { config: Arc::new(config), fingerprint }
    }

    /// A client that trusts it.
    fn trusted(&self) -> Tls {
        let trust = Trust::Fingerprints(vec![self.fingerprint]);
        Tls::new(&TlsOptions { trust, identity: None }).unwrap()
    }

    fn accept(&self, socket: TcpStream) -> Encrypted {
        let connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        StreamOwned::new(connection, socket)
    }

    /// What it answers to the first words of a client.
    fn flight(&self, socket: &mut TcpStream) -> Vec<u8> {
        let mut connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        let mut flight = Vec::new();
        while !connection.wants_write() {
            connection.read_tls(socket).unwrap();
            connection.process_new_packets().unwrap();
        }
        while connection.wants_write() {
            connection.write_tls(&mut flight).unwrap();
        }
        flight
    }
}

/// A listener, and what its connections do in a thread of their own.
fn serve(mut each: impl FnMut(TcpStream) + Send + 'static) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            each(socket);
        }
    });
    Endpoint { host: "127.0.0.1".to_owned(), port }
}

/// Says these bytes and nothing more, and waits for the client to go.
fn say_and_end(mut socket: TcpStream, bytes: &[u8]) {
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(Shutdown::Write);
    let mut rest = [0; 4096];
    while matches!(socket.read(&mut rest), Ok(1..)) {}
}

fn failure(result: Result<Client, Error>) -> TlsFailure {
    match result {
        Err(Error::Tls { source, .. }) => *source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_handshake_that_is_cut_at_any_byte() {
    for version in VERSIONS {
        let identity = Identity::new(version);
        let tls = identity.trusted();
        // The flight has a signature in it, whose length varies.
        let (mut cut, (told, whole)) = (0, std::sync::mpsc::channel());
        let endpoint = serve(move |mut socket| {
            let flight = identity.flight(&mut socket);
            say_and_end(socket, &flight[..cut.min(flight.len() - 1)]);
            cut += 1;
            let _ = told.send(cut >= flight.len());
        });
        loop {
            let before = Instant::now();
            let failure = failure(Client::connect_tls(&endpoint, &tls, PATIENCE));
            assert!(matches!(failure, TlsFailure::Ended), "{failure}");
            assert!(before.elapsed() < PATIENCE / 2);
            if whole.recv().unwrap() {
                break;
            }
        }
    }
}

#[test]
fn a_handshake_of_which_any_byte_is_changed() {
    for version in VERSIONS {
        let identity = Identity::new(version);
        let tls = identity.trusted();
        let (mut at, (told, done)) = (0, std::sync::mpsc::channel());
        let endpoint = serve(move |mut socket| {
            let mut flight = identity.flight(&mut socket);
            // The version of a record means nothing.
            let (mut record, mut versions) = (0, Vec::new());
            while record < flight.len() {
                versions.extend([record + 1, record + 2]);
                let len = u16::from_be_bytes([flight[record + 3], flight[record + 4]]);
                record += 5 + usize::from(len);
            }
            if versions.contains(&at) {
                at += 1;
            }
            let Some(byte) = flight.get_mut(at) else {
                let _ = told.send(true);
                return;
            };
            *byte ^= 0x55;
            at += 1;
            say_and_end(socket, &flight);
            let _ = told.send(false);
        });
        loop {
            // Whatever is made of it, it is no session.
            if let Ok(mut client) = Client::connect_tls(&endpoint, &tls, PATIENCE) {
                let authenticated = client.authenticate(&Credentials::Null);
                authenticated.expect_err("a handshake that was changed");
            }
            if done.recv().unwrap() {
                break;
            }
        }
    }
}

#[test]
fn a_handshake_that_takes_too_long() {
    let identity = Identity::new(&version::TLS13);
    let tls = identity.trusted();
    let endpoint = serve(move |mut socket| {
        for byte in identity.flight(&mut socket) {
            if socket.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let before = Instant::now();
    let time = Duration::from_millis(400);
    let failure = failure(Client::connect_tls(&endpoint, &tls, time));
    assert!(matches!(failure, TlsFailure::TimedOut(_)), "{failure}");
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
}

#[test]
fn records_from_nowhere() {
    let identity = Identity::new(&version::TLS13);
    let tls = identity.trusted();
    const HUGE: [u8; 8] = [22, 3, 3, 0xff, 0xff, 0, 0, 0];
    const EARLY: [u8; 9] = [23, 3, 3, 0, 4, 1, 2, 3, 4];
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let sayings: [(&[u8], &str); 6] = [
        (&HUGE, "received corrupt message"),
        (&EARLY, "received unexpected message"),
        (http, "it does not speak TLS"),
        (&[0, 1, 0, 10, 0, 0, 0, 2, b'n', b'o'], "it says, before any TLS: no"),
        (&[21, 3, 1, 0, 2, 2, 40], "it does not speak TLS"),
        (&[21, 3, 3, 0, 2, 2, 80], "it refuses to go on (InternalError)"),
    ];
    let mut turn = sayings.into_iter().map(|(bytes, _)| bytes.to_vec());
    let endpoint = serve(move |mut socket| {
        identity.flight(&mut socket);
        say_and_end(socket, &turn.next().unwrap());
    });
    for (bytes, expected) in sayings {
        let failure = failure(Client::connect_tls(&endpoint, &tls, PATIENCE)).to_string();
        assert!(failure.starts_with(expected), "{bytes:?}: {failure}");
    }
}

/// What a peer says next, without its header.
fn hear(stream: &mut Encrypted) -> Option<Vec<u8>> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    let len = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).ok()?;
    Some(payload)
}

fn answer(stream: &mut Encrypted, kind: u8, payload: &[u8]) {
    hear(stream).unwrap();
    stream.write_all(&message(kind, 0, payload)).unwrap();
}

#[test]
fn an_answer_that_is_cut_at_any_byte() {
    for version in VERSIONS {
        let identity = Identity::new(version);
        let tls = identity.trusted();
        let mut cut = 0;
        let (told, whole) = std::sync::mpsc::channel();
        let endpoint = serve(move |socket| {
            let mut stream = identity.accept(socket);
            hear(&mut stream).unwrap();
            // As records, which are sent as far as they are to be.
            let mut records = Vec::new();
            stream.conn.writer().write_all(&message(AUTHENTICATED, 0, &[])).unwrap();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut records).unwrap();
            }
            let _ = told.send(cut == records.len());
            say_and_end(stream.sock, &records[..cut]);
            cut += 1;
        });
        loop {
            let mut client = Client::connect_tls(&endpoint, &tls, PATIENCE).unwrap();
            let mut result = client.authenticate(&Credentials::Null).map(drop);
            let whole = whole.recv().unwrap();
            if whole {
                // An end that was not announced is none either.
                result.unwrap();
                result = client.devices().map(drop);
            }
            let error = result.unwrap_err();
            assert!(error.to_string().contains("it was cut off"), "{error}");
            if whole {
                break;
            }
        }
    }
}

/// A daemon that lets a capture start, whose data connection is what `data` makes of it.
fn capture(
    identity: Identity,
    data: impl FnOnce(&Identity, TcpStream) + Send + 'static,
) -> (Client, JoinHandle<()>) {
    let tls = identity.trusted();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut control = identity.accept(listener.accept().unwrap().0);
        answer(&mut control, AUTHENTICATED, &[]);
        let place = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = place.local_addr().unwrap().port().to_be_bytes();
        answer(&mut control, STARTED, &[0, 0, 0, 0, port[0], port[1], 0, 0]);
        data(&identity, place.accept().unwrap().0);
        while hear(&mut control).is_some() {}
    });
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port };
    let mut client = Client::connect_tls(&endpoint, &tls, PATIENCE).unwrap();
    client.authenticate(&Credentials::Null).unwrap();
    (client, thread)
}

fn data_failure(client: &mut Client) -> TlsFailure {
    match client.start(&CaptureOptions::default()) {
        Err(Error::DataTls { source, .. }) => *source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_data_connection_of_somebody_else() {
    // Both are trusted, but they are not the same.
    let (one, other) = (Identity::new(&version::TLS13), Identity::new(&version::TLS13));
    let trust = Trust::Anybody;
    let tls = Tls::new(&TlsOptions { trust, identity: None }).unwrap();
    let (control, data) = (one.fingerprint, other.fingerprint);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut control = one.accept(listener.accept().unwrap().0);
        answer(&mut control, AUTHENTICATED, &[]);
        let place = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = place.local_addr().unwrap().port().to_be_bytes();
        answer(&mut control, STARTED, &[0, 0, 0, 0, port[0], port[1], 0, 0]);
        let mut data = other.accept(place.accept().unwrap().0);
        let _ = data.write_all(&packet(1, b"forged"));
        let _ = data.read(&mut [0; 1]);
    });
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port };
    let mut client = Client::connect_tls(&endpoint, &tls, PATIENCE).unwrap();
    client.authenticate(&Credentials::Null).unwrap();
    match data_failure(&mut client) {
        TlsFailure::OtherCertificate { control: c, data: d } => {
            assert_eq!((c, d), (control, data));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_data_connection_without_tls() {
    let (mut client, _) = capture(Identity::new(&version::TLS13), |_, mut socket| {
        let _ = socket.write_all(&packet(1, b"in the clear"));
        let _ = socket.read(&mut [0; 4096]);
    });
    let failure = data_failure(&mut client);
    assert!(matches!(failure, TlsFailure::Plain), "{failure:?}");
}

/// What comes of a data connection.
fn receive(
    version: &'static SupportedProtocolVersion,
    data: impl FnOnce(Encrypted) + Send + 'static,
) -> (Received, Option<DataError>) {
    let (mut client, _) = capture(Identity::new(version), |identity, socket| {
        data(identity.accept(socket));
    });
    let mut receiver = client.start(&CaptureOptions::default()).unwrap();
    assert!(matches!(receiver, Receiver::Tcp(_)));
    receiver.run(&mut (), &Gauge::default())
}

#[test]
fn data_that_is_cut_off_is_told_from_data_that_ends() {
    let packets: Vec<u8> = (1..=2000).flat_map(|n| packet(n, &[7; 1000])).collect();
    for version in VERSIONS {
        let bytes = packets.clone();
        let (received, error) = receive(version, move |mut data| {
            data.write_all(&bytes).unwrap();
            data.conn.send_close_notify();
            data.flush().unwrap();
        });
        assert_eq!((received.packets, error.map(|e| e.to_string())), (2000, None));

        let bytes = packets.clone();
        let (received, error) = receive(version, move |mut data| data.write_all(&bytes).unwrap());
        assert_eq!(received.packets, 2000);
        assert!(matches!(error, Some(DataError::CutOff)), "{error:?}");

        // Good records, and then one that is not: what came before it counts.
        let bytes = packets.clone();
        let (received, error) = receive(version, move |mut data| {
            data.write_all(&bytes).unwrap();
            data.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
            data.sock.write_all(&[0; 40]).unwrap();
            let _ = data.sock.read(&mut [0; 1]);
        });
        assert_eq!(received.packets, 2000);
        let error = error.unwrap().to_string();
        assert!(error.contains("the data connection broke: cannot decrypt"), "{error}");
    }
}

/// A daemon that lets a capture by UDP start, confirms these extensions, and tells what it was sent.
fn capture_by_udp(
    version: &'static SupportedProtocolVersion,
    confirmed: u16,
) -> (Result<(), Error>, Vec<Vec<u8>>) {
    let identity = Identity::new(version);
    let tls = identity.trusted();
    let (told, heard) = std::sync::mpsc::channel();
    let endpoint = serve(move |socket| {
        let mut stream = identity.accept(socket);
        answer(&mut stream, AUTHENTICATED, &[]);
        let confirmed = confirmed.to_be_bytes();
        for (kind, payload) in
            [(STARTED, &[0, 0, 0, 0, 0, 9, confirmed[0], confirmed[1]][..]), (ENDED, &[])]
        {
            let Some(request) = hear(&mut stream) else { break };
            told.send(request).unwrap();
            stream.write_all(&message(kind, 0, payload)).unwrap();
        }
        hear(&mut stream);
    });
    let mut client = Client::connect_tls(&endpoint, &tls, PATIENCE).unwrap();
    client.authenticate(&Credentials::Null).unwrap();
    let options = CaptureOptions { transport: Transport::Udp, ..CaptureOptions::default() };
    let result = client.start(&options).map(drop);
    client.close();
    (result, heard.try_iter().collect())
}

#[test]
fn datagrams_that_would_not_be_sealed() {
    // The daemon knows no extension, or not this one: the capture is ended.
    for confirmed in [0, 0x0100, 0x0300, 0xfbff] {
        let (result, heard) = capture_by_udp(&version::TLS13, confirmed);
        assert!(matches!(result, Err(Error::DatagramsInClear(_))), "{result:?}");
        let [start, end] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!(start[8..10], [0x1d, 0x03]);
        assert!(end.is_empty());
    }
    // Without TLS 1.3 it is not even asked for: what is heard, if anything, is the end.
    let (result, heard) = capture_by_udp(&version::TLS12, 0x0700);
    assert!(matches!(result, Err(Error::DatagramsInClear(_))), "{result:?}");
    assert!(heard.iter().all(Vec::is_empty), "{heard:?}");
    // It does it.
    let (result, heard) = capture_by_udp(&version::TLS13, 0x0700);
    result.unwrap();
    assert!(!heard[0].is_empty());
}

/// It may come before anything is asked, and with the end of the connection behind it.
#[test]
fn what_broke_a_session_is_told_when_something_is_asked() {
    let identity = Identity::new(&version::TLS13);
    let tls = identity.trusted();
    let (told, sent) = std::sync::mpsc::channel();
    let endpoint = serve(move |socket| {
        let mut stream = identity.accept(socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
        stream.sock.write_all(&[0; 40]).unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        told.send(()).unwrap();
        while matches!(stream.sock.read(&mut [0; 64]), Ok(1..)) {}
    });
    let mut client = Client::connect_tls(&endpoint, &tls, PATIENCE).unwrap();
    sent.recv().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let error = client.authenticate(&Credentials::Null).unwrap_err();
    assert!(error.to_string().contains("cannot decrypt"), "{error}");
}
