//! The control connection.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rpcap_proto::session::{ClientSession, Event, Request};
use rpcap_proto::wire::Stats;

use crate::stream::{Stream, Tls};

/// How long the daemon may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The control connection.
pub(crate) struct Control {
    /// For its addresses.
    pub(crate) stream: Stream,
    /// For what is not answered.
    pub(crate) session: ClientSession,
}

impl Control {
    /// Connects; a daemon that was only just started may need a moment until it listens.
    pub(crate) fn connect(daemon: SocketAddr, tls: Option<&Tls>) -> anyhow::Result<Self> {
        let start = Instant::now();
        let stream = loop {
            match Stream::connect(daemon, tls) {
                Ok(stream) => break stream,
                Err(e) if start.elapsed() > PATIENCE => {
                    return Err(e.context(format!("connecting to {daemon}")));
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.socket().set_read_timeout(Some(2 * PATIENCE))?;
        Ok(Self { stream, session: ClientSession::new() })
    }

    /// Sends what the session has to say.
    pub(crate) fn send(&mut self) -> anyhow::Result<()> {
        let output = self.session.output();
        self.stream.write_all(output).context("sending a request")?;
        self.stream.flush()?;
        output.clear();
        Ok(())
    }

    /// Sends a request and waits for its answer, which is not a refusal.
    pub(crate) fn expect(&mut self, request: &Request<'_>) -> anyhow::Result<Event> {
        self.session.request(request)?;
        self.send()?;
        let mut bytes = [0; 4096];
        loop {
            match self.session.poll()? {
                Some(Event::Refused { code, text }) => bail!("refused: {text} ({code})"),
                Some(Event::Pushed { code, text }) => eprintln!("drain: {text} ({code})"),
                Some(event) => return Ok(event),
                None => match self.stream.read(&mut bytes).context("waiting for an answer")? {
                    0 => bail!("the daemon closed the control connection"),
                    n => self.session.receive(&bytes[..n]),
                },
            }
        }
    }

    /// The daemon's counters.
    pub(crate) fn stats(&mut self) -> anyhow::Result<Stats> {
        match self.expect(&Request::Stats)? {
            Event::Stats(stats, _) => Ok(stats),
            other => bail!("the daemon answered with {other:?}"),
        }
    }
}
