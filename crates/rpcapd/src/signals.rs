//! SIGTERM and SIGINT end the daemon in order, a second one at once; SIGHUP has the configuration read
//! again.

use std::io;
use std::sync::Arc;

use mio::Waker;

use crate::reload::Reloader;
use crate::session::Shared;

/// Signals from the moment this is made: they wait to be heeded.
#[derive(Debug)]
pub(crate) struct Signals {
    caught: signal_hook::iterator::Signals,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

        let caught = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        Ok(Self { caught })
    }

    /// Heeds them, on a thread of its own. `waker` wakes who looks whether the daemon is to end.
    pub(crate) fn heed(
        mut self,
        shared: &Arc<Shared>,
        waker: Arc<Waker>,
        reloader: Reloader,
    ) -> io::Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        use std::thread;
        use std::time::{Duration, Instant};

        use signal_hook::consts::{SIGHUP, SIGTERM};

        /// Whoever ends a group of processes and each of them means it once.
        const ONCE: Duration = Duration::from_millis(500);

        let shared = Arc::clone(shared);
        let mut first: Option<Instant> = None;
        let heed = move || {
            for signal in &mut self.caught {
                if signal == SIGHUP {
                    tracing::info!("SIGHUP: reading the configuration again");
                    reloader.ask(|_| {});
                    continue;
                }
                match first {
                    Some(first) if first.elapsed() < ONCE => continue,
                    Some(_) => std::process::exit(1),
                    None => first = Some(Instant::now()),
                }
                let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                tracing::info!("{name}: ending");
                shared.shutdown.store(true, SeqCst);
                // It fails only if the main loop is over already.
                let _ = waker.wake();
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(heed).map(drop)
    }
}
