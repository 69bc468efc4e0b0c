//! A daemon that says whatever a test wants, over real sockets.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use rpcap::client::{Client, Credentials};
use rpcap::url::Endpoint;

pub(crate) const ERROR: u8 = 1;
pub(crate) const PACKET: u8 = 7;
pub(crate) const DEVICES: u8 = 0x82;
pub(crate) const OPENED: u8 = 0x83;
pub(crate) const STARTED: u8 = 0x84;
pub(crate) const AUTHENTICATED: u8 = 0x88;
pub(crate) const STATS: u8 = 0x89;
pub(crate) const ENDED: u8 = 0x8a;

/// The daemon's end of a control connection.
pub(crate) struct Daemon(pub(crate) TcpStream);

/// A daemon for one connection; what its script says happens in a thread.
pub(crate) fn daemon(
    script: impl FnOnce(&mut Daemon) + Send + 'static,
) -> (Endpoint, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        script(&mut Daemon(stream));
    });
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port };
    (endpoint, thread)
}

/// A client that a daemon with this script has let in.
pub(crate) fn client(script: impl FnOnce(&mut Daemon) + Send + 'static) -> Client {
    let (endpoint, _) = daemon(|d| {
        d.authenticate();
        script(d);
        d.rest();
    });
    let mut client = Client::connect(&endpoint, Duration::from_secs(2)).unwrap();
    client.authenticate(&Credentials::Null).unwrap();
    client
}

/// The bytes of a message.
pub(crate) fn message(kind: u8, value: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend_from_slice(&value.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The bytes of a PACKET message.
pub(crate) fn packet(npkt: u32, data: &[u8]) -> Vec<u8> {
    let len = data.len() as u32;
    let mut payload: Vec<u8> = [1_700_000_000, 123_456, len, len, npkt]
        .iter()
        .flat_map(|n: &u32| n.to_be_bytes())
        .collect();
    payload.extend_from_slice(data);
    message(PACKET, 0, &payload)
}

/// The bytes of a udpstr datagram.
pub(crate) fn udpstr(seqno: u32, first: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 110];
    bytes.extend_from_slice(&first.to_be_bytes());
    bytes.extend_from_slice(&seqno.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

impl Daemon {
    /// The next message from the client, `None` if there is none.
    pub(crate) fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 8];
        self.0.read_exact(&mut header).ok()?;
        let len = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let mut payload = vec![0; len as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some((header[1], payload))
    }

    /// Says something; the client may be gone.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Hears one message and answers.
    pub(crate) fn answer(&mut self, kind: u8, value: u16, payload: &[u8]) {
        if self.hear().is_some() {
            self.say(&message(kind, value, payload));
        }
    }

    pub(crate) fn authenticate(&mut self) {
        self.answer(AUTHENTICATED, 0, &[]);
    }

    /// Lets in, opens as Ethernet, and starts a capture whose data goes over the stream returned.
    pub(crate) fn start(&mut self) -> TcpStream {
        self.start_saying(0)
    }

    /// The same with these extensions in the reply.
    pub(crate) fn start_saying(&mut self, extensions: u16) -> TcpStream {
        let [e0, e1] = extensions.to_be_bytes();
        self.answer(OPENED, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_be_bytes();
        self.answer(STARTED, 0, &[0, 0, 0, 0, port[0], port[1], e0, e1]);
        listener.accept().unwrap().0
    }

    /// Opens and starts a capture whose data goes to the address returned.
    pub(crate) fn start_udp(&mut self) -> SocketAddr {
        self.start_udp_saying(0, 0)
    }

    /// The same with these extensions, and this port of its own, in the reply.
    pub(crate) fn start_udp_saying(&mut self, port: u16, extensions: u16) -> SocketAddr {
        self.answer(OPENED, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
        let (_, request) = self.hear().unwrap();
        let ([p0, p1], [e0, e1]) = (port.to_be_bytes(), extensions.to_be_bytes());
        self.say(&message(STARTED, 0, &[0, 0, 0, 0, p0, p1, e0, e1]));
        let mut address = self.0.peer_addr().unwrap();
        address.set_port(u16::from_be_bytes([request[10], request[11]]));
        address
    }

    /// Listens until the client is gone.
    pub(crate) fn rest(&mut self) {
        while self.hear().is_some() {}
    }
}
