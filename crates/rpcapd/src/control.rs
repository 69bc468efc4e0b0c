//! A control connection whose every wait ends: by readiness, by a deadline or by a wake-up.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
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
    waiting: Waiting,
    waker: Arc<Waker>,
    tls: Option<Box<ServerConnection>>,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The address that the peer connected to.
    pub local: SocketAddr,
}

/// What waits, and remembers.
#[derive(Debug)]
struct Waiting {
    poll: Poll,
    events: Events,
    /// Somebody has woken us. It is told once, and may come while a reply waits for the peer.
    woken: bool,
}

impl Waiting {
    /// Until the connection is ready or somebody wakes us, for so long at most.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        self.woken |= self.events.iter().any(|event| event.token() == WAKE);
        Ok(())
    }

    /// The same for what has to be over by then.
    fn until(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.wait(Some(left))
    }
}

/// An address of IPv4 as such. One of IPv6 keeps its scope: without it a link-local one is nowhere.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    }
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
        // A socket that was handed over may take IPv4 as well as IPv6.
        let local = canonical(stream.local_addr()?);
        let mut stream = mio::net::TcpStream::from_std(stream);
        let poll = Poll::new()?;
        poll.registry().register(&mut stream, STREAM, Interest::READABLE | Interest::WRITABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let waiting = Waiting { poll, events: Events::with_capacity(4), woken: false };
        Ok(Self { stream, waiting, waker, tls: None, peer, local })
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
                flush(tls, &mut self.stream, &mut self.waiting, deadline)?;
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

    /// Waits for readiness or a wake-up, no longer than until `deadline`. Not at all if somebody has
    /// woken us since the last call.
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        if !self.waiting.woken {
            self.waiting.wait(deadline.map(|d| d.saturating_duration_since(Instant::now())))?;
        }
        self.waiting.woken = false;
        Ok(())
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
                    self.waiting.until(deadline)?;
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
            Some(tls) => flush(tls, &mut self.stream, &mut self.waiting, deadline),
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

    /// Ends the connection so that the peer sees what was sent last, unless it has to end at once:
    /// `hurry` is asked after each wake-up.
    pub fn linger(mut self, hurry: impl Fn() -> bool) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER_TIME;
        let mut left = LINGER_BYTES;
        let mut buf = [0; 4096];
        while left > 0 && Instant::now() < deadline && !hurry() {
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
    waiting: &mut Waiting,
    deadline: Instant,
) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => waiting.until(deadline)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A session that is woken while its reply waits for the peer sees it when the reply is gone.
    #[test]
    fn a_wake_up_during_a_write_is_not_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, from) = listener.accept().unwrap();
        let mut control = Control::new(stream, from).unwrap();
        let waker = control.waker();
        let reader = thread::spawn(move || {
            // Until nothing more fits, then the waker, then the peer reads.
            thread::sleep(Duration::from_millis(200));
            waker.wake().unwrap();
            thread::sleep(Duration::from_millis(200));
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all.len()
        });
        let size = 64 << 20;
        control.write_all(&mut vec![0; size]).unwrap();
        let since = Instant::now();
        control.wait(Some(since + Duration::from_secs(20))).unwrap();
        assert!(since.elapsed() < Duration::from_secs(10), "told once");
        drop(control);
        assert_eq!(reader.join().unwrap(), size);
    }

    #[test]
    fn addresses_keep_their_scope() {
        for (address, expected) in [
            ("[::ffff:192.0.2.1]:7", "192.0.2.1:7"),
            ("[fe80::1%3]:7", "[fe80::1%3]:7"),
            ("192.0.2.1:7", "192.0.2.1:7"),
        ] {
            assert_eq!(canonical(address.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
