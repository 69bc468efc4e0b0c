//! Reading the configuration file again, while the daemon runs.

use std::fmt;
use std::io;
use std::iter;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::cli::Cli;
use crate::files::shown;
use crate::locked::lock;
use crate::notify;
use crate::session::Shared;
use crate::sessions::{Ending, Entry};
use crate::settings::Settings;

/// Options that are heeded at the start and never again.
const AT_START: [&str; 19] = [
    "backend",
    "capture-own-traffic",
    "debug",
    "log",
    "log-format",
    "log-level",
    "max-cpu",
    "max-rate",
    "metrics",
    "pam",
    "pam-groups",
    "pam-service",
    "pam-users",
    "pid-file",
    "sandbox",
    "status-socket",
    "user",
    "windows-groups",
    "windows-users",
];

/// Options that say where to listen.
const LISTENING: [&str; 4] = ["active-only", "bind", "ipv4-only", "port"];

const NO_FILE: &str = "there is no file to read again";

/// What a reload brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The options whose values changed.
    pub changed: Vec<String>,
    /// Those of them that wait for a restart.
    pub waiting: Vec<String>,
    /// Collectors that are called now and were not before.
    pub called: usize,
    /// Collectors that are called no more.
    pub dropped: usize,
    /// Sessions of clients that ended, as they may connect or log in no more.
    pub ended: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changed.is_empty() {
            true => f.write_str("nothing changed")?,
            false => write!(f, "changed: {}", self.changed.join(", "))?,
        }
        let Self { called, dropped, ended, .. } = self;
        write!(f, "; collectors: {called} new, {dropped} called no more; sessions ended: {ended}")?;
        match self.waiting.is_empty() {
            true => Ok(()),
            false => write!(f, "; heeded after a restart only: {}", self.waiting.join(", ")),
        }
    }
}

/// Reads the file again and puts what it says in force. Sessions and captures go on with the settings
/// that they began with, but for those of collectors that are called no more and of clients that
/// may connect no more. An error says what is wrong, and nothing has changed. May wait for the name
/// service.
pub fn reload(shared: &Arc<Shared>) -> Outcome {
    let mut config = lock(&shared.config);
    if !config.has_files() {
        return Err(NO_FILE.to_owned());
    }
    let new = config.again().map_err(|e| e.to_string())?;
    if let Some(file) = shared.unreadable(&new.cli) {
        return Err(new.blame(&format!(
            "{}: the sandbox allows only the directories of files that were named at the start: restart",
            shown(file)
        )));
    }
    // The sandbox has no room for another.
    let backend = shared.settings.get().cli.backend;
    let cli = Cli { backend, ..new.cli.clone() };
    let settings = Settings::new(cli).map_err(|e| new.blame(&e))?;
    let changed: Vec<_> = new.changed(&config).into_iter().map(str::to_owned).collect();
    let those = |some: &[&str]| {
        let those = changed.iter().filter(|c| some.contains(&c.as_str()));
        those.cloned().collect::<Vec<_>>()
    };
    if !those(&LISTENING).is_empty() {
        shared.listeners.set(&new.cli).map_err(|e| format!("{e:#}"))?;
        shared.listeners.announce();
    }
    for note in &new.notes {
        tracing::warn!("{note}");
    }
    let waiting = those(&AT_START);
    *config = new;
    let peers = settings.peers.clone();
    shared.settings.set(settings);
    let (called, dropped) = shared.callers.set(&peers, shared).unwrap_or_else(|e| {
        tracing::error!("not all collectors are called: starting a thread: {e}");
        (0, 0)
    });
    let ended = end_forbidden(shared);
    Ok(Summary { changed, waiting, called, dropped, ended })
}

/// Ends the sessions of clients that may connect or log in no more.
fn end_forbidden(shared: &Shared) -> usize {
    let settings = shared.settings.get();
    let may_connect = |session: &Entry| {
        let allowed = settings.cli.allow.as_ref();
        session.called.is_some() || allowed.is_none_or(|a| a.allows(session.peer.ip()))
    };
    let may_log_in = |session: &Entry| {
        let seen = session.seen();
        match seen.identity {
            Some((name, by)) => settings.users.allow(&name, by, settings.cli.accounts()),
            None => settings.cli.null_auth || !seen.authenticated,
        }
    };
    let sessions = shared.sessions.list().into_iter().map(|(_, session)| session);
    let forbidden = sessions.filter(|s| !may_connect(s) || !may_log_in(s));
    forbidden.inspect(|s| s.end(Ending::Unwanted)).count()
}

/// How a reload went.
pub type Outcome = Result<Summary, String>;

type Then = Box<dyn FnOnce(&Outcome) + Send>;

/// Reloads when it is asked to.
#[derive(Clone)]
pub struct Reloader(Option<Sender<Then>>);

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Reloader {
    /// Starts a thread for reloads, which may wait for the name service while signals must not;
    /// none if there is no file.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        if !lock(&shared.config).has_files() {
            return Ok(Self(None));
        }
        let (ask, asked) = channel::<Then>();
        let shared = Arc::clone(shared);
        thread::Builder::new().name("reload".to_owned()).spawn(move || {
            while let Ok(first) = asked.recv() {
                // All who ask before it begins are served by one.
                let all: Vec<_> = iter::once(first).chain(asked.try_iter()).collect();
                notify::reloading();
                let outcome = reload(&shared);
                notify::ready();
                match &outcome {
                    Ok(summary) => tracing::info!("configuration read again: {summary}"),
                    Err(reason) => tracing::error!("configuration not changed: {reason}"),
                }
                for then in all {
                    then(&outcome);
                }
            }
        })?;
        Ok(Self(Some(ask)))
    }

    /// Asks for a reload; `then` hears how it went.
    pub fn ask(&self, then: impl FnOnce(&Outcome) + Send + 'static) {
        match &self.0 {
            // It fails only if the thread panicked; `then` is dropped.
            Some(ask) => drop(ask.send(Box::new(then))),
            None => {
                tracing::info!("{NO_FILE}");
                then(&Err(NO_FILE.to_owned()));
            }
        }
    }
}
