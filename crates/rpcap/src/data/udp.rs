use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use super::{DataError, DatagramDecoder, Inlet};
use crate::client::same_host;
use crate::sink::Sink;

/// What a burst may pile up while the sink is busy: a quarter of a second of a full gigabit.
const RECEIVE_BUFFER: usize = 32 * 1024 * 1024;
/// Below this it is not worth asking for less.
const SMALLEST_BUFFER: usize = 256 * 1024;
/// Datagrams between two looks at whether to stop, when they never cease to come.
const BATCH: usize = 1024;
/// The longest datagram there is.
const DATAGRAM: usize = 65_536;

/// How long the socket must stay empty, once the daemon has ended the capture, before nothing
/// more is expected. Datagrams and the control connection overtake each other by less.
const QUIET: Duration = Duration::from_millis(300);

/// How long datagrams that came early wait for one before them, when the socket is empty. What
/// overtakes on the same way does so by far less.
const PATIENCE: Duration = Duration::from_millis(3);

const SOCKET: Token = Token(0);
const STOP: Token = Token(1);

/// A socket that packets come to.
#[derive(Debug)]
pub struct UdpReceiver {
    socket: UdpSocket,
    poll: Poll,
    stop: Arc<Stop>,
    port: u16,
    daemon: IpAddr,
    decoder: DatagramDecoder,
    /// The missing datagram that others wait for, and since when.
    gap: Option<(u32, Instant)>,
}

#[derive(Debug)]
struct Stop {
    drain: AtomicBool,
    now: AtomicBool,
    waker: Waker,
}

/// Ends a [`UdpReceiver`] that another thread runs.
#[derive(Clone, Debug)]
pub struct UdpStopper(Arc<Stop>);

impl UdpStopper {
    /// Ends it once nothing has come for a moment: the daemon sends no more, but the socket and
    /// the network may still hold something.
    pub fn drain(&self) {
        self.0.drain.store(true, Relaxed);
        self.wake();
    }

    /// Ends it at once.
    pub fn stop(&self) {
        self.0.now.store(true, Relaxed);
        self.wake();
    }

    fn wake(&self) {
        // The waits have an end of their own.
        let _ = self.0.waker.wake();
    }
}

impl UdpReceiver {
    /// A socket on the control connection's `local` address, for packets from `daemon`.
    pub fn bind(local: SocketAddr, daemon: IpAddr, snaplen: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        enlarge(&socket);
        let mut address = local;
        address.set_port(0);
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let mut socket = UdpSocket::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry().register(&mut socket, SOCKET, Interest::READABLE)?;
        Ok(Self {
            port: socket.local_addr()?.port(),
            socket,
            stop: Arc::new(Stop {
                drain: AtomicBool::new(false),
                now: AtomicBool::new(false),
                waker: Waker::new(poll.registry(), STOP)?,
            }),
            poll,
            daemon,
            decoder: DatagramDecoder::new(snaplen),
            gap: None,
        })
    }

    /// The socket's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What ends [`Self::run`] from another thread.
    pub fn stopper(&self) -> UdpStopper {
        UdpStopper(Arc::clone(&self.stop))
    }

    /// Receives until the stopper is used.
    pub fn run<S: Sink>(&mut self, inlet: &mut Inlet<'_, S>) -> Result<(), DataError> {
        let mut buffer = vec![0; DATAGRAM];
        let mut events = Events::with_capacity(2);
        // Whether nothing came for a whole QUIET.
        let mut quiet = false;
        loop {
            let draining = self.stop.drain.load(Relaxed);
            let Batch { any, emptied } = self.receive_batch(&mut buffer, inlet)?;
            if self.stop.now.load(Relaxed) || draining && quiet && !any {
                self.decoder.finish(inlet);
                return Ok(());
            }
            if !emptied {
                inlet.show();
                continue;
            }
            let patience = self.patience(inlet);
            inlet.pause();
            let timeout = patience.or(draining.then_some(QUIET));
            quiet = match self.poll.poll(&mut events, timeout) {
                Ok(()) => timeout == Some(QUIET) && events.is_empty(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => false,
                Err(e) => return Err(e.into()),
            };
        }
    }

    /// How much longer to wait for a datagram that is missing before others, if one is.
    fn patience<S: Sink>(&mut self, inlet: &mut Inlet<'_, S>) -> Option<Duration> {
        let missing = self.decoder.waits_for();
        self.gap = match (missing, self.gap) {
            (Some(seqno), Some(gap)) if gap.0 == seqno => Some(gap),
            (missing, _) => missing.map(|seqno| (seqno, Instant::now())),
        };
        let (_, since) = self.gap?;
        let left = PATIENCE.saturating_sub(since.elapsed());
        if left.is_zero() {
            self.decoder.flush(inlet);
            self.gap = None;
            return None;
        }
        Some(left)
    }

    /// Takes what the socket holds, up to a limit.
    fn receive_batch<S: Sink>(
        &mut self,
        buffer: &mut [u8],
        inlet: &mut Inlet<'_, S>,
    ) -> io::Result<Batch> {
        let mut any = false;
        for _ in 0..BATCH {
            match self.socket.recv_from(buffer) {
                Ok((len, from)) => {
                    any = true;
                    // Anybody can send here; the daemon's port is not known beforehand.
                    if same_host(from.ip(), self.daemon) {
                        self.decoder.datagram(&buffer[..len], inlet);
                    } else {
                        inlet.received.foreign += 1;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Batch { any, emptied: true });
                }
                // Windows reports what became of datagrams that this socket never sent.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Batch { any, emptied: false })
    }
}

/// What became of a look into the socket.
struct Batch {
    /// Something was there.
    any: bool,
    /// Nothing is there any more.
    emptied: bool,
}

/// Makes the socket's buffer as large as the system allows.
fn enlarge(socket: &Socket) {
    // The limit for everybody is small on most hosts; with CAP_NET_ADMIN it need not be kept.
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
        if setsockopt(socket, RcvBufForce, &RECEIVE_BUFFER).is_ok() {
            return;
        }
    }
    let mut size = RECEIVE_BUFFER;
    // Linux grants what it can, others refuse what they cannot.
    while size >= SMALLEST_BUFFER && socket.set_recv_buffer_size(size).is_err() {
        size /= 2;
    }
}
