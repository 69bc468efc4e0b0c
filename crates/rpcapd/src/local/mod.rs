//! Who asks how the daemon is: `rpcapd status` over a local socket, and monitoring over HTTP.
//!
//! One thread for all of it. Nobody who asks, or asks slowly, can hold up anything but others who
//! ask: requests are short, connections few, and each has a deadline.

#[cfg(unix)]
pub mod client;
mod connection;
pub mod http;
mod metrics;
#[cfg(unix)]
mod socket;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::event::Source;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::cli::Cli;
use crate::listeners::is_passing;
use crate::reload::Reloader;
use crate::report::Observer;
use connection::{Asked, Connection};

pub use connection::Question;

/// Most connections at a time, to each door. Others wait to be accepted.
const CONNECTIONS: usize = 8;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The token of the waker; doors have those below, connections those from [`FIRST`] on.
const WAKE: Token = Token(usize::MAX);
const FIRST: usize = 16;

/// Where the local socket is, unless told otherwise: for root in /run, for others where their
/// session has such things, or nowhere.
fn default_path() -> Option<PathBuf> {
    #[cfg(unix)]
    return socket::default_path();
    #[cfg(not(unix))]
    None
}

/// Where the local socket is to be; `None`: nowhere.
pub fn socket_path(chosen: Option<&Path>) -> Option<PathBuf> {
    match chosen {
        Some(path) if path == Path::new("none") => None,
        Some(path) => Some(path.to_owned()),
        None => default_path(),
    }
}

/// Where one can ask, and how.
#[derive(Debug)]
struct Door {
    listener: Listener,
    asked: Asked,
}

#[derive(Debug)]
enum Listener {
    Tcp(mio::net::TcpListener),
    #[cfg(unix)]
    Unix(mio::net::UnixListener),
}

/// A connection of either sort.
trait Stream: Read + Write + Source + Send {}

impl<T: Read + Write + Source + Send> Stream for T {}

impl Listener {
    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept()?.0),
            #[cfg(unix)]
            Self::Unix(listener) => Box::new(listener.accept()?.0),
        })
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            #[cfg(unix)]
            Self::Unix(listener) => listener,
        }
    }
}

/// The places to ask at, bound.
#[derive(Debug, Default)]
pub struct Doors {
    doors: Vec<Door>,
    #[cfg(unix)]
    file: Option<socket::Bound>,
}

impl Doors {
    /// Binds what the options say. The local socket is a convenience: without it the daemon goes on.
    ///
    /// # Errors
    ///
    /// The address for metrics cannot be listened on.
    pub fn bind(cli: &Cli) -> anyhow::Result<Self> {
        let mut bound = Self::default();
        #[cfg(unix)]
        if let Some(path) = socket_path(cli.status_socket.as_deref()) {
            match socket::bind(&path, cli.status_socket.is_none()) {
                Ok((listener, file)) => {
                    let listener = Listener::Unix(mio::net::UnixListener::from_std(listener));
                    bound.doors.push(Door { listener, asked: Asked::Locally });
                    bound.file = Some(file);
                }
                Err(e) => tracing::warn!("no status socket: {}: {e}", path.display()),
            }
        }
        if let Some(address) = cli.metrics {
            let listener = mio::net::TcpListener::bind(address)
                .with_context(|| format!("--metrics {address}: listening"))?;
            tracing::info!("metrics are at http://{}/metrics", listener.local_addr()?);
            bound.doors.push(Door { listener: Listener::Tcp(listener), asked: Asked::OverHttp });
        }
        Ok(bound)
    }

    /// Has the local socket belong to the user that the daemon is to run as.
    #[cfg(unix)]
    pub fn give_to(&self, uid: u32, gid: u32) {
        if let Some(file) = &self.file
            && let Err(e) = file.give_to(uid, gid)
        {
            tracing::warn!("the status socket keeps its owner: {e}");
        }
    }

    /// Where the local socket is.
    pub fn path(&self) -> Option<&Path> {
        #[cfg(unix)]
        return self.file.as_ref().map(socket::Bound::path);
        #[cfg(not(unix))]
        None
    }

    /// Starts to answer, on a thread of its own.
    pub fn open(self, observer: Observer, reloader: Reloader) -> io::Result<Open> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let ending = Arc::new(AtomicBool::new(false));
        let mut doors = self.doors;
        for (n, door) in doors.iter_mut().enumerate() {
            poll.registry().register(door.listener.source(), Token(n), Interest::READABLE)?;
        }
        let thread = if doors.is_empty() {
            None
        } else {
            let desk = Desk { observer, reloader, waker: Arc::clone(&waker) };
            let ending = Arc::clone(&ending);
            let serve = move || serve(poll, &doors, &desk, &ending);
            Some(thread::Builder::new().name("local".to_owned()).spawn(serve)?)
        };
        Ok(Open {
            waker,
            ending,
            thread,
            #[cfg(unix)]
            file: self.file,
        })
    }
}

/// The places to ask at, until this is dropped.
#[derive(Debug)]
pub struct Open {
    waker: Arc<Waker>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    #[cfg(unix)]
    file: Option<socket::Bound>,
}

impl Drop for Open {
    fn drop(&mut self) {
        #[cfg(unix)]
        drop(self.file.take());
        self.ending.store(true, SeqCst);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that answers questions panicked");
        }
    }
}

/// Who knows the answers.
#[derive(Debug)]
struct Desk {
    observer: Observer,
    reloader: Reloader,
    /// Wakes the thread that answers.
    waker: Arc<Waker>,
}

/// Answers until the daemon ends.
fn serve(mut poll: Poll, doors: &[Door], desk: &Desk, ending: &AtomicBool) {
    let mut events = Events::with_capacity(32);
    let mut connections: Vec<Connection> = Vec::new();
    let mut next = FIRST;
    while !ending.load(SeqCst) {
        let mut pause = None;
        for (n, door) in doors.iter().enumerate() {
            while connections.iter().filter(|c| c.door == n).count() < CONNECTIONS {
                match door.listener.accept() {
                    Ok(stream) => {
                        next = next.checked_add(1).filter(|n| *n < WAKE.0).unwrap_or(FIRST);
                        let mut connection = Connection::new(stream, n, door.asked);
                        if connection.register(poll.registry(), Token(next)).is_ok() {
                            connections.push(connection);
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if is_passing(&e) => {}
                    Err(e) => {
                        tracing::debug!("accepting a question: {e}");
                        pause = Some(ACCEPT_PAUSE);
                        break;
                    }
                }
            }
        }
        let before = connections.len();
        connections.retain_mut(|c| !c.advance(desk).unwrap_or(true));
        // Those who waited at a full door are not announced again.
        if connections.len() < before {
            continue;
        }
        let now = Instant::now();
        let deadlines = connections.iter().map(|c| c.deadline.saturating_duration_since(now));
        let pause = deadlines.chain(pause).min();
        if let Err(e) = poll.poll(&mut events, pause)
            && e.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!("waiting for questions: {e}");
            return;
        }
    }
}
