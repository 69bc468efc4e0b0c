//! A client that says what a test wants said, and shows what came back.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rpcap_proto::bpf::Instruction;
use rpcap_proto::deframe::{Deframer, Frame};
use rpcap_proto::wire::{
    AuthRequest, Checksum, Device, FilterBlock, Header, MessageType, OpenReply, PacketMessage,
    SNAPLEN_MAX, Sampling, StartFlags, StartReply, StartRequest, Stats, read_devices, write_empty,
    write_message,
};
use socket2::{Domain, Socket, Type};

use crate::PATIENCE;
use crate::daemon::Daemon;
use crate::filter;
use crate::net::{Namespace, within};
use crate::savefile::Packet;

/// Largest message that is accepted: a list of devices may be long.
const REPLY_MAX: u32 = 64 << 20;

/// An ERROR in place of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its code.
    pub code: u16,
    /// Its text.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR {}: {}", self.code, self.text)
    }
}

/// What STARTCAP asks for.
#[derive(Clone, Debug)]
pub struct Start {
    /// Most bytes of a packet.
    pub snaplen: u32,
    /// Read timeout in milliseconds.
    pub timeout_ms: u32,
    /// Flags; [`StartFlags::DATAGRAM`] makes the data come by UDP.
    pub flags: StartFlags,
    /// The filter.
    pub filter: Vec<Instruction>,
    /// Bytes of the receive buffer of a TCP data connection, if not the system's choice.
    pub receive_buffer: Option<usize>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            snaplen: SNAPLEN_MAX,
            timeout_ms: 100,
            flags: StartFlags::default(),
            filter: filter::everything(),
            receive_buffer: None,
        }
    }
}

impl Start {
    /// Everything that this filter text accepts, on Ethernet.
    #[track_caller]
    pub fn filtered(text: &str) -> Self {
        Self { filter: filter::compile(text), ..Self::default() }
    }
}

/// A control connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    deframer: Deframer,
    namespace: String,
    daemon: SocketAddr,
    /// Whether the daemon connected to us, and does so for data.
    called: bool,
}

impl Client {
    /// Connects and authenticates as nobody.
    #[track_caller]
    pub fn connect(daemon: &Daemon) -> Self {
        let mut client = Self::connect_only(daemon);
        client.authenticate();
        client
    }

    /// Connects, authenticates, and opens `b0`.
    #[track_caller]
    pub fn on_b0(daemon: &Daemon) -> Self {
        let mut client = Self::connect(daemon);
        assert_eq!(client.open("b0"), Ok(1), "the link type of a veth is Ethernet");
        client
    }

    /// Connects from another namespace than the daemon's, and authenticates as nobody.
    #[track_caller]
    pub fn connect_from(namespace: &Namespace, daemon: SocketAddr) -> Self {
        let mut client = Self::connect_to(namespace.name().to_owned(), daemon);
        client.authenticate();
        client
    }

    #[track_caller]
    fn authenticate(&mut self) {
        let mut message = Vec::new();
        AuthRequest::Null.write(&mut message).expect("nothing in it can be too long");
        self.ask(&message, MessageType::AuthReply).expect("NULL authentication");
    }

    /// Connects.
    #[track_caller]
    pub fn connect_only(daemon: &Daemon) -> Self {
        Self::connect_to(daemon.namespace().to_owned(), daemon.address())
    }

    #[track_caller]
    fn connect_to(namespace: String, daemon: SocketAddr) -> Self {
        let stream = within(&namespace, || TcpStream::connect(daemon).expect("connecting"));
        Self::on(stream, namespace, daemon, false)
    }

    /// On a connection that a daemon made to this namespace; authenticates as nobody.
    #[track_caller]
    pub(crate) fn called(stream: TcpStream, namespace: &str) -> Self {
        let daemon = stream.peer_addr().expect("the daemon's address");
        let mut client = Self::on(stream, namespace.to_owned(), daemon, true);
        client.authenticate();
        client
    }

