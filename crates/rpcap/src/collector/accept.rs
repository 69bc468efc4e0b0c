//! Taking connections.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::client::prepare;
use crate::journal::Journal;

/// Connections that may wait to be taken.
const BACKLOG: i32 = 4096;
/// How long nothing is accepted after the system could not.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is said that it cannot.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Listens at an address. Without one it is all of them, IPv4 and IPv6.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The address of everything is IPv4's too.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A collector that restarts has its port at once.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// All addresses: IPv6's also take IPv4, where there is IPv6.
pub fn everywhere(port: u16) -> io::Result<TcpListener> {
    match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
            listen((Ipv4Addr::UNSPECIFIED, port).into())
        }
        other => other,
    }
}

/// Takes connections until nobody wants them any more.
pub(super) async fn run(
    listener: TcpListener,
    to: mpsc::Sender<(TcpStream, SocketAddr)>,
    journal: Arc<Journal>,
) {
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = to.closed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                prepare(&stream);
                if to.send((stream, peer)).await.is_err() {
                    return;
                }
            }
            // The peer's own doing.
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if said.is_none_or(|at| at.elapsed() > SAY_EVERY) {
                    journal.warn(&format!("cannot accept connections: {error}"));
                    said = Some(Instant::now());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
