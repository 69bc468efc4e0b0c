//! Listening, accepting, and the end of it all.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use crate::active::Callers;
use crate::cli::Cli;
use crate::control::Control;
use crate::own::OwnTraffic;
use crate::session::{self, Shared};
use crate::settings::{Current, Settings, Terms};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The token of the waker; listeners have those below.
const WAKE: Token = Token(usize::MAX);

/// Runs the daemon until a signal ends it.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    if !cli.null_auth {
        tracing::warn!("nobody can log in: passwords are not available yet and -n is not given");
    }
    let settings = Settings::new(cli.clone()).map_err(anyhow::Error::msg)?;
    let mut poll = Poll::new().context("creating the event queue")?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).context("creating the waker")?);
    let shared = Arc::new(Shared {
        settings: Current::new(settings),
        sessions: Arc::default(),
        own: Arc::new(OwnTraffic::new(cli.capture_own_traffic)),
        shutdown: AtomicBool::new(false),
    });
    heed_signals(&shared, waker)?;
    let mut listeners = Vec::new();
    for listener in if cli.active_only { Vec::new() } else { bind(cli)? } {
        let mut listener = mio::net::TcpListener::from_std(listener);
        poll.registry()
            .register(&mut listener, Token(listeners.len()), Interest::READABLE)
            .context("watching a listener")?;
        let address = listener.local_addr()?;
        // The wildcard is no address of a packet: then the first connection tells.
        if !address.ip().is_unspecified() {
            shared.own.hide_control(address);
        }
        tracing::info!("listening on {address}");
        listeners.push(listener);
    }
    let callers = Callers::default();
    callers.set(&shared.settings.get().peers, &shared).context("starting to call collectors")?;
    let mut gate = Gate { shared: Arc::clone(&shared), full: None };
    let mut events = Events::with_capacity(16);
    while !shared.shutdown.load(SeqCst) {
        let pause = gate.accept_all(&listeners);
        match poll.poll(&mut events, pause) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                return Err(e).context("waiting for connections");
            }
            _ => {}
        }
    }
    drop(listeners);
    callers.end();
    shared.sessions.end();
    Ok(())
}

/// Turns SIGTERM and SIGINT into an orderly end; a second one ends the process at once.
#[cfg(unix)]
fn heed_signals(shared: &Arc<Shared>, waker: Arc<Waker>) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("catching signals")?;
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                if signal == SIGHUP {
                    tracing::info!("SIGHUP: there is no configuration file to read again");
                    continue;
                }
                let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                tracing::info!("{name}: ending");
                if shared.shutdown.swap(true, SeqCst) {
                    std::process::exit(1);
                }
                // It fails only if the main loop is over already.
                let _ = waker.wake();
            }
        })
        .context("starting the signal thread")?;
    Ok(())
}

#[cfg(not(unix))]
fn heed_signals(_shared: &Arc<Shared>, _waker: Arc<Waker>) -> anyhow::Result<()> {
    Ok(())
}

/// Listens on every address asked for: all of them or none.
fn bind(cli: &Cli) -> anyhow::Result<Vec<TcpListener>> {
    let Some(name) = &cli.bind else {
        let v4 = listen((Ipv4Addr::UNSPECIFIED, cli.port).into())?;
        if cli.ipv4_only {
            return Ok(vec![v4]);
        }
        // With port 0 both families use the port that the first one got.
        let port = v4.local_addr()?.port();
        return match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
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
    addresses.into_iter().map(listen).collect()
}

fn is_no_ipv6(e: &anyhow::Error) -> bool {
    // EAFNOSUPPORT where the kernel has none, EADDRNOTAVAIL where it is switched off.
    e.downcast_ref::<io::Error>().is_some_and(|e| {
        e.kind() == io::ErrorKind::AddrNotAvailable || matches!(e.raw_os_error(), Some(97 | 10047))
    })
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = || -> io::Result<TcpListener> {
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
        Ok(socket.into())
    };
    bound().with_context(|| {
        format!("listening on {address}: choose another address or port with -b and -p")
    })
}

/// Takes connections in, as long as there is room.
struct Gate {
    shared: Arc<Shared>,
    /// When it was last said that there is no room, and how many were turned away since.
    full: Option<(Instant, u64)>,
}

impl Gate {
    /// Accepts what waits. The result is how long to pause, if the system is short of something.
    fn accept_all(&mut self, listeners: &[mio::net::TcpListener]) -> Option<Duration> {
        for listener in listeners {
            loop {
                match listener.accept() {
                    Ok((stream, peer)) => {
                        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                        self.admit(stream.into(), peer);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e)
                        if matches!(
                            e.kind(),
                            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                        ) => {}
                    Err(e) => {
                        tracing::error!("accepting a connection: {e}");
                        return Some(ACCEPT_PAUSE);
                    }
                }
            }
        }
        None
    }

    fn admit(&mut self, stream: std::net::TcpStream, peer: SocketAddr) {
        let settings = self.shared.settings.get();
        if self.shared.sessions.passive() >= settings.cli.max_sessions {
            self.turn_away(peer, settings.cli.max_sessions);
            return;
        }
        let control = match Control::new(stream, peer) {
            Ok(control) => control,
            Err(e) => {
                tracing::warn!(%peer, "connection not taken: {e}");
                return;
            }
        };
        let shared = Arc::clone(&self.shared);
        let place = shared.sessions.enter(peer, control.local, None, control.waker());
        let terms = Terms { settings, peer: None };
        let spawned = thread::Builder::new().name("session".to_owned()).spawn(move || {
            session::serve(control, terms, &place.entry, &shared);
        });
        if let Err(e) = spawned {
            tracing::error!(%peer, "starting a session's thread: {e}");
        }
    }

    /// Closes the connection; the log gets a line a second at most.
    fn turn_away(&mut self, peer: SocketAddr, limit: usize) {
        match &mut self.full {
            Some((since, n)) if since.elapsed() < Duration::from_secs(1) => *n += 1,
            full => {
                let others = full.take().map_or(0, |(_, n)| n);
                tracing::warn!(%peer, others, "connection closed: {limit} sessions are the limit");
                *full = Some((Instant::now(), 0));
            }
        }
    }
}
