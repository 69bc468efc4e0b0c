//! The sockets that clients connect to.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use anyhow::{Context, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::Cli;
use crate::locked::lock;
use crate::own::OwnTraffic;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The token of all of them: whatever happens, all are asked.
const TOKEN: Token = Token(1);

/// The sockets that clients connect to. They can be changed while connections are accepted.
#[derive(Debug)]
pub struct Listeners {
    list: Mutex<Vec<Listener>>,
    registry: Registry,
    own: Arc<OwnTraffic>,
    /// Whether the service manager handed them over; then it is not for the options to say which.
    handed_over: OnceLock<bool>,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    socket: TcpListener,
    announced: bool,
}

/// A place to listen on.
enum Place {
    /// One that is listened on already.
    Kept(SocketAddr),
    New(Listener),
}

impl Place {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Kept(address) => *address,
            Self::New(listener) => listener.address,
        }
    }
}

impl Listeners {
    /// None yet. The registry's poll is woken by connections; `own` keeps these out of captures.
    pub fn new(registry: Registry, own: Arc<OwnTraffic>) -> Self {
        Self { list: Mutex::default(), registry, own, handed_over: OnceLock::new() }
    }

    /// Listens where the options say, and nowhere else. Either all of it succeeds, or nothing
    /// changes. Sockets that the service manager handed over take the place of all of them.
    pub fn set(&self, cli: &Cli) -> anyhow::Result<()> {
        let mut list = self.lock();
        let handed_over = match self.handed_over.get() {
            Some(true) => return Ok(()),
            Some(false) => Vec::new(),
            None => handed_over()?,
        };
        let is_handed_over = !handed_over.is_empty();
        let wanted = match handed_over.is_empty() {
            false => handed_over.into_iter().map(Place::New).collect(),
            true if cli.active_only => Vec::new(),
            true => places(cli, &list)?,
        };
        let mut new = Vec::new();
        let mut kept = Vec::new();
        for place in wanted {
            match place {
                Place::Kept(address) => kept.push(address),
                Place::New(mut listener) => {
                    self.registry
                        .register(&mut listener.socket, TOKEN, Interest::READABLE)
                        .context("watching a listener")?;
                    new.push(listener);
                }
            }
        }
        list.retain(|old| {
            let is_kept = kept.contains(&old.address);
            if !is_kept {
                tracing::info!("no longer listening on {}", old.address);
            }
            is_kept
        });
        for listener in new {
            // The wildcard is no address of a packet: then the first connection tells.
            if !listener.address.ip().is_unspecified() {
                self.own.hide_control(listener.address);
            }
            list.push(listener);
        }
        let _ = self.handed_over.set(is_handed_over);
        Ok(())
    }

    /// Logs where it is listened since this was last done. Apart from listening, as what watches the
    /// log takes it for the end of the start.
    pub fn announce(&self) {
        for listener in self.lock().iter_mut().filter(|l| !l.announced) {
            tracing::info!("listening on {}", listener.address);
            listener.announced = true;
        }
    }

    /// A connection that waits; `WouldBlock` if there is none.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        for listener in &*self.lock() {
            match listener.socket.accept() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Listens nowhere any more.
    pub fn end(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Listener>> {
        lock(&self.list)
    }
}

/// Every address asked for: all of them or none.
fn places(cli: &Cli, old: &[Listener]) -> anyhow::Result<Vec<Place>> {
    let place = |address: SocketAddr| match old.iter().any(|l| l.address == address) {
        true => Ok(Place::Kept(address)),
        false => listen(address).map(Place::New),
    };
    let Some(name) = &cli.bind else {
        let v4 = place((Ipv4Addr::UNSPECIFIED, cli.port).into())?;
        if cli.ipv4_only {
            return Ok(vec![v4]);
        }
        // With port 0 both families use the port that the first one got.
        let port = v4.address().port();
        return match place((Ipv6Addr::UNSPECIFIED, port).into()) {
            Ok(v6) => Ok(vec![v4, v6]),
            Err(e) if is_no_ipv6(&e) => {
                tracing::info!("this host has no IPv6: listening on IPv4 only");
                Ok(vec![v4])
            }
            Err(e) => Err(e),
        };
    };
    let shown = name.escape_debug();
    let addresses: Vec<_> = (name.as_str(), cli.port)
        .to_socket_addrs()
        .with_context(|| format!("-b {shown}: looking up the address"))?
        .filter(|a| a.is_ipv4() || !cli.ipv4_only)
        .collect();
    if addresses.is_empty() {
        bail!("-b {shown}: no IPv4 address, and -4 allows no other");
    }
    addresses.into_iter().map(place).collect()
}

/// The sockets of socket activation (sd_listen_fds(3)). They can be had once.
#[cfg(target_os = "linux")]
fn handed_over() -> anyhow::Result<Vec<Listener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for n in 0..passed.len() {
        let what = || format!("socket {n} of LISTEN_FDS: expected one that listens for TCP");
        let socket = passed.take_tcp_listener(n).with_context(what)?.with_context(what)?;
        if !socket2::SockRef::from(&socket).is_listener().with_context(what)? {
            bail!(what());
        }
        socket.set_nonblocking(true).with_context(what)?;
        let address = socket.local_addr().with_context(what)?;
        let socket = TcpListener::from_std(socket);
        listeners.push(Listener { address, socket, announced: false });
    }
    Ok(listeners)
}

#[cfg(not(target_os = "linux"))]
fn handed_over() -> anyhow::Result<Vec<Listener>> {
    Ok(Vec::new())
}

fn is_no_ipv6(e: &anyhow::Error) -> bool {
    // EAFNOSUPPORT where the kernel has none (Linux, macOS, Windows), EADDRNOTAVAIL where it is switched off.
    e.downcast_ref::<io::Error>().is_some_and(|e| {
        e.kind() == io::ErrorKind::AddrNotAvailable
            || matches!(e.raw_os_error(), Some(97 | 47 | 10047))
    })
}

fn listen(address: SocketAddr) -> anyhow::Result<Listener> {
    let bound = || -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // On Windows it would let another program take the port over.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket.into());
        Ok(Listener { address: socket.local_addr()?, socket, announced: false })
    };
    bound().with_context(|| {
        format!("listening on {address}: choose another address or port with -b and -p")
    })
}

/// Whether an accept that failed says nothing of the next one: the peer was gone already, or a signal
/// came.
pub(crate) fn is_passing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}
