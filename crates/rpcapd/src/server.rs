//! The daemon from its start to its end.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, bail};
use mio::{Events, Poll, Token, Waker};

use crate::active::Callers;
use crate::auth::{Doorkeeper, Rights};
use crate::cli::Cli;
use crate::config::Config;
use crate::control::{Control, canonical};
use crate::files::shown;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::listeners::Listeners;
use crate::local::Doors;
use crate::locked::lock;
use crate::notify::{self, Notifier};
use crate::own::OwnTraffic;
#[cfg(unix)]
use crate::pid_file::{self, PidFile};
#[cfg(target_os = "linux")]
use crate::privileges::Role;
use crate::reload::Reloader;
use crate::report::Observer;
use crate::sandbox::{self, Mode, Part, Paths};
use crate::session::{self, Shared};
use crate::settings::{Current, Settings, Terms};
use crate::signals::Signals;
use crate::system;

/// The token of the waker; listeners have another.
const WAKE: Token = Token(0);

/// Runs the daemon until a signal ends it.
///
/// `detached`: the process is to run in the background from the moment it is ready.
pub fn run(config: Config, detached: bool) -> anyhow::Result<()> {
    let (mut poll, waker, shared) = prepare(config)?;
    // First everything that is opened, then what runs.
    let signals = Signals::catch().context("catching signals")?;
    let settings = shared.settings.get();
    #[cfg(unix)]
    let pid_file = pid_file(&settings.cli)?;
    let doors = Doors::bind(&settings.cli)?;
    shared.listeners.set(&settings.cli)?;
    give_up_rights(&settings.cli, Some(&doors))?;
    #[cfg(unix)]
    let removed = [pid_file.as_ref().map(PidFile::path), doors.path()];
    #[cfg(not(unix))]
    let removed = [doors.path()];
    enter_sandbox(&shared, removed.into_iter().flatten().map(Path::to_owned))?;
    let reloader = Reloader::start(&shared).context("starting the reload thread")?;
    signals.heed(&shared, waker, reloader.clone()).context("starting the signal thread")?;
    let observer = Observer::new(Arc::clone(&shared));
    let doors = doors.open(observer.clone(), reloader);
    let doors = doors.context("starting to answer questions")?;
    shared.callers.set(&settings.peers, &shared).context("starting to call collectors")?;
    shared.listeners.announce();
    #[cfg(unix)]
    if detached {
        crate::background::ready().context("-d: leaving the terminal")?;
    }
    #[cfg(not(unix))]
    let _ = detached;
    drop(settings);
    let mut gate = Gate::new(Arc::clone(&shared));
    let mut notifier = Notifier::new();
    notify::ready();
    let mut events = Events::with_capacity(16);
    while !shared.shutdown.load(SeqCst) {
        let pause = gate.accept_some();
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

/// Serves the client of this connection, and nobody else.
pub fn serve_one(config: Config, stream: TcpStream) -> anyhow::Result<()> {
    let (_poll, _waker, shared) = prepare(config)?;
    let peer = stream.peer_addr().context("--inetd: the client's address")?;
    let peer = canonical(peer);
    let control = Control::new(stream, peer).context("--inetd: the client's connection")?;
    let signals = Signals::catch().context("catching signals")?;
    give_up_rights(&shared.settings.get().cli, None)?;
    enter_sandbox(&shared, [])?;
    let reloader = Reloader::start(&shared).context("starting the reload thread")?;
    signals.heed(&shared, control.waker(), reloader).context("starting the signal thread")?;
    let place = shared.sessions.enter(peer, control.local, None, control.waker());
    let terms = Terms { settings: shared.settings.get(), peer: None, rights: Rights::default() };
    session::serve(control, terms, &place.entry, &shared);
    Ok(())
}

/// What serving needs, however clients come.
fn prepare(config: Config) -> anyhow::Result<(Poll, Arc<Waker>, Arc<Shared>)> {
    let cli = &config.cli;
    if !cli.null_auth && cli.users.is_none() && !cli.accounts() {
        let accounts = if cfg!(windows) { "--windows-users" } else { "--pam" };
        tracing::warn!("nobody can log in: neither --users nor {accounts} nor -n is given");
    }
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    if let Some(replay) = cli.replay.iter().find(|r| cli.daemon && r.file.is_relative()) {
        let file = replay.file.display().to_string();
        bail!("--replay {}: with -d the path must begin with /", file.escape_debug());
    }
    let settings = Settings::new(cli.clone()).map_err(|e| anyhow::Error::msg(config.blame(&e)))?;
    if let Some(path) = &cli.save {
        config.save(path).map_err(anyhow::Error::msg)?;
        tracing::info!("settings saved to {}", shown(path));
    }
    let poll = Poll::new().context("creating the event queue")?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).context("creating the waker")?);
    let registry = poll.registry().try_clone().context("sharing the event queue")?;
    let own = Arc::new(OwnTraffic::new(cli.capture_own_traffic));
    let limits = Arc::new(Limits::new(cli));
    let doorkeeper = Doorkeeper::start(cli)?;
    let listeners = Listeners::new(registry, Arc::clone(&own));
    let shared = Shared {
        settings: Current::new(settings),
        config: Mutex::new(config),
        sessions: Arc::default(),
        callers: Callers::default(),
        listeners,
        system: system::name().into(),
        own,
        limits,
        doorkeeper,
        sandbox: OnceLock::new(),
        shutdown: AtomicBool::new(false),
    };
    Ok((poll, waker, Arc::new(shared)))
}

