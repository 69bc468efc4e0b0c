//! Lines to the event log of Windows.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use win::event_log::{EventLog, Kind};

/// The source of the events, as `rpcapd service install` registers it.
const SOURCE: &str = "rpcapd";

/// The way to the event log.
#[derive(Debug)]
pub(super) struct Events(EventLog);

impl Events {
    pub(super) fn open() -> io::Result<Self> {
        EventLog::open(SOURCE).map(Self)
    }
}

impl<'a> MakeWriter<'a> for Events {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { log: &self.0, kind: Kind::Information }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Event<'a> {
        let kind = match *meta.level() {
            Level::ERROR => Kind::Error,
            Level::WARN => Kind::Warning,
            _ => Kind::Information,
        };
        Event { log: &self.0, kind }
    }
}

/// One event's way out.
#[derive(Debug)]
pub(super) struct Event<'a> {
    log: &'a EventLog,
    kind: Kind,
}

impl Write for Event<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.log.report(self.kind, String::from_utf8_lossy(line).trim_end())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
