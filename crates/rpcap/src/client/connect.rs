use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use super::{Error, is_timeout, same_host};
use crate::url::Endpoint;

/// Shortest time that each of several addresses gets.
const MIN_ATTEMPT: Duration = Duration::from_millis(500);

/// Connects to the first of a host's addresses that answers.
pub(super) fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<TcpStream, Error> {
    let deadline = Instant::now() + timeout;
    let addresses = resolve(endpoint, timeout)?;
    let mut last = None;
    for (tried, address) in addresses.iter().enumerate() {
        // What is left is shared, so that one address that swallows everything does not keep
        // the next from its try.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share.max(MIN_ATTEMPT)) {
            Ok(stream) => {
                prepare(&stream);
                return Ok(stream);
            }
            Err(source) => last = Some((*address, source)),
        }
    }
    Err(match last {
        Some((address, source)) => Error::Connect { endpoint: endpoint.clone(), address, source },
        None => Error::Resolve {
            endpoint: endpoint.clone(),
            source: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
        },
    })
}

/// The system's resolver takes no deadline, so it is asked by a thread that may be left behind.
fn resolve(endpoint: &Endpoint, timeout: Duration) -> Result<Vec<SocketAddr>, Error> {
    let failed = |source| Error::Resolve { endpoint: endpoint.clone(), source };
    let (sender, receiver) = mpsc::channel();
    let Endpoint { host, port } = endpoint.clone();
    std::thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs();
            // Nobody may be waiting any more.
            let _ = sender.send(found.map(Vec::from_iter));
        })
        .map_err(failed)?;
    receiver
        .recv_timeout(timeout)
        .unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the name was not resolved in time"))
        })
        .map_err(failed)
}

/// Between two looks whether somebody has connected: a listener has no deadline.
const GLANCE: Duration = Duration::from_millis(2);

/// The connection that a daemon makes. Others than `from` are turned away.
pub(super) fn accept(
    listener: &TcpListener,
    from: IpAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, peer)) if same_host(peer.ip(), from) => {
                // On some systems it is inherited.
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Ok(_) => {}
            Err(e) if is_timeout(&e) => std::thread::sleep(GLANCE),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if Instant::now() >= deadline {
            let why = "the daemon did not make the connection in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
    }
}

/// Small requests leave at once, and a peer that vanished without a word is noticed within a
/// minute. Neither is worth failing for.
pub(crate) fn prepare<'s>(stream: impl Into<SockRef<'s>>) {
    let socket = stream.into();
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(20))
        .with_interval(Duration::from_secs(10));
    // Otherwise the system goes on asking for longer than that.
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    let keepalive = keepalive.with_retries(3);
    let _ = socket.set_tcp_keepalive(&keepalive);
}