    fn on(stream: TcpStream, namespace: String, daemon: SocketAddr, called: bool) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, deframer: Deframer::new(REPLY_MAX), namespace, daemon, called }
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("writing to the control connection");
    }

    /// The next message; `None` when the connection ends.
    #[track_caller]
    pub fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut buf = [0; 64 * 1024];
        loop {
            match self.deframer.next_frame() {
                Frame::Message(header, payload) => return Some((header, payload.to_vec())),
                Frame::Oversize(header) => panic!("a message too large to be true: {header:?}"),
                Frame::Incomplete { .. } => {}
            }
            match self.stream.read(&mut buf) {
                Ok(0) => return None,
                Ok(n) => self.deframer.push(&buf[..n]),
                // Reads with a timeout are, when the machine was put to sleep.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => panic!("reading from the control connection: {e}"),
            }
        }
    }

    /// The next message, which is this reply or an ERROR.
    #[track_caller]
    pub fn reply(&mut self, expected: MessageType) -> Result<(Header, Vec<u8>), Refusal> {
        let (header, payload) = self.receive().expect("a reply, not the end of the connection");
        if header.kind == MessageType::Error {
            let text = String::from_utf8_lossy(&payload).into_owned();
            return Err(Refusal { code: header.value, text });
        }
        assert_eq!(header.kind, expected, "the reply's type");
        Ok((header, payload))
    }

    /// Sends a request and takes its reply's payload.
    #[track_caller]
    pub fn ask(&mut self, message: &[u8], expected: MessageType) -> Result<Vec<u8>, Refusal> {
        self.send(message);
        self.reply(expected).map(|(_, payload)| payload)
    }

    #[track_caller]
    fn ask_empty(&mut self, request: MessageType, reply: MessageType) -> Result<Vec<u8>, Refusal> {
        let mut message = Vec::new();
        write_empty(&mut message, request);
        self.ask(&message, reply)
    }

    /// FINDALLIF.
    #[track_caller]
    pub fn devices(&mut self) -> Result<Vec<Device>, Refusal> {
        let mut message = Vec::new();
        write_empty(&mut message, MessageType::FindAllIfRequest);
        self.send(&message);
        let (header, payload) = self.reply(MessageType::FindAllIfReply)?;
        Ok(read_devices(&payload, header.value).expect("a sound list of devices"))
    }

    /// OPEN; the link type.
    #[track_caller]
    pub fn open(&mut self, device: &str) -> Result<u32, Refusal> {
        let mut message = Vec::new();
        write_message(&mut message, MessageType::OpenRequest, 0, |b| {
            b.extend_from_slice(device.as_bytes());
        });
        let payload = self.ask(&message, MessageType::OpenReply)?;
        Ok(OpenReply::read(&payload, 0).expect("a sound reply").linktype)
    }

    /// SETSAMPLING.
    #[track_caller]
    pub fn set_sampling(&mut self, sampling: Sampling) -> Result<(), Refusal> {
        let mut message = Vec::new();
        sampling.write(&mut message);
        self.ask(&message, MessageType::SetSamplingReply).map(|_| ())
    }

    /// STARTCAP, and the data connection if it is ours to make; a thread then reads it.
    #[track_caller]
    pub fn start(&mut self, start: &Start) -> Result<Data, Refusal> {
        if start.flags.contains(StartFlags::DATAGRAM) {
            let ip = self.stream.local_addr().expect("our own address").ip();
            let socket =
                within(&self.namespace, || UdpSocket::bind((ip, 0)).expect("a UDP socket"));
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20);
            let port = socket.local_addr().expect("its address").port();
            self.request_start(start, port)?;
            return Ok(Data::datagrams(socket));
        }
        if self.called {
            let ip = self.stream.local_addr().expect("our own address").ip();
            let listener = within(&self.namespace, || TcpListener::bind((ip, 0)));
            let listener = listener.expect("a port for data");
            self.request_start(start, listener.local_addr().expect("its address").port())?;
            let (stream, from) = listener.accept().expect("the daemon's connection for data");
            assert_eq!(from.ip(), self.daemon.ip(), "who connects for data");
            return Ok(Data::stream(stream));
        }
        self.start_unread(start).map(Data::stream)
    }

    /// The same over TCP in passive mode, and nobody reads.
    #[track_caller]
    pub fn start_unread(&mut self, start: &Start) -> Result<TcpStream, Refusal> {
        let port = self.request_start(start, 0)?.port;
        let mut address = self.daemon;
        address.set_port(port);
        Ok(within(&self.namespace, || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
            let socket = socket.expect("a TCP socket");
            if let Some(bytes) = start.receive_buffer {
                socket.set_recv_buffer_size(bytes).expect("a receive buffer");
            }
            socket.connect(&address.into()).expect("connecting for data");
            socket.into()
        }))
    }

    /// STARTCAP and its reply, no more; `port` is where the daemon is to send or to connect.
    #[track_caller]
    pub fn request_start(&mut self, start: &Start, port: u16) -> Result<StartReply, Refusal> {
        let mut message = Vec::new();
        let request = StartRequest {
            snaplen: start.snaplen,
            read_timeout_ms: start.timeout_ms,
            flags: start.flags,
            port,
            filter: FilterBlock { instructions: start.filter.clone() },
        };
        request.write(&mut message);
        let payload = self.ask(&message, MessageType::StartCaptureReply)?;
        Ok(StartReply::read(&payload).expect("a sound reply"))
    }

    /// UPDATEFILTER's bytes.
    pub fn filter_message(filter: &[Instruction]) -> Vec<u8> {
        let mut message = Vec::new();
        let block = FilterBlock { instructions: filter.to_vec() };
        write_message(&mut message, MessageType::UpdateFilterRequest, 0, |b| block.write(b));
        message
    }

    /// UPDATEFILTER.
    #[track_caller]
    pub fn set_filter(&mut self, filter: &[Instruction]) -> Result<(), Refusal> {
        let message = Self::filter_message(filter);
        self.ask(&message, MessageType::UpdateFilterReply).map(|_| ())
    }

    /// STATS.
    #[track_caller]
    pub fn stats(&mut self) -> Result<Stats, Refusal> {
        let payload = self.ask_empty(MessageType::StatsRequest, MessageType::StatsReply)?;
        Ok(Stats::read(&payload).expect("sound statistics"))
    }

    /// ENDCAP.
    #[track_caller]
    pub fn end_capture(&mut self) -> Result<(), Refusal> {
        self.ask_empty(MessageType::EndCaptureRequest, MessageType::EndCaptureReply).map(|_| ())
    }

    /// Waits for an ERROR that nobody asked for.
    #[track_caller]
    pub fn pushed_error(&mut self) -> Refusal {
        let (header, payload) = self.receive().expect("an ERROR, not the end of the connection");
        assert_eq!(header.kind, MessageType::Error, "what was pushed");
        let text = String::from_utf8_lossy(&payload).into_owned();
        Refusal { code: header.value, text }
    }

    /// Ends the session as the protocol says.
    pub fn close(mut self) {
        let mut message = Vec::new();
        write_empty(&mut message, MessageType::Close);
        self.send(&message);
    }
}

