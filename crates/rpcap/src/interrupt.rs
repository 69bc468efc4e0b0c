//! Ctrl-C, and what service managers send.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long the program has to finish its file once it was told to hurry.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// What a user at the keyboard has asked for.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    /// To end what runs, properly.
    pub(crate) stop: AtomicBool,
    /// To end it now.
    pub(crate) hurry: AtomicBool,
}

/// Watches for interrupts. The first asks for an end, the second for one without waiting; should
/// that not come either (a reader of the output may have stopped reading), the process ends.
pub(crate) fn watch() -> io::Result<Arc<Interrupts>> {
    let interrupts = Arc::new(Interrupts::default());
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let told = Arc::clone(&interrupts);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut arriving = signals.forever();
        if arriving.next().is_some() {
            told.stop.store(true, Relaxed);
        }
        if let Some(signal) = arriving.next() {
            told.hurry.store(true, Relaxed);
            std::thread::sleep(LAST_CHANCE);
            std::process::exit(128 + signal);
        }
    })?;
    Ok(interrupts)
}
