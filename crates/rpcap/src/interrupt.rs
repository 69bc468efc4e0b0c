//! Ctrl-C, and what service managers and consoles that are closed send.

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

impl Interrupts {
    /// The first asks for an end, the second for one without waiting; should that not come either
    /// (a reader of the output may have stopped reading), the process ends with this code.
    fn heed(&self, code: i32) {
        if self.stop.swap(true, Relaxed) {
            self.hurry.store(true, Relaxed);
            std::thread::sleep(LAST_CHANCE);
            std::process::exit(code);
        }
    }
}

/// Watches for interrupts.
pub(crate) fn watch() -> io::Result<Arc<Interrupts>> {
    let interrupts = Arc::new(Interrupts::default());
    system::watch(Arc::clone(&interrupts))?;
    Ok(interrupts)
}

#[cfg(not(windows))]
mod system {
    use std::io;
    use std::sync::Arc;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    use super::Interrupts;

    pub(super) fn watch(interrupts: Arc<Interrupts>) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let heed = move || signals.forever().for_each(|signal| interrupts.heed(128 + signal));
        std::thread::Builder::new().name("signals".to_owned()).spawn(heed)?;
        Ok(())
    }
}

#[cfg(windows)]
mod system {
    use std::io;
    use std::sync::Arc;

    use super::Interrupts;

    pub(super) fn watch(interrupts: Arc<Interrupts>) -> io::Result<()> {
        // As after SIGINT elsewhere.
        ctrlc::set_handler(move || interrupts.heed(130)).map_err(io::Error::other)
    }
}
