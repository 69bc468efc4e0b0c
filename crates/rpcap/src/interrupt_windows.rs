//! Ctrl-C, Ctrl-Break, and a console that is closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

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
    let told = Arc::clone(&interrupts);
    let heed = move || {
        if told.stop.swap(true, Relaxed) {
            told.hurry.store(true, Relaxed);
            std::thread::sleep(LAST_CHANCE);
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(heed).map_err(io::Error::other)?;
    Ok(interrupts)
}
