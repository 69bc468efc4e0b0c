//! What systemd is told (sd_notify(3)): ready, reloading, stopping, how it goes, and that the main
//! loop still turns. The service manager of Windows hears of ready and stopping. Without either of
//! them all of it does nothing.

use std::time::{Duration, Instant};

/// How often it is seen whether the status text changed.
const STATUS_TIME: Duration = Duration::from_secs(2);

/// All that can fail at start, or in a reload, is over.
pub fn ready() {
    manager::tell(manager::ready());
}

/// The configuration is read again; [`ready`] follows.
pub fn reloading() {
    manager::tell(manager::reloading());
}

/// The daemon ends.
pub fn stopping() {
    manager::tell(manager::stopping());
}

/// What the main loop tells as long as it turns.
#[derive(Debug)]
pub struct Notifier {
    status: String,
    /// When to look again at the status; `None`: nobody listens.
    look: Option<Instant>,
    /// How often a sign of life is due, and when the next one is.
    watchdog: Option<(Duration, Instant)>,
}

impl Notifier {
    /// The line that the environment tells of.
    pub fn new() -> Self {
        let due = Instant::now();
        Self {
            status: String::new(),
            look: manager::listens().then_some(due),
            // Half the time, as sd_watchdog_enabled(3) advises.
            watchdog: manager::watchdog().map(|limit| (limit / 2, due)),
        }
    }

    /// To be called by every turn of the main loop, and by nothing else: this is the sign of life.
    /// Returns how long the next turn may be away.
    pub fn turn(&mut self, status: impl FnOnce() -> String) -> Option<Duration> {
        let now = Instant::now();
        if let Some(due) = &mut self.look
            && *due <= now
        {
            *due = now + STATUS_TIME;
            let status = status();
            if status != self.status {
                manager::tell(manager::status(&status));
                self.status = status;
            }
        }
        if let Some((interval, due)) = &mut self.watchdog
            && *due <= now
        {
            *due = now + *interval;
            manager::tell(manager::alive());
        }
        let watchdog = self.watchdog.map(|(_, due)| due);
        let next = self.look.into_iter().chain(watchdog).min();
        next.map(|due| due.saturating_duration_since(now))
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(target_os = "linux")]
mod manager {
    use std::time::Duration;

    use sd_notify::NotifyState;

    pub(super) fn listens() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    pub(super) fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|limit| listens() && !limit.is_zero())
    }

    pub(super) fn ready() -> Vec<NotifyState<'static>> {
        vec![NotifyState::Ready, NotifyState::MainPid(std::process::id())]
    }

    pub(super) fn reloading() -> Vec<NotifyState<'static>> {
        let when = NotifyState::monotonic_usec_now().ok();
        std::iter::once(NotifyState::Reloading).chain(when).collect()
    }

    pub(super) fn stopping() -> Vec<NotifyState<'static>> {
        vec![NotifyState::Stopping]
    }

    pub(super) fn status(text: &str) -> Vec<NotifyState<'_>> {
        vec![NotifyState::Status(text)]
    }

    pub(super) fn alive() -> Vec<NotifyState<'static>> {
        vec![NotifyState::Watchdog]
    }

    pub(super) fn tell(states: Vec<NotifyState<'_>>) {
        if let Err(e) = sd_notify::notify(&states) {
            tracing::debug!("telling systemd: {e}");
        }
    }
}

#[cfg(windows)]
mod manager {
    use std::time::Duration;

    use win::service::State;

    pub(super) fn listens() -> bool {
        false
    }

    pub(super) fn watchdog() -> Option<Duration> {
        None
    }

    pub(super) fn ready() -> Option<State> {
        Some(State::Running)
    }

    pub(super) fn reloading() -> Option<State> {
        None
    }

    pub(super) fn stopping() -> Option<State> {
        Some(State::Stopping)
    }

    pub(super) fn status(_text: &str) -> Option<State> {
        None
    }

    pub(super) fn alive() -> Option<State> {
        None
    }

    pub(super) fn tell(state: Option<State>) {
        if let Some(state) = state {
            win::service::tell(state);
        }
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
mod manager {
    use std::time::Duration;

    /// What nobody is told.
    pub(super) struct Nothing;

    pub(super) fn listens() -> bool {
        false
    }

    pub(super) fn watchdog() -> Option<Duration> {
        None
    }

    pub(super) fn ready() -> Nothing {
        Nothing
    }

    pub(super) fn reloading() -> Nothing {
        Nothing
    }

    pub(super) fn stopping() -> Nothing {
        Nothing
    }

    pub(super) fn status(_text: &str) -> Nothing {
        Nothing
    }

    pub(super) fn alive() -> Nothing {
        Nothing
    }

    pub(super) fn tell(_: Nothing) {}
}
