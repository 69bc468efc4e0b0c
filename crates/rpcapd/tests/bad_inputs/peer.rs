//! A client that sends what it is told to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::daemon::{DEVICE, Daemon, SOON};
use crate::data::Data;
use crate::message::{self as m, Start};

/// A message of the daemon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) version: u8,
    pub(crate) kind: u8,
    pub(crate) value: u16,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// The next one, or `None` at the end of the stream.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; 8];
        if from.read(&mut header[..1])? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut header[1..])?;
        let [version, kind, v0, v1, len @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes(len) as usize];
        from.read_exact(&mut payload)?;
        Ok(Some(Self { version, kind, value: u16::from_be_bytes([v0, v1]), payload }))
    }
}

/// A control connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    /// Connects and says nothing.
    pub(crate) fn connect(daemon: &Daemon) -> Self {
        Self::new(TcpStream::connect(daemon.address).unwrap())
    }

    /// The same from an address of this host.
    pub(crate) fn from(source: IpAddr, to: SocketAddr) -> Self {
        Self::new(connect_from(source, to, None).unwrap())
    }

    /// The same with little room for what the daemon sends.
    pub(crate) fn with_small_buffer(daemon: &Daemon) -> Self {
        let source = daemon.address.ip();
        Self::new(connect_from(source, daemon.address, Some(4096)).unwrap())
    }

    /// Takes the next connection of a daemon in active mode.
    pub(crate) fn called(listener: &TcpListener) -> Self {
        Self::new(listener.accept().unwrap().0)
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        Self { stream }
    }

    /// Connects and is accepted.
    pub(crate) fn accepted(daemon: &Daemon) -> Self {
        let mut peer = Self::connect(daemon);
        peer.authenticate();
        peer
    }

    /// Connects, is accepted and opens the device.
    pub(crate) fn opened(daemon: &Daemon) -> Self {
        let mut peer = Self::accepted(daemon);
        peer.open();
        peer
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends as much as the daemon takes before it ends the connection.
    pub(crate) fn send_what_is_taken(&mut self, bytes: &[u8]) {
        if let Err(e) = self.stream.write_all(bytes) {
            assert!(is_gone(&e), "{e}");
        }
    }

    /// The next message, or `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> io::Result<Option<Message>> {
        Message::read(&mut self.stream)
    }

    /// The next message, which must be there.
    pub(crate) fn read(&mut self) -> Message {
        self.next().unwrap().expect("a message, not the end")
    }

    /// The payload of the next message, which is the reply to a request of this type.
    pub(crate) fn reply(&mut self, request: u8) -> Vec<u8> {
        let message = self.read();
        let text = String::from_utf8_lossy(&message.payload);
        assert_eq!((message.version, message.kind), (0, request | m::REPLY), "{text:?}");
        message.payload
    }

    /// The text of the next message, which is an error with this code.
    pub(crate) fn error(&mut self, code: u16) -> String {
        let (version, text) = self.error_of_version(code);
        assert_eq!(version, 0);
        text
    }

    /// The same, with the version in its header.
    pub(crate) fn error_of_version(&mut self, code: u16) -> (u8, String) {
        let message = self.read();
        assert_eq!((message.kind, message.value), (m::ERROR, code));
        let text = String::from_utf8(message.payload).unwrap();
        assert!(!text.is_empty() && text.len() <= 256, "{text:?}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
        (message.version, text)
    }

    /// The daemon ends the connection in order, and says no more before that. So does the peer: a
    /// daemon that told it why it ends waits for that a while.
    pub(crate) fn end(&mut self) {
        assert_eq!(self.next().unwrap(), None);
        self.close();
    }

    fn close(&self) {
        // It fails if there is no connection left.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The daemon ends the connection, in order or not.
    pub(crate) fn gone(&mut self) {
        match self.next() {
            Ok(None) => {}
            Ok(Some(message)) => panic!("not the end but {message:?}"),
            Err(e) => assert!(is_gone(&e), "{e}"),
        }
        self.close();
    }

    pub(crate) fn authenticate(&mut self) {
        self.send(&m::auth());
        self.authenticated();
    }

    /// An AUTH that was sent is accepted.
    pub(crate) fn authenticated(&mut self) {
        let magic = 0xa1b2_c3d4u32.to_ne_bytes();
        assert_eq!(self.reply(m::AUTH), [&[0; 4][..], &magic].concat());
    }

    pub(crate) fn open(&mut self) {
        self.send(&m::open(DEVICE));
        assert_eq!(self.reply(m::OPEN), [0, 0, 0, 1, 0, 0, 0, 0]);
    }

    /// The counters: received, dropped by the interface, dropped by the kernel, sent.
    pub(crate) fn stats(&mut self) -> [u32; 4] {
        self.send(&m::msg(m::STATS, &[]));
        self.stats_reply()
    }

    pub(crate) fn stats_reply(&mut self) -> [u32; 4] {
        let payload = self.reply(m::STATS);
        assert_eq!(payload.len(), 16);
        let mut fields = payload.chunks_exact(4);
        std::array::from_fn(|_| u32::from_be_bytes(fields.next().unwrap().try_into().unwrap()))
    }

    /// An accepted client's next request is answered, and nothing comes before the answer.
    pub(crate) fn in_sync(&mut self) {
        self.stats();
    }

    /// Sends a request that is refused with this code, and another one behind it in the same
    /// segment, which is answered. The text of the refusal.
    pub(crate) fn refused(&mut self, bytes: &[u8], code: u16) -> String {
        self.send(&[bytes, &m::msg(m::STATS, &[])].concat());
        let text = self.error(code);
        self.stats_reply();
        text
    }

    /// Starts a capture; the daemon's data port.
    pub(crate) fn start(&mut self, start: &Start) -> u16 {
        self.send(&start.bytes());
        self.started()
    }

    /// A STARTCAP that was sent is accepted.
    pub(crate) fn started(&mut self) -> u16 {
        let payload = self.reply(m::STARTCAP);
        assert_eq!(payload.len(), 8);
        assert_eq!(payload[6..], [0, 0]);
        u16::from_be_bytes([payload[4], payload[5]])
    }

    /// Starts a capture, and opens the data connection that the daemon waits for.
    pub(crate) fn capture(&mut self, start: &Start) -> Data {
        let port = self.start(start);
        assert_ne!(port, 0);
        self.data(port)
    }

    /// Opens the data connection to this port.
    pub(crate) fn data(&self, port: u16) -> Data {
        let ip = self.stream.peer_addr().unwrap().ip();
        Data::new(TcpStream::connect((ip, port)).unwrap())
    }

    /// Ends the capture.
    pub(crate) fn endcap(&mut self) {
        self.send(&m::msg(m::ENDCAP, &[]));
        assert_eq!(self.reply(m::ENDCAP), []);
    }

    /// Sends the end of the stream, and no more.
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        reset(self.stream);
    }
}

/// Resets a connection.
pub(crate) fn reset(stream: TcpStream) {
    let abort = Some(Duration::ZERO);
    SockRef::from(&stream).set_linger(abort).unwrap();
}

pub(crate) fn is_gone(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
    )
}

/// Connects from an address of this host.
pub(crate) fn connect_from(
    source: IpAddr,
    to: SocketAddr,
    receive_buffer: Option<usize>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}
