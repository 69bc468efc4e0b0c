//! The control connection.

mod connect;
mod error;
mod exchange;
mod options;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rpcap_proto::bpf::Instruction;
use rpcap_proto::sealed::Opener;
use rpcap_proto::session::{ClientError, ClientSession, Event, Request};
use rpcap_proto::wire::{
    AuthReply, AuthRequest, Device, FilterBlock, OpenReply, SNAPLEN_MAX, Sampling, StartFlags,
    StartRequest, Stats,
};

pub(crate) use self::connect::prepare;
pub use self::error::{Asked, Error};
pub use self::options::{CaptureOptions, Credentials, Transport};
use crate::clock::{self, Estimate, Offset, Question};
use crate::data::{Receiver, TcpReceiver, UdpReceiver};
use crate::stream::Stream;
use crate::tls::{Fingerprint, Tls, TlsFailure, TlsStream};
use crate::url::Endpoint;

/// Bytes that are taken at a time from an encrypted connection: replies are short, packets are not.
const CONTROL_ROOM: usize = 16 * 1024;
const DATA_ROOM: usize = 256 * 1024;

/// What a daemon said without having been asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// See [`rpcap_proto::wire::ErrorCode`]; other numbers are possible.
    pub code: u16,
    /// One harmless line, possibly empty.
    pub text: String,
}

impl fmt::Display for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&error::text_or_code(&self.text, self.code))
    }
}

/// A control connection.
///
/// One method per request; each waits for its reply until the client's deadline. What the daemon
/// says meanwhile without having been asked is kept for [`Client::pushed`]. After an error other
/// than [`Error::Refused`] the connection is of no more use.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    peer: SocketAddr,
    stream: Stream,
    tls: Option<Tls>,
    /// The daemon connected by itself (active mode), and makes the data connections as well.
    called: bool,
    session: ClientSession,
    /// Captures so far whose datagrams were sealed.
    sealed: u32,
    /// How far the daemon's clock is from this host's, as this capture has shown so far.
    clock: Estimate,
    timeout: Duration,
    pushed: VecDeque<Pushed>,
    /// The last thing pushed: when the connection ends, it is the reason.
    last_pushed: Option<Pushed>,
}

impl Client {
    /// Connects without TLS. `timeout` is the deadline for this and for every reply.
    pub fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Self, Error> {
        Self::new(endpoint, None, timeout)
    }

    /// Connects with TLS, which the data connections will have as well. `timeout` is the deadline
    /// for a connection, for the handshake, and for every reply.
    pub fn connect_tls(endpoint: &Endpoint, tls: &Tls, timeout: Duration) -> Result<Self, Error> {
        Self::new(endpoint, Some(tls), timeout)
    }

    fn new(endpoint: &Endpoint, tls: Option<&Tls>, timeout: Duration) -> Result<Self, Error> {
        let socket = connect::connect(endpoint, timeout)?;
        let peer = socket.peer_addr().map_err(|e| lost_with(endpoint, e))?;
        Self::over(socket, endpoint, peer, tls, timeout, false)
    }

    /// Takes the connection of a daemon that called (active mode), with TLS if it is given.
    /// `timeout` is the deadline for the handshake, for every reply and for data connections.
    ///
    /// A certificate has to be for `name`, or, if that is `None`, for the daemon's address.
    pub fn accept(
        (socket, peer): (TcpStream, SocketAddr),
        name: Option<&str>,
        tls: Option<&Tls>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let host = name.map_or_else(|| peer.ip().to_canonical().to_string(), str::to_owned);
        let endpoint = Endpoint { host, port: peer.port() };
        connect::prepare(&socket);
        Self::over(socket, &endpoint, peer, tls, timeout, true)
    }

