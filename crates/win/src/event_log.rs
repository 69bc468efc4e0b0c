//! The event log: a source of its own in the log "Application".
//!
//! Texts are found through a file with a message for each number. Ours is `EventCreate.exe`, which is
//! part of Windows and says nothing but the text that it is given for every number from 1 to 1000. A
//! file of our own would be kept open by the log and its viewers, and could not be replaced by an
//! upgrade.
#![allow(unsafe_code, reason = "the event log's functions")]

use std::io;
use std::ptr;

use windows_registry::LOCAL_MACHINE;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    REPORT_EVENT_TYPE, RegisterEventSourceW, ReportEventW,
};

use crate::text::wide;

/// Where sources of the log "Application" are registered, below HKEY_LOCAL_MACHINE.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";

/// Most UTF-16 units of a text: ReportEventW.
const TEXT_MAX: usize = 31_839;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something happened as it should.
    Information,
    /// Something went wrong, and the daemon goes on.
    Warning,
    /// Somebody has to act.
    Error,
}

impl Kind {
    /// The type, and the event's number. Information and warnings have the numbers that they have in
    /// ExtraHop's rpcapd.
    fn type_and_number(self) -> (REPORT_EVENT_TYPE, u32) {
        match self {
            Self::Information => (EVENTLOG_INFORMATION_TYPE, 2),
            Self::Warning => (EVENTLOG_WARNING_TYPE, 3),
            Self::Error => (EVENTLOG_ERROR_TYPE, 4),
        }
    }
}

/// Makes a source known to the event log. It may be known already.
pub fn register(source: &str) -> io::Result<()> {
    let all = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    let key = LOCAL_MACHINE.create(format!(r"{SOURCES}\{source}"))?;
    key.set_expand_string("EventMessageFile", MESSAGES)?;
    key.set_u32("TypesSupported", u32::from(all))?;
    Ok(())
}

/// Whether it is known.
pub fn is_registered(source: &str) -> bool {
    LOCAL_MACHINE.open(format!(r"{SOURCES}\{source}")).is_ok()
}

/// Makes a source unknown again; what it logged stays. It may be unknown already.
pub fn unregister(source: &str) -> io::Result<()> {
    match is_registered(source) {
        true => Ok(LOCAL_MACHINE.options().read().write().open(SOURCES)?.remove_tree(source)?),
        false => Ok(()),
    }
}

/// The way to the event log.
#[derive(Debug)]
pub struct EventLog(HANDLE);

// SAFETY: a handle is of the process, and the log's functions take it on any thread.
unsafe impl Send for EventLog {}
// SAFETY: the same.
unsafe impl Sync for EventLog {}

impl EventLog {
    /// Opens it. A source that is not registered works too, but its texts are shown with an excuse.
    pub fn open(source: &str) -> io::Result<Self> {
        let source = wide(source);
        // SAFETY: no server means this one; the name ends in a zero.
        let handle = unsafe { RegisterEventSourceW(ptr::null(), source.as_ptr()) };
        match handle.is_null() {
            true => Err(io::Error::last_os_error()),
            false => Ok(Self(handle)),
        }
    }

    /// Logs an event.
    pub fn report(&self, kind: Kind, text: &str) -> io::Result<()> {
        let (kind, number) = kind.type_and_number();
        let text = insertable(text);
        let texts = [text.as_ptr()];
        // SAFETY: the handle is open; there is one text, which ends in a zero, and no user and no data.
        let done = unsafe {
            ReportEventW(
                self.0,
                kind,
                0,
                number,
                ptr::null_mut(),
                1,
                0,
                texts.as_ptr(),
                ptr::null(),
            )
        };
        match done {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: `open` opened it; it is not used after this.
        unsafe { DeregisterEventSource(self.0) };
    }
}

/// A text that viewers show as it is, zero-terminated: a number after a percent sign would be taken
/// for another text's place.
fn insertable(text: &str) -> Vec<u16> {
    let mut units = Vec::with_capacity(text.len() + 1);
    let mut after_percent = false;
    for c in text.chars() {
        if after_percent && (c.is_ascii_digit() || c == '%') {
            units.push(b' '.into());
        }
        after_percent = c == '%';
        let c = if c == '\0' { '\u{fffd}' } else { c };
        if units.len() + c.len_utf16() > TEXT_MAX - 1 {
            break;
        }
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    units.push(0);
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::narrow;

    #[test]
    fn texts_are_shown_as_they_are() {
        let shown = |text| narrow(&insertable(text));
        assert_eq!(shown("fe80::1%4 50% a%b"), "fe80::1% 4 50% a%b");
        assert_eq!(shown("%%1 %é\0x"), "% % 1 %é\u{fffd}x");
        assert_eq!(insertable(&"😀".repeat(20_000)).len(), TEXT_MAX);
    }

    #[test]
    fn a_source_comes_and_goes() {
        let source = format!("rpcapd-test-{}", std::process::id());
        assert!(!is_registered(&source));
        unregister(&source).unwrap();
        register(&source).unwrap();
        register(&source).unwrap();
        let key = LOCAL_MACHINE.open(format!(r"{SOURCES}\{source}")).unwrap();
        assert_eq!(key.get_u32("TypesSupported").unwrap(), 7);
        assert!(key.get_string("EventMessageFile").unwrap().ends_with("EventCreate.exe"));
        let log = EventLog::open(&source).unwrap();
        for kind in [Kind::Information, Kind::Warning, Kind::Error] {
            log.report(kind, "a test of rpcapd").unwrap();
        }
        drop(log);
        unregister(&source).unwrap();
        assert!(!is_registered(&source));
    }
}