/// Becomes the user that the daemon is to run as. `doors` is what that user has to remove at the end.
#[cfg(target_os = "linux")]
fn give_up_rights(cli: &Cli, doors: Option<&Doors>) -> anyhow::Result<()> {
    let role = Role::of(cli.user.as_deref())?;
    if let (Some(doors), Some(servant)) = (doors, role.servant()) {
        doors.give_to(servant.uid.as_raw(), servant.gid.as_raw());
    }
    role.assume([cli.nice.0, cli.nice.1].into_iter().flatten().min())
}

#[cfg(not(target_os = "linux"))]
fn give_up_rights(cli: &Cli, _doors: Option<&Doors>) -> anyhow::Result<()> {
    match cli.user {
        Some(_) => bail!("--user is there on Linux only"),
        None => Ok(()),
    }
}

/// Keeps the process from everything that it needs no more. `removed`: files that it removes at the
/// end.
fn enter_sandbox(
    shared: &Shared,
    removed: impl IntoIterator<Item = PathBuf>,
) -> anyhow::Result<()> {
    let config = lock(&shared.config);
    let paths = Paths::of(&config, removed);
    let mode = config.cli.sandbox;
    // A file may bring them with a reload, when it is too late for this.
    let cli = &config.cli;
    if cli.tls || cli.accounts() || config.has_files() {
        sandbox::keep_secrets().context("core dumps")?;
    }
    let sandbox = sandbox::enter(mode, &paths)?;
    let lacks = [sandbox.landlock, sandbox.seccomp].contains(&Part::Unavailable);
    match mode {
        Mode::Enforce | Mode::Kill if !lacks => tracing::info!("sandbox: {sandbox}"),
        _ => tracing::warn!("sandbox: {sandbox}"),
    }
    for (file, e) in Paths::unreadable(&config) {
        tracing::warn!(
            "{}: {e}: reading it later will fail; give it to the user that the daemon runs as \
             (chown, chgrp)",
            shown(file)
        );
    }
    // It is the first time.
    let _ = shared.sandbox.set((sandbox, paths));
    Ok(())
}

#[cfg(unix)]
fn pid_file(cli: &Cli) -> anyhow::Result<Option<PidFile>> {
    let default = || if cli.daemon { pid_file::default_path() } else { None };
    let Some(path) = cli.pid_file.clone().or_else(default) else { return Ok(None) };
    // The directory may change until the file is removed.
    let path = std::path::absolute(&path).unwrap_or(path);
    let created = PidFile::create(&path);
    created.map(Some).with_context(|| format!("--pid-file {}", path.display()))
}
