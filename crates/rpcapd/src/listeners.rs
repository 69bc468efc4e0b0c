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
        let handed_over = match self.handed_over.get() {
            Some(true) => return Ok(()),
            Some(false) => Vec::new(),
            None => handed_over()?,
        };
        let is_handed_over = !handed_over.is_empty();
        // While this waits for the name service others accept.
        let named = match is_handed_over || cli.active_only {
            true => None,
            false => cli.bind.as_deref().map(|name| look_up(name, cli)).transpose()?,
        };
        let mut list = self.lock();
        let wanted = match is_handed_over {
            true => handed_over.into_iter().map(Place::New).collect(),
            false if cli.active_only => Vec::new(),
            false => places(cli, named, &list)?,
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

    /// A connection that waits; `WouldBlock` if there is none. The sockets take turns.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut list = self.lock();
        for _ in 0..list.len() {
            list.rotate_left(1);
            match list[0].socket.accept() {
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

/// The addresses that a name stands for.
fn look_up(name: &str, cli: &Cli) -> anyhow::Result<Vec<SocketAddr>> {
    let shown = name.escape_debug();
    let found = (name, cli.port).to_socket_addrs();
    let found = found.with_context(|| format!("-b {shown}: looking up the address"))?;
    let addresses: Vec<_> = found.filter(|a| a.is_ipv4() || !cli.ipv4_only).collect();
    if addresses.is_empty() {
        bail!("-b {shown}: no IPv4 address, and -4 allows no other");
    }
    Ok(addresses)
}

/// Every address asked for, all of them or none: these, or any.
fn places(
    cli: &Cli,
    named: Option<Vec<SocketAddr>>,
    old: &[Listener],
) -> anyhow::Result<Vec<Place>> {
    let place = |address: SocketAddr| match old.iter().any(|l| l.address == address) {
        true => Ok(Place::Kept(address)),
        false => listen(address).map(Place::New),
    };
    let Some(named) = named else {
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
    named.into_iter().map(place).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_at_one_socket_keeps_nobody_from_another() {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let listeners = Listeners::new(registry, Arc::new(OwnTraffic::new(false)));
        let both = ["127.0.0.1:0", "127.0.0.2:0"].map(|a| listen(a.parse().unwrap()).unwrap());
        let [first, second] = [0, 1].map(|i: usize| both[i].address);
        listeners.lock().extend(both);
        let connect = |to| std::net::TcpStream::connect(to).unwrap();
        let _crowd: Vec<_> = (0..8).map(|_| connect(first)).collect();
        let other = connect(second);
        let taken: Vec<_> = (0..2).map(|_| listeners.accept().unwrap().1).collect();
        assert!(taken.contains(&other.local_addr().unwrap()));
        for _ in 0..7 {
            listeners.accept().unwrap();
        }
        assert_eq!(listeners.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
