//! Where log lines go: standard error, one line an event.

use std::io::{IsTerminal, stderr};

use tracing::level_filters::LevelFilter;

/// Starts logging; `debug` adds what only a developer wants to know. A second call does nothing.
pub fn start(debug: bool) {
    let _ = tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .with_max_level(if debug { LevelFilter::DEBUG } else { LevelFilter::INFO })
        .try_init();
}
