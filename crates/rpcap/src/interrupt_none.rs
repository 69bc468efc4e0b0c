//! Interrupts where they are not handled yet: the system ends the program.

use std::sync::atomic::AtomicBool;

/// What a user at the keyboard has asked for.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    /// To end what runs, properly.
    pub(crate) stop: AtomicBool,
    /// To end it now.
    pub(crate) hurry: AtomicBool,
}

/// Watches for interrupts.
pub(crate) fn watch() -> std::io::Result<std::sync::Arc<Interrupts>> {
    Ok(std::sync::Arc::default())
}
