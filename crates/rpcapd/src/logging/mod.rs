//! Where log lines go, and what they look like: one line an event, whatever is in it.

#[cfg(windows)]
mod event_log;
mod line;
#[cfg(unix)]
mod socket;
mod target;

use std::io::{IsTerminal, stderr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use line::OneLine;
pub(crate) use line::escaped;
pub use target::{Facility, Format, Level, Target};

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// What is logged, where and how.
#[derive(Clone, Copy, Debug)]
pub struct Logging {
    /// Where to.
    pub target: Target,
    /// How much.
    pub level: Level,
    /// What a line looks like.
    pub format: Format,
    /// Whether standard error can be logged to.
    pub stderr: bool,
}

/// Starts logging. A second call does nothing.
pub fn start(logging: Logging) {
    let mut layers = Vec::new();
    let missing = to_socket(&logging, &mut layers).err();
    let here = match logging.target {
        Target::Stderr => true,
        // As ExtraHop's and libpcap's do in the foreground.
        Target::Syslog(_) => !is_journal(),
        Target::Journald => false,
    };
    if logging.stderr && (here || missing.is_some()) {
        layers.push(to_stderr(logging.format));
    }
    let level = match logging.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let _ = tracing_subscriber::registry().with(layers).with(level).try_init();
    if let Some(e) = missing {
        tracing::warn!("log: {e}: it is tried again with every line");
    }
}

/// Lines to standard error. The journal has times of its own.
fn to_stderr(format: Format) -> Boxed {
    let ansi = stderr().is_terminal();
    layer(format, !is_journal(), true, ansi, OneLine { to: stderr, ansi })
}

/// Lines to the system's log; an error is that it is not there at this moment.
#[cfg(unix)]
fn to_socket(logging: &Logging, layers: &mut Vec<Boxed>) -> Result<(), String> {
    use socket::{Protocol, SocketLog};

    let protocol = match logging.target {
        Target::Stderr => return Ok(()),
        Target::Syslog(facility) => Protocol::Syslog(facility),
        Target::Journald => Protocol::Journald,
    };
    let socket = SocketLog::new(protocol.path().into(), protocol);
    let there = socket.check();
    let lines = OneLine { to: socket, ansi: false };
    layers.push(layer(logging.format, false, false, false, lines));
    there
}

/// The same on Windows, whose event log has no facilities.
#[cfg(windows)]
fn to_socket(logging: &Logging, layers: &mut Vec<Boxed>) -> Result<(), String> {
    match logging.target {
        Target::Stderr => return Ok(()),
        Target::Syslog(_) => {}
        Target::Journald => return Err("this system has no such log".to_owned()),
    }
    let events = event_log::Events::open().map_err(|e| format!("the event log: {e}"))?;
    let lines = OneLine { to: events, ansi: false };
    layers.push(layer(logging.format, false, false, false, lines));
    Ok(())
}

#[cfg(not(any(unix, windows)))]
fn to_socket(logging: &Logging, _layers: &mut Vec<Boxed>) -> Result<(), String> {
    match logging.target {
        Target::Stderr => Ok(()),
        _ => Err("this system has no such log".to_owned()),
    }
}

fn layer<W>(format: Format, time: bool, level: bool, ansi: bool, writer: W) -> Boxed
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer =
        fmt::layer().with_target(false).with_level(level).with_ansi(ansi).with_writer(writer);
    match (format, time) {
        (Format::Text, true) => layer.boxed(),
        (Format::Text, false) => layer.without_time().boxed(),
        (Format::Json, true) => layer.with_level(true).json().flatten_event(true).boxed(),
        (Format::Json, false) => {
            layer.with_level(true).json().flatten_event(true).without_time().boxed()
        }
    }
}

/// Whether standard error is the journal (`JOURNAL_STREAM`, systemd.exec(5)).
#[cfg(unix)]
fn is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(stderr())
        .is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

#[cfg(not(unix))]
fn is_journal() -> bool {
    false
}
