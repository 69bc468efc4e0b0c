//! The control connection.

mod connect;
mod error;
mod exchange;
mod options;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
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
    session: ClientSession,
    /// Captures so far whose datagrams were sealed.
    sealed: u32,
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
        let lost =
            |source| Error::Lost { endpoint: endpoint.clone(), pushed: None, source: Some(source) };
        let peer = socket.peer_addr().map_err(lost)?;
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
            session: ClientSession::new(),
            sealed: 0,
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
        let mut flags = options.flags;
        if options.promisc {
            flags = flags | StartFlags::PROMISC;
        }
        let (mut port, mut udp) = (0, None);
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
        }
        let request = StartRequest {
            snaplen,
            read_timeout_ms: options.read_timeout.as_millis().try_into().unwrap_or(u32::MAX),
            flags,
            port,
            filter: FilterBlock {
                instructions: match options.filter.as_slice() {
                    // libpcap's daemon takes no empty program for an answer.
                    [] => vec![Instruction { code: 6, jt: 0, jf: 0, k: SNAPLEN_MAX }],
                    given => given.to_vec(),
                },
            },
        };
        let request = Request::Start(&request);
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
        if reply.port == 0 {
            return Err(Error::NoDataPort(self.endpoint.clone()));
        }
        // The daemon's own address, whatever it may be called: nobody else is connected to.
        let mut address = self.peer;
        address.set_port(reply.port);
        let stream = TcpStream::connect_timeout(&address, self.timeout)
            .map_err(|source| self.data_error(address, source))?;
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

    /// Gives the running capture another filter.
    pub fn update_filter(&mut self, filter: Vec<Instruction>) -> Result<(), Error> {
        let filter = FilterBlock { instructions: filter };
        let request = Request::UpdateFilter(&filter);
        self.call(Asked::UpdateFilter, &request, |_| Some(()))
    }

    /// The counters of the running or the last capture.
    pub fn stats(&mut self) -> Result<Stats, Error> {
        self.call(Asked::Stats, &Request::Stats, |event| match event {
            Event::Stats(stats) => Some(stats),
            _ => None,
        })
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
