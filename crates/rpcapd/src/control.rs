//! A control connection whose every wait ends: by readiness, by a deadline or by a wake-up.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use rpcap_proto::sealed::{Cipher, Secret};
use rustls::server::ServerConnection;
use socket2::{SockRef, TcpKeepalive};

use crate::tls::{self, Tls};

const STREAM: Token = Token(0);
const WAKE: Token = Token(1);

/// How long a peer may take to accept a reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long, and how much, is still read of a connection that ends in an error: closing it with
/// bytes unread would reset it, and the peer would never see why.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// This many bytes.
    Bytes(usize),
    /// The end of the stream.
    Eof,
    /// Nothing yet.
    Nothing,
}

/// A control connection.
#[derive(Debug)]
pub struct Control {
    stream: mio::net::TcpStream,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    tls: Option<Box<ServerConnection>>,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The address that the peer connected to.
    pub local: SocketAddr,
}

/// Lets the connection end within a minute of its path, or its peer, being gone.
fn end_when_dead(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(10));
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    // While something is unacknowledged, this limit takes the place of the probes; otherwise the first
    // probe after it ends the connection, which is the one of second 55.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(50)))?;
    Ok(())
}

impl Control {
    /// Takes over a connection.
    pub fn new(stream: std::net::TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        end_when_dead(&SockRef::from(&stream))?;
        let local = stream.local_addr()?;
        // A socket that was handed over may take IPv4 as well as IPv6.
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        let mut stream = mio::net::TcpStream::from_std(stream);
        let poll = Poll::new()?;
        poll.registry().register(&mut stream, STREAM, Interest::READABLE | Interest::WRITABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let events = Events::with_capacity(4);
        Ok(Self { stream, poll, events, waker, tls: None, peer, local })
    }

    /// Goes on encrypted. `read` was read already, and is where TLS begins.
    pub fn encrypt(&mut self, tls: &Tls, mut read: &[u8]) -> io::Result<()> {
        let connection = self.tls.insert(Box::new(tls.accept()?));
        let mut result = Ok(());
        while !read.is_empty() && result.is_ok() {
            result = tls::take(connection, &mut read).map(drop);
        }
        self.flush(Instant::now() + WRITE_TIMEOUT)?;
        result
    }

    /// Whether the peers of an encrypted connection do not know each other yet.
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether nobody on the way can read what is sent.
    pub fn is_encrypted(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking())
    }

    /// What the datagrams of a capture can be sealed with: `None` without TLS 1.3.
    pub fn seal(&self, capture: u32) -> Option<(Secret, Cipher)> {
        self.tls.as_deref().and_then(|tls| tls::seal(tls, capture))
    }

    /// What the certificate calls the peer of an encrypted connection that showed one, once the
    /// handshake is over.
    pub fn certified_name(&self) -> Option<String> {
        tls::name_of(self.tls.as_ref().filter(|tls| !tls.is_handshaking())?)
    }

    /// Ends the current or the next wait.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Reads what is there.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<ReadResult> {
        let Some(tls) = &mut self.tls else {
            return self.read_socket(buf);
        };
        loop {
            match tls.reader().read(buf) {
                Ok(0) => return Ok(ReadResult::Eof),
                Ok(n) => return Ok(ReadResult::Bytes(n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                    let text = "the peer ended it without saying so (TLS close_notify)";
                    return Err(io::Error::new(e.kind(), text));
                }
                Err(e) => return Err(e),
            }
            let result = tls::take(tls, &mut self.stream);
            match result {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(ReadResult::Nothing),
                Err(e) => {
                    // The peer is told, if it takes it.
                    let _ = tls.write_tls(&mut self.stream);
                    return Err(e);
                }
            }
            if tls.wants_write() {
                let deadline = Instant::now() + WRITE_TIMEOUT;
                flush(tls, &mut self.stream, &mut self.poll, &mut self.events, deadline)?;
            }
        }
    }

    fn read_socket(&mut self, buf: &mut [u8]) -> io::Result<ReadResult> {
        loop {
            return match self.stream.read(buf) {
                Ok(0) => Ok(ReadResult::Eof),
                Ok(n) => Ok(ReadResult::Bytes(n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(ReadResult::Nothing),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
        }
    }

    /// Waits for readiness or a wake-up, no longer than until `deadline`.
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let timeout = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// Sends all of `bytes` and empties it, as fast as the peer takes them, within bounds.
    pub fn write_all(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let mut sent = 0;
        while let Some(tls) = &mut self.tls
            && sent < bytes.len()
        {
            sent += tls.writer().write(&bytes[sent..])?;
            self.flush(deadline)?;
        }
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    self.wait(Some(deadline))?;
                }
                Err(e) => return Err(e),
            }
        }
        bytes.clear();
        Ok(())
    }

    /// Sends what waits to be sent encrypted.
    fn flush(&mut self, deadline: Instant) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => flush(tls, &mut self.stream, &mut self.poll, &mut self.events, deadline),
            None => Ok(()),
        }
    }

    /// Tells the peer of an encrypted connection that nothing more comes, as far as it takes it at
    /// once: what ends without it looks as if somebody had cut it off.
    pub fn farewell(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.flush(Instant::now());
        }
    }

    /// Ends the connection so that the peer sees what was sent last.
    pub fn linger(mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER_TIME;
        let mut left = LINGER_BYTES;
        let mut buf = [0; 4096];
        while left > 0 && Instant::now() < deadline {
            match self.read_socket(&mut buf) {
                Ok(ReadResult::Bytes(n)) => left = left.saturating_sub(n),
                Ok(ReadResult::Nothing) if self.wait(Some(deadline)).is_ok() => {}
                _ => return,
            }
        }
    }
}

fn flush(
    tls: &mut ServerConnection,
    stream: &mut mio::net::TcpStream,
    poll: &mut Poll,
    events: &mut Events,
    deadline: Instant,
) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ErrorKind::TimedOut.into());
                }
                match poll.poll(events, Some(left)) {
                    Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
                    _ => {}
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
