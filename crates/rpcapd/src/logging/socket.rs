//! Lines as datagrams to the system's log: syslog(3)'s form of RFC 3164, and the journal's own.
//!
//! It is not waited for: what the log does not take at once is lost, counted, and the count logged
//! as soon as it takes lines again.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Mutex;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::target::Facility;

use crate::locked::lock;

/// A form of datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    /// syslog(3)'s. It carries no time: the log has that of arrival, in the host's own zone.
    Syslog(Facility),
    /// The journal's (systemd's *Native Journal Protocol*). A value without a line feed needs no more
    /// than this.
    Journald,
}

impl Protocol {
    /// Where those who understand it listen.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Syslog(_) => "/dev/log",
            Self::Journald => "/run/systemd/journal/socket",
        }
    }

    fn datagram(self, severity: u8, line: &str) -> String {
        let pid = std::process::id();
        match self {
            Self::Syslog(facility) => {
                let priority = facility.number() * 8 + severity;
                format!("<{priority}>rpcapd[{pid}]: {line}")
            }
            Self::Journald => format!(
                "PRIORITY={severity}\nSYSLOG_IDENTIFIER=rpcapd\nSYSLOG_PID={pid}\nMESSAGE={line}\n"
            ),
        }
    }
}

/// The way to the system's log, made anew when that begins anew.
#[derive(Debug)]
pub(super) struct SocketLog {
    path: PathBuf,
    protocol: Protocol,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    socket: Option<UnixDatagram>,
    lost: u64,
}

impl SocketLog {
    pub(super) fn new(path: PathBuf, protocol: Protocol) -> Self {
        Self { path, protocol, state: Mutex::default() }
    }

    /// Whether the log is there at this moment.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut state = lock(&self.state);
        state.connect(self).map(drop).map_err(|e| format!("{}: {e}", self.path.display()))
    }

    fn log(&self, severity: u8, line: &str) {
        let mut state = lock(&self.state);
        if state.lost > 0 {
            let lost = format!("{} lines before this one are lost", state.lost);
            if state.send(self, &self.protocol.datagram(4, &lost)).is_err() {
                state.lost += 1;
                return;
            }
            state.lost = 0;
        }
        if state.send(self, &self.protocol.datagram(severity, line)).is_err() {
            state.lost += 1;
        }
    }
}

impl State {
    fn connect(&mut self, log: &SocketLog) -> io::Result<&UnixDatagram> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(&log.path)?;
            self.socket = Some(socket);
        }
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn send(&mut self, log: &SocketLog, datagram: &str) -> io::Result<()> {
        let had_one = self.socket.is_some();
        match self.connect(log)?.send(datagram.as_bytes()) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(e),
            // Who listened there is gone; perhaps somebody else came.
            Err(_) if had_one => {
                self.socket = None;
                self.connect(log)?.send(datagram.as_bytes()).map(drop)
            }
            Err(e) => {
                self.socket = None;
                Err(e)
            }
        }
    }
}

impl<'a> MakeWriter<'a> for SocketLog {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { log: self, severity: 6 }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Event<'a> {
        // Severities of RFC 3164, section 4.1.1.
        let severity = match *meta.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        Event { log: self, severity }
    }
}

/// One event's way out.
#[derive(Debug)]
pub(super) struct Event<'a> {
    log: &'a SocketLog,
    severity: u8,
}

impl Write for Event<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.log.log(self.severity, String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn listen(name: &str) -> (PathBuf, UnixDatagram) {
        let path = std::env::temp_dir().join(format!("rpcapd-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (path, socket)
    }

    fn next(socket: &UnixDatagram) -> String {
        let mut buf = [0; 1024];
        let n = socket.recv(&mut buf).unwrap();
        String::from_utf8_lossy(&buf[..n]).replace(&std::process::id().to_string(), "PID")
    }

    #[test]
    fn both_forms() {
        let (path, socket) = listen("forms");
        SocketLog::new(path.clone(), Protocol::Syslog(Facility::DAEMON)).log(6, "hello");
        assert_eq!(next(&socket), "<30>rpcapd[PID]: hello");
        SocketLog::new(path.clone(), Protocol::Journald).log(3, "hello");
        assert_eq!(
            next(&socket),
            "PRIORITY=3\nSYSLOG_IDENTIFIER=rpcapd\nSYSLOG_PID=PID\nMESSAGE=hello\n"
        );
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_log_that_restarts_or_takes_nothing_costs_lines_and_no_time() {
        let (path, socket) = listen("restart");
        let log = SocketLog::new(path.clone(), Protocol::Syslog(Facility::DAEMON));
        log.check().unwrap();
        drop(socket);
        fs::remove_file(&path).unwrap();
        log.log(6, "nobody");
        let (_, socket) = listen("restart");
        log.log(6, "somebody");
        assert_eq!(next(&socket), "<28>rpcapd[PID]: 1 lines before this one are lost");
        assert_eq!(next(&socket), "<30>rpcapd[PID]: somebody");
        // Nobody reads: the queue of the socket is finite, and so is this loop.
        for _ in 0..100_000 {
            log.log(6, "more");
        }
        while socket.recv(&mut [0; 64]).is_ok() {}
        log.log(6, "again");
        assert!(next(&socket).ends_with("lines before this one are lost"));
        assert_eq!(next(&socket), "<30>rpcapd[PID]: again");
        fs::remove_file(path).unwrap();
    }
}
