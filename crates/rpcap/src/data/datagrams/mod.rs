//! Datagrams of one socket, as many at a time as the system gives out.
//!
//! On Linux one call brings many (recvmmsg(2)), and what the kernel holds together of one sender
//! stays together (`UDP_GRO`, udp(7)) until it is split here. Elsewhere each datagram costs a call.
//! Nothing is allocated for a datagram.

#[cfg(target_os = "linux")]
mod linux;
mod plain;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What a burst may pile up while nobody reads: a quarter of a second of a full gigabit.
const RECEIVE_BUFFER: usize = 32 * 1024 * 1024;
/// Below this it is not worth asking for less.
const SMALLEST_BUFFER: usize = 256 * 1024;

/// More than the longest datagram, and more than the kernel holds together.
const LONGEST: usize = 65_536;

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// How a socket is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes that the system is asked to keep for the socket while nobody reads; 32 MiB by default.
    pub receive_buffer: usize,
    /// Whether other sockets of this user may have the same port, each getting the datagrams of
    /// some of the senders. Linux only.
    pub reuse_port: bool,
    /// Whether to receive one by one, as where the system knows nothing better.
    pub plain: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { receive_buffer: RECEIVE_BUFFER, reuse_port: false, plain: false }
    }
}

/// What came since the socket was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that were given out.
    pub datagrams: u64,
    /// System calls that brought something.
    pub calls: u64,
    /// Times that something was longer than its buffer: what was cut is not given out.
    pub truncated: u64,
    /// Datagrams that the kernel dropped because the socket's buffer was full. At least: it tells
    /// with the next one that comes. 0 where the system does not tell.
    pub dropped: u64,
}

/// A socket that is received from.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
    poll: Poll,
    events: Events,
    waker: Waker,
    way: Way,
    received: Received,
}

/// How it is received.
#[derive(Debug)]
enum Way {
    #[cfg(target_os = "linux")]
    Many(linux::Many),
    Single(plain::Single),
}

/// Ends a wait of [`Datagrams::receive`] from another thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<mio::Waker>);

impl Waker {
    /// The wait under way, or else the next one, ends at once with an empty batch.
    pub fn wake(&self) {
        // It fails where a counter is full, which wakes as well.
        let _ = self.0.wake();
    }
}

/// What one look into the socket brought.
#[derive(Debug)]
struct Received {
    buffer: Box<[u8]>,
    messages: Vec<Message>,
    emptied: bool,
    counts: Counts,
}

/// What the system gives out at once: datagrams of one sender.
#[derive(Clone, Copy, Debug)]
struct Message {
    from: SocketAddr,
    /// Where it is in the buffer.
    start: usize,
    /// Bytes in all.
    len: usize,
    /// Bytes of each datagram, of which the last may have fewer; never 0.
    segment: usize,
}

impl Received {
    fn new(messages: usize, bytes: usize) -> Self {
        Self {
            buffer: vec![0; bytes].into(),
            messages: Vec::with_capacity(messages),
            emptied: false,
            counts: Counts::default(),
        }
    }
}

impl Datagrams {
    /// A socket at `address`; port 0 is any that is free.
    pub fn bind(address: SocketAddr, options: &Options) -> io::Result<Self> {
        Self::bind_for(address, options, LONGEST)
    }