/// A data connection that is being read, and what came over it.
#[derive(Debug)]
pub struct Data {
    shared: Arc<Shared>,
    /// The TCP connection, for what a test may do to it.
    pub stream: Option<TcpStream>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Received>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Received {
    packets: Vec<Packet>,
    numbers: Vec<u32>,
    checksums: Vec<Checksum>,
    ended: bool,
    stop: bool,
    problem: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the whole messages at the front of `bytes`; how many bytes that was.
    fn take(&self, bytes: &[u8]) -> usize {
        let mut at = 0;
        let mut received = self.lock();
        loop {
            match PacketMessage::read(&bytes[at..], SNAPLEN_MAX) {
                Ok(Some(message)) => {
                    let h = message.header;
                    received.numbers.push(h.npkt);
                    received.checksums.push(h.fraction.checksum());
                    received.packets.push(Packet {
                        secs: h.time().as_secs(),
                        nanos: h.time().subsec_nanos(),
                        len: h.len,
                        data: message.data.to_vec(),
                    });
                    at += message.size;
                }
                Ok(None) => break,
                Err(e) => {
                    received.problem = Some(e.to_string());
                    break;
                }
            }
        }
        drop(received);
        self.changed.notify_all();
        at
    }

    fn end(&self, problem: Option<String>) {
        let mut received = self.lock();
        received.ended = true;
        if received.problem.is_none() {
            received.problem = problem;
        }
        drop(received);
        self.changed.notify_all();
    }
}

impl Data {
    /// Reads a TCP data connection until it ends.
    pub fn stream(stream: TcpStream) -> Self {
        let shared = Arc::new(Shared::default());
        let to = Arc::clone(&shared);
        let mut from = stream.try_clone().expect("a second handle");
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut buf = vec![0; 256 * 1024];
            loop {
                match from.read(&mut buf) {
                    Ok(0) if bytes.is_empty() => return to.end(None),
                    Ok(0) => return to.end(Some(format!("{} bytes of a message", bytes.len()))),
                    Ok(n) => {
                        bytes.extend_from_slice(&buf[..n]);
                        let used = to.take(&bytes);
                        bytes.drain(..used);
                    }
                    Err(e) => return to.end(Some(e.to_string())),
                }
            }
        });
        Self { shared, stream: Some(stream) }
    }

    fn datagrams(socket: UdpSocket) -> Self {
        let shared = Arc::new(Shared::default());
        let to = Arc::clone(&shared);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        thread::spawn(move || {
            let mut buf = vec![0; 65_536];
            while !to.lock().stop {
                if let Ok(n) = socket.recv(&mut buf)
                    && to.take(&buf[..n]) != n
                {
                    return to.end(Some("a datagram that is not one message".to_owned()));
                }
            }
        });
        Self { shared, stream: None }
    }

    #[track_caller]
    fn wait(&self, what: &str, mut condition: impl FnMut(&Received) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut received = self.shared.lock();
        while !condition(&received) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !received.ended,
                "waiting for {what}: {} packets came, ended: {}, {:?}",
                received.packets.len(),
                received.ended,
                received.problem
            );
            let waited = self.shared.changed.wait_timeout(received, left);
            received = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until so many packets came, and returns those so far.
    #[track_caller]
    pub fn wait_for(&self, packets: usize) -> Vec<Packet> {
        self.wait(&format!("{packets} packets"), |r| r.packets.len() >= packets);
        self.packets()
    }

    /// Waits for the packet of ours with this number.
    #[track_caller]
    pub fn wait_for_number(&self, number: u32) {
        let mut seen = 0;
        self.wait(&format!("packet {number}"), |r| {
            let new = &r.packets[seen..];
            seen = r.packets.len();
            new.iter().any(|p| crate::frames::number(&p.data) == Some(number))
        });
    }

    /// The packets so far.
    pub fn packets(&self) -> Vec<Packet> {
        self.shared.lock().packets.clone()
    }

    /// What was said of their checksums.
    pub fn checksums(&self) -> Vec<Checksum> {
        self.shared.lock().checksums.clone()
    }

    /// How many packets came so far.
    pub fn count(&self) -> usize {
        self.shared.lock().packets.len()
    }

    /// Waits for the end of a TCP data connection and returns all that came. It must have ended
    /// between two messages, and the packets are numbered without a gap.
    #[track_caller]
    pub fn wait_for_end(&self) -> Vec<Packet> {
        self.wait("the end", |r| r.ended);
        let received = self.shared.lock();
        assert_eq!(received.problem, None, "how the data connection ended");
        let expected: Vec<u32> = (1..).take(received.numbers.len()).collect();
        assert_eq!(received.numbers, expected, "npkt of the packets");
        received.packets.clone()
    }

    /// Waits for the end of a TCP data connection, however it comes.
    #[track_caller]
    pub fn wait_for_any_end(&self) {
        self.wait("the end", |r| r.ended);
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}
