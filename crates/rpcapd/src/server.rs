//! Accepting, signals, and the end of it all.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::{Events, Poll, Token, Waker};

use crate::active::Callers;
use crate::config::Config;
use crate::control::Control;
use crate::listeners::Listeners;
use crate::local::Doors;
use crate::notify::{self, Notifier};
use crate::own::OwnTraffic;
use crate::reload::Reloader;
use crate::report::Observer;
use crate::session::{self, Shared};
use crate::settings::{Current, Settings, Terms};

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The token of the waker; listeners have another.
const WAKE: Token = Token(0);

/// Runs the daemon until a signal ends it.
pub fn run(config: Config) -> anyhow::Result<()> {
    let cli = &config.cli;
    if !cli.null_auth {
        tracing::warn!("nobody can log in: passwords are not available yet and -n is not given");
    }
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let settings = Settings::new(cli.clone()).map_err(|e| anyhow::Error::msg(config.blame(&e)))?;
    if let Some(path) = &cli.save {
        config.save(path).map_err(anyhow::Error::msg)?;
        tracing::info!("settings saved to {}", path.display().to_string().escape_debug());
    }
    let mut poll = Poll::new().context("creating the event queue")?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).context("creating the waker")?);
    let registry = poll.registry().try_clone().context("sharing the event queue")?;
    let own = Arc::new(OwnTraffic::new(cli.capture_own_traffic));
    let listeners = Listeners::new(registry, Arc::clone(&own));
    let shared = Arc::new(Shared {
        settings: Current::new(settings),
        config: Mutex::new(config),
        sessions: Arc::default(),
        callers: Callers::default(),
        listeners,
        own,
        shutdown: AtomicBool::new(false),
    });
    let reloader = Reloader::start(&shared).context("starting the reload thread")?;
    heed_signals(&shared, waker, reloader.clone())?;
    let settings = shared.settings.get();
    let doors = Doors::bind(&settings.cli)?;
    shared.listeners.set(&settings.cli)?;
    let observer = Observer::new(Arc::clone(&shared));
    let doors = doors.open(observer.clone(), reloader);
    let doors = doors.context("starting to answer questions")?;
    shared.callers.set(&settings.peers, &shared).context("starting to call collectors")?;
    drop(settings);
    let mut gate = Gate { shared: Arc::clone(&shared), full: None };
    let mut notifier = Notifier::new();
    notify::ready();
    let mut events = Events::with_capacity(16);
    while !shared.shutdown.load(SeqCst) {
        let pause = gate.accept_all();
        let turn = notifier.turn(|| observer.summary());
        let pause = pause.into_iter().chain(turn).min();
        match poll.poll(&mut events, pause) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                return Err(e).context("waiting for connections");
            }
            _ => {}
        }
    }
    notify::stopping();
    drop(doors);
    shared.listeners.end();
    shared.callers.end();
    shared.sessions.end();
    Ok(())
}

/// Turns SIGTERM and SIGINT into an orderly end; a second one ends the process at once.
#[cfg(unix)]
fn heed_signals(shared: &Arc<Shared>, waker: Arc<Waker>, reloader: Reloader) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("catching signals")?;
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                if signal == SIGHUP {
                    reloader.ask(|_| {});
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
fn heed_signals(
    _shared: &Arc<Shared>,
    _waker: Arc<Waker>,
    _reloader: Reloader,
) -> anyhow::Result<()> {
    Ok(())
}

/// Takes connections in, as long as there is room.
struct Gate {
    shared: Arc<Shared>,
    /// When it was last said that there is no room, and how many were turned away since.
    full: Option<(Instant, u64)>,
}

impl Gate {
    /// Accepts what waits. The result is how long to pause, if the system is short of something.
    fn accept_all(&mut self) -> Option<Duration> {
        loop {
            match self.shared.listeners.accept() {
                Ok((stream, peer)) => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    self.admit(stream.into(), peer);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
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

    fn admit(&mut self, stream: std::net::TcpStream, peer: SocketAddr) {
        let limit = self.shared.settings.get().cli.max_sessions;
        if self.shared.sessions.passive() >= limit {
            self.turn_away(peer, limit);
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
        // Once it is entered: a reload either ends it, or it sees what the reload brought.
        let terms = Terms { settings: shared.settings.get(), peer: None };
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