    /// The same with room for so much at once.
    fn bind_for(address: SocketAddr, options: &Options, longest: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        enlarge(&socket, options.receive_buffer);
        if address.is_ipv6() && address.ip().is_unspecified() {
            // The address of everything is IPv4's too, whatever the system's default is.
            socket.set_only_v6(false)?;
        }
        if options.reuse_port {
            reuse_port(&socket)?;
        }
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let (way, received) = Way::new(&socket, options.plain, longest);
        let mut socket = UdpSocket::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry().register(&mut socket, SOCKET, Interest::READABLE)?;
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            waker: Waker(Arc::new(mio::Waker::new(poll.registry(), WAKE)?)),
            poll,
            events: Events::with_capacity(2),
            way,
            received,
        })
    }

    /// Where datagrams are to be sent.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that the system keeps for the socket while nobody reads, as it counts them. Linux
    /// counts its own records too, and gives twice what was asked for, up to its limit.
    pub fn receive_buffer(&self) -> usize {
        SockRef::from(&self.socket).recv_buffer_size().unwrap_or(0)
    }

    /// What ends a wait from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What came so far.
    pub fn counts(&self) -> Counts {
        self.received.counts
    }

    /// What is there. If nothing is, this waits: until something is, the time is over (`None`: for
    /// ever) or another thread uses the waker. In the last two cases the batch is empty; it can
    /// also be if what came was too long.
    pub fn receive(&mut self, timeout: Option<Duration>) -> io::Result<Batch<'_>> {
        self.received.messages.clear();
        // What was empty tells when it no longer is: no need to look.
        if !self.received.emptied {
            self.look()?;
        }
        let Received { messages, emptied, .. } = &self.received;
        if messages.is_empty() && *emptied && self.wait(timeout)? {
            self.look()?;
        }
        Ok(Batch { received: &self.received })
    }

    /// Takes what the socket holds, as far as there is room.
    fn look(&mut self) -> io::Result<()> {
        self.received.emptied = false;
        match &mut self.way {
            #[cfg(target_os = "linux")]
            Way::Many(many) => many.look(&self.socket, &mut self.received),
            Way::Single(single) => single.look(&self.socket, &mut self.received),
        }
    }

    /// Whether there is something to look for.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut self.events, left) {
                Ok(()) => return Ok(self.events.iter().any(|event| event.token() == SOCKET)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Way {
    fn new(socket: &Socket, plain: bool, longest: usize) -> (Self, Received) {
        #[cfg(target_os = "linux")]
        if !plain {
            let (many, received) = linux::Many::new(socket, longest);
            return (Self::Many(many), received);
        }
        let _ = (socket, plain);
        let (single, received) = plain::Single::new(longest);
        (Self::Single(single), received)
    }
}

/// Datagrams that came together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    received: &'a Received,
}

impl<'a> Batch<'a> {
    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.received.messages.is_empty()
    }

    /// Whether the socket held no more when this was read.
    pub fn emptied(&self) -> bool {
        self.received.emptied
    }

    /// Each datagram, and who sent it. One may have no bytes.
    pub fn iter(&self) -> Iter<'a> {
        Iter {
            buffer: &self.received.buffer,
            messages: self.received.messages.iter(),
            from: SocketAddr::from(([0; 4], 0)),
            rest: &[],
            segment: 1,
        }
    }
}

impl<'a> IntoIterator for &Batch<'a> {
    type Item = (SocketAddr, &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// See [`Batch::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    buffer: &'a [u8],
    messages: std::slice::Iter<'a, Message>,
    /// Of the message under way.
    from: SocketAddr,
    rest: &'a [u8],
    segment: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (SocketAddr, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            let message = self.messages.next()?;
            self.from = message.from;
            self.rest = self.buffer.get(message.start..)?.get(..message.len)?;
            self.segment = message.segment;
        }
        let (datagram, rest) = self.rest.split_at(self.segment.min(self.rest.len()));
        self.rest = rest;
        Some((self.from, datagram))
    }
}

/// Makes the socket's buffer as large as the system allows.
fn enlarge(socket: &Socket, mut size: usize) {
    // The limit for everybody is small on most hosts; with CAP_NET_ADMIN it need not be kept.
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
        if setsockopt(socket, RcvBufForce, &size).is_ok() {
            return;
        }
    }
    // Linux grants what it can, others refuse what they cannot.
    while socket.set_recv_buffer_size(size).is_err() && size > SMALLEST_BUFFER {
        size /= 2;
    }
}

#[cfg(target_os = "linux")]
fn reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Others share a port so that one of its sockets gets everything.
#[cfg(not(target_os = "linux"))]
fn reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests;