    fn over(
        socket: TcpStream,
        endpoint: &Endpoint,
        peer: SocketAddr,
        tls: Option<&Tls>,
        timeout: Duration,
        called: bool,
    ) -> Result<Self, Error> {
        let lost = |source| lost_with(endpoint, source);
        socket.set_write_timeout(Some(timeout)).map_err(lost)?;
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                let greeted = greet(tls, endpoint, peer.ip(), socket, timeout, CONTROL_ROOM);
                let failed = |e| Error::Tls { endpoint: endpoint.clone(), source: Box::new(e) };
                Stream::Tls(Box::new(greeted.map_err(failed)?))
            }
        };
        Ok(Self {
            endpoint: endpoint.clone(),
            peer,
            stream,
            tls: tls.cloned(),
            called,
            session: ClientSession::new(),
            sealed: 0,
            clock: Estimate::default(),
            timeout,
            pushed: VecDeque::new(),
            last_pushed: None,
        })
    }

    /// Whom this client talks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The daemon's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The deadline for every reply.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether nobody on the way can read what is said.
    pub fn is_encrypted(&self) -> bool {
        self.stream.tls().is_some()
    }

    /// Asks to be let in.
    pub fn authenticate(&mut self, credentials: &Credentials) -> Result<AuthReply, Error> {
        let auth = match credentials {
            Credentials::Null => AuthRequest::Null,
            Credentials::Password { user, password } => {
                AuthRequest::Password { user: user.as_bytes(), password: password.as_bytes() }
            }
        };
        self.call(Asked::Authenticate, &Request::Authenticate(auth), |event| match event {
            Event::Authenticated(reply) => Some(reply),
            _ => None,
        })
    }

    /// The daemon's devices.
    pub fn devices(&mut self) -> Result<Vec<Device>, Error> {
        self.call(Asked::ListDevices, &Request::ListDevices, |event| match event {
            Event::Devices(devices) => Some(devices),
            _ => None,
        })
    }

    /// Chooses the device of the next capture.
    pub fn open(&mut self, device: &str) -> Result<OpenReply, Error> {
        self.call(Asked::Open, &Request::Open(device), |event| match event {
            Event::Opened(reply) => Some(reply),
            _ => None,
        })
    }

    /// Says which packets the next capture leaves out.
    pub fn set_sampling(&mut self, sampling: Sampling) -> Result<(), Error> {
        let request = Request::SetSampling(sampling);
        self.call(Asked::SetSampling, &request, |_| Some(()))
    }

    /// Starts a capture from the device that was opened and makes the data connection.
    pub fn start(&mut self, options: &CaptureOptions) -> Result<Receiver, Error> {
        let snaplen = match options.snaplen {
            1..=SNAPLEN_MAX => options.snaplen,
            _ => SNAPLEN_MAX,
        };
        // What to do with it is this client's business, and it costs nothing.
        let mut flags = options.flags | StartFlags::CLOCK | StartFlags::NANOS;
        if options.promisc {
            flags = flags | StartFlags::PROMISC;
        }
        let (mut port, mut udp, mut listener) = (0, None, None);
        if options.transport == Transport::Udp {
            flags = flags | StartFlags::DATAGRAM;
            let mut receiver = UdpReceiver::bind(self.local_addr()?, self.peer.ip(), snaplen)
                .map_err(|source| self.data_error(self.peer, source))?;
            if let Some(tls) = self.stream.tls() {
                let seal = tls.seal(self.sealed);
                let (secret, cipher) =
                    seal.ok_or_else(|| Error::DatagramsInClear(self.endpoint.clone()))?;
                receiver.expect_sealed(Opener::new(secret, cipher));
                flags = flags | StartFlags::UDPSTR | StartFlags::SEALED;
            }
            port = receiver.port();
            udp = Some(receiver);
        } else if self.called {
            let mut address = self.local_addr()?;
            address.set_port(0);
            let made = TcpListener::bind(address).and_then(|l| Ok((l.local_addr()?.port(), l)));
            let (its_port, made) = made.map_err(|source| self.data_error(address, source))?;
            port = its_port;
            listener = Some(made);
            flags = flags | StartFlags::SERVER_OPEN;
        }
        let request = StartRequest {
            snaplen,
            read_timeout_ms: options.read_timeout.as_millis().try_into().unwrap_or(u32::MAX),
            flags,
            port,
            filter: block(options.filter.clone()),
        };
        let request = Request::Start(&request);
        self.clock = Estimate::default();
        let reply = self.call(Asked::Start, &request, |event| match event {
            Event::Started(reply) => Some(reply),
            _ => None,
        })?;
        if let Some(mut receiver) = udp {
            if self.is_encrypted() {
                if !StartFlags(reply.extensions).contains(StartFlags::SEALED) {
                    self.end()?;
                    return Err(Error::DatagramsInClear(self.endpoint.clone()));
                }
                self.sealed += 1;
            }
            let told = flags.contains(StartFlags::SOURCE_PORT)
                && StartFlags(reply.extensions).contains(StartFlags::SOURCE_PORT);
            if told && reply.port != 0 {
                receiver.expect_from(reply.port);
            }
            return Ok(Receiver::Udp(Box::new(receiver)));
        }
        // The daemon's own address, whatever it may be called: nobody else is connected to.
        let mut address = self.peer;
        address.set_port(reply.port);
        let stream = match listener {
            Some(listener) => connect::accept(&listener, self.peer.ip(), self.timeout),
            None if reply.port == 0 => return Err(Error::NoDataPort(self.endpoint.clone())),
            None => TcpStream::connect_timeout(&address, self.timeout),
        };
        let stream = stream.map_err(|source| self.data_error(address, source))?;
        connect::prepare(&stream);
        let stream = self.encrypt_data(stream, address)?;
        Ok(Receiver::Tcp(TcpReceiver::over(stream, snaplen)))
    }

    /// Encrypts a data connection if the control connection is, with the same daemon.
    fn encrypt_data(&self, socket: TcpStream, address: SocketAddr) -> Result<Stream, Error> {
        let Some(tls) = &self.tls else {
            return Ok(Stream::Plain(socket));
        };
        let failed = |e| Error::DataTls { address, source: Box::new(e) };
        let (ip, timeout) = (self.peer.ip(), self.timeout);
        let stream = greet(tls, &self.endpoint, ip, socket, timeout, DATA_ROOM).map_err(failed)?;
        let fingerprint = |tls: &TlsStream| tls.certificate().map(|c| Fingerprint::of(c));
        let control = self.stream.tls().and_then(fingerprint);
        TlsFailure::unless_same(control, fingerprint(&stream)).map_err(failed)?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// Gives the running capture another filter; empty for all packets.
    pub fn update_filter(&mut self, filter: Vec<Instruction>) -> Result<(), Error> {
        let filter = block(filter);
        let request = Request::UpdateFilter(&filter);
        self.call(Asked::UpdateFilter, &request, |_| Some(()))
    }

    /// The counters of the running or the last capture.
    pub fn stats(&mut self) -> Result<Stats, Error> {
        let question = Question::now();
        let answer = self.call(Asked::Stats, &Request::Stats, |event| match event {
            Event::Stats(stats, clock) => Some((stats, clock)),
            _ => None,
        })?;
        Ok(self.clock.answered(question, answer))
    }

    /// Compares clocks, if the daemon tells its own: a few questions if the way is short, one if it is
    /// long.
    pub fn compare_clocks(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        for n in 0..clock::FIRST {
            if !self.session.tells_clock() || (n > 0 && began.elapsed() > clock::FIRST_WITHIN) {
                break;
            }
            match self.stats() {
                Err(error) if !matches!(error, Error::Refused { .. }) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The daemon's clock minus this host's, as the running or the last capture has shown: every time
    /// that the daemon is asked for its counters.
    pub fn clock_offset(&self) -> Option<Offset> {
        self.clock.offset(Instant::now())
    }

    /// Asks for the end of the capture without waiting for the reply, which is a matter of how
    /// long the daemon still has packets to send: see [`Client::poll_ended`].
    pub fn begin_end(&mut self) -> Result<(), Error> {
        self.send(&Request::EndCapture)
    }

    /// Waits for the reply to [`Client::begin_end`]; `false` if it did not come in time. A refusal
    /// is a reply: the capture had ended by itself.
    pub fn poll_ended(&mut self, wait: Duration) -> Result<bool, Error> {
        let reply = self.next_reply(Instant::now() + wait)?;
        Ok(reply.is_some())
    }

    /// Ends the capture.
    pub fn end(&mut self) -> Result<(), Error> {
        self.call(Asked::EndCapture, &Request::EndCapture, |_| Some(()))
    }

    /// What the daemon said without having been asked, oldest first, waiting for the first of it
    /// as long as told.
    pub fn pushed(&mut self, wait: Duration) -> Result<Option<Pushed>, Error> {
        if self.pushed.is_empty() {
            let deadline = Instant::now() + wait;
            let mut late = false;
            loop {
                // A reply cannot come out: nothing was asked.
                self.poll_event()?;
                if late || !self.pushed.is_empty() || !self.receive(deadline)? {
                    break;
                }
                late = Instant::now() >= deadline;
            }
        }
        Ok(self.pushed.pop_front())
    }

    /// Ends the session. The daemon does not answer, and may be gone already.
    pub fn close(mut self) {
        self.session.close();
        let output = std::mem::take(self.session.output());
        let _ = self.stream.write_all(&output);
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        self.stream.socket().local_addr().map_err(|source| self.data_error(self.peer, source))
    }

    fn data_error(&self, address: SocketAddr, source: io::Error) -> Error {
        Error::Data { address, source }
    }

    fn protocol(&self, source: ClientError) -> Error {
        Error::Protocol { endpoint: self.endpoint.clone(), source }
    }

    fn lost(&self, source: Option<io::Error>) -> Error {
        Error::Lost { endpoint: self.endpoint.clone(), pushed: self.last_pushed.clone(), source }
    }
}

fn block(mut instructions: Vec<Instruction>) -> FilterBlock {
    // libpcap's daemon takes no empty program for an answer.
    if instructions.is_empty() {
        instructions.push(Instruction { code: 6, jt: 0, jf: 0, k: SNAPLEN_MAX });
    }
    FilterBlock { instructions }
}

fn lost_with(endpoint: &Endpoint, source: io::Error) -> Error {
    Error::Lost { endpoint: endpoint.clone(), pushed: None, source: Some(source) }
}

/// An encrypted connection with a daemon.
fn greet(
    tls: &Tls,
    endpoint: &Endpoint,
    address: IpAddr,
    socket: TcpStream,
    timeout: Duration,
    room: usize,
) -> Result<TlsStream, TlsFailure> {
    let name = tls.name(&endpoint.host, address)?;
    TlsStream::connect(tls, name, socket, timeout, room)
}

/// What a socket's deadline looks like: one name on Unix, another on Windows.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Whether two addresses are one host's: an IPv4 address may come in IPv6's clothes.
pub(crate) fn same_host(a: IpAddr, b: IpAddr) -> bool {
    a.to_canonical() == b.to_canonical()
}
