//! The data connection, until it is there.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use rpcap_proto::session::DataChannel;
use socket2::{Domain, Protocol, Socket, Type};

use crate::own::{Flow, Hidden, NotHidden, Transport};
use crate::transport::bind_device;

/// How long a client may take to open its data connection, or to accept ours.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that wait to be looked at: room for strangers that come first and are refused.
const BACKLOG: u32 = 8;

/// A data connection that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A port to listen on is not to be had.
    #[error("listening for the data connection on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The client does not accept the connection.
    #[error("connecting to the client's data port {0}: {1}")]
    Connect(SocketAddr, io::Error),
    /// The client did not connect.
    #[error("the client did not open its data connection to {0} within 10 s")]
    NoClient(SocketAddr),
    /// The wait for the client failed.
    #[error("waiting for the data connection on {0}: {1}")]
    Accept(SocketAddr, io::Error),
    /// It could not be kept out of captures.
    #[error(transparent)]
    NotHidden(#[from] NotHidden),
    /// The capture was ended first.
    #[error("ended before the data connection was there")]
    Aborted,
}

/// What the operator says about data connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataOptions<'a> {
    /// The port to listen on, where the client connects; `None`: any free one.
    pub listen_port: Option<u16>,
    /// The interface that connections leave by; `None`: as the routes say.
    pub bind_device: Option<&'a str>,
}

/// A data connection, or the readiness for one.
#[derive(Debug)]
pub enum DataPath {
    /// The client is to connect.
    Listening(Listening),
    /// Connected.
    Stream(TcpStream),
    /// Datagrams to the client.
    Datagrams(UdpSocket),
}

impl DataPath {
    /// Prepares the data connection of a client. It always ends at the control connection's peer,
    /// and starts from the address that the peer connected to. `hide` is told of the flow before its
    /// first packet.
    pub fn open(
        channel: DataChannel,
        local: SocketAddr,
        peer: SocketAddr,
        options: &DataOptions<'_>,
        hide: impl Fn(Flow) -> Result<Hidden, NotHidden>,
    ) -> Result<(Self, Hidden), DataError> {
        let port = match channel {
            DataChannel::TcpListen => {
                let address = with_port(local, options.listen_port.unwrap_or(0));
                let listening = Listening::open(address, peer.ip())
                    .map_err(|e| DataError::Listen(address, e))?;
                let hidden = hide(Flow {
                    transport: Transport::Tcp,
                    local: listening.address,
                    peer: Some(peer.ip()),
                    peer_port: None,
                })?;
                return Ok((Self::Listening(listening), hidden));
            }
            DataChannel::TcpConnect(port) | DataChannel::Udp(port) => port,
        };
        let address = with_port(peer, port);
        let failed = |e| DataError::Connect(address, e);
        let (transport, kind) = match channel {
            DataChannel::Udp(_) => (Transport::Udp, Type::DGRAM),
            _ => (Transport::Tcp, Type::STREAM),
        };
        let socket = Socket::new(Domain::for_address(address), kind, None).map_err(failed)?;
        if let Some(device) = options.bind_device {
            bind_device(&socket, device).map_err(failed)?;
        }
        socket.bind(&with_port(local, 0).into()).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(local);
        let peer_port = Some(port);
        let hidden = hide(Flow { transport, local: bound, peer: Some(address.ip()), peer_port })?;
        socket.connect_timeout(&address.into(), CONNECT_TIMEOUT).map_err(failed)?;
        let path = match transport {
            Transport::Tcp => Self::Stream(prepared(socket.into()).map_err(failed)?),
            Transport::Udp => Self::Datagrams(socket.into()),
        };
        Ok((path, hidden))
    }

    /// The port that the client is to connect to, or 0.
    pub fn listening_port(&self) -> u16 {
        match self {
            Self::Listening(l) => l.address.port(),
            Self::Stream(_) | Self::Datagrams(_) => 0,
        }
    }

    /// The port that datagrams come from, if there are any.
    pub fn source_port(&self) -> Option<u16> {
        match self {
            Self::Datagrams(socket) => socket.local_addr().ok().map(|a| a.port()),
            Self::Listening(_) | Self::Stream(_) => None,
        }
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// A socket for batches: they are full segments already, and a write that waits holds the pump.
fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A listener for the one connection of the control connection's peer.
#[derive(Debug)]
pub struct Listening {
    listener: mio::net::TcpListener,
    poll: Poll,
    waker: Arc<Waker>,
    address: SocketAddr,
    peer: IpAddr,
}

impl Listening {
    fn open(address: SocketAddr, peer: IpAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A fixed port is free again at once after a capture, but never shared.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG as i32)?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(1))?);
        Ok(Self { listener, poll, waker, address, peer })
    }

    /// Ends the wait in [`Self::accept`] so that it looks at `last_call`.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Waits for the client. Connections of others are closed. After the `last_call`, only one that
    /// is there already is taken: it waits behind so many others at most.
    pub(super) fn accept(mut self, last_call: impl Fn() -> bool) -> Result<TcpStream, DataError> {
        let failed = |e| DataError::Accept(self.address, e);
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut events = Events::with_capacity(2);
        let mut strangers = 0;
        // Connections that were looked at since the last call.
        let mut behind = 0;
        loop {
            // Before the look at the connections: who is called has connected before.
            let is_last = last_call();
            let is_late = Instant::now() >= deadline;
            let another = match self.listener.accept() {
                Ok((stream, from)) if from.ip().to_canonical() == self.peer.to_canonical() => {
                    return prepared(stream.into()).map_err(failed);
                }
                Ok((_, from)) => {
                    strangers += 1;
                    // More say no more.
                    if strangers <= BACKLOG {
                        tracing::warn!(%from, "data connection refused: not from the client's address");
                    }
                    true
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
                // The connection was gone before it was taken.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => true,
                Err(e) => return Err(failed(e)),
            };
            behind += u32::from(is_last && another);
            if another && !is_late && behind <= BACKLOG {
                continue;
            }
            if is_last {
                return Err(DataError::Aborted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(DataError::NoClient(self.address));
            }
            match self.poll.poll(&mut events, Some(left)) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(failed(e)),
                _ => {}
            }
        }
    }
}
