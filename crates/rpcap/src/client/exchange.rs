//! Requests out, replies in, and everything that may come in between.

use std::io;
use std::time::{Duration, Instant};

use rpcap_proto::session::{ClientError, Event, Request};
use rpcap_proto::wire::MessageType;

use super::{Asked, Client, Error, Pushed, is_timeout};

impl Client {
    /// Sends a request, waits for its reply and takes out of it what was asked for.
    pub(super) fn call<T>(
        &mut self,
        asked: Asked,
        request: &Request<'_>,
        take: impl FnOnce(Event) -> Option<T>,
    ) -> Result<T, Error> {
        let sent = self.send(request);
        if let Err(error @ Error::Protocol { .. }) = sent {
            return Err(error);
        }
        // A daemon that refuses hosts says so and closes, perhaps before it was sent anything: what
        // it said is worth more than that nothing could be sent.
        let event = match (self.next_reply(Instant::now() + self.timeout), sent) {
            (Ok(Some(event)), _) => event,
            (Err(error), _) | (_, Err(error)) => return Err(error),
            (Ok(None), Ok(())) => {
                return Err(Error::Timeout {
                    endpoint: self.endpoint.clone(),
                    asked,
                    after: self.timeout,
                });
            }
        };
        if let Event::Refused { code, text } = event {
            return Err(Error::Refused { endpoint: self.endpoint.clone(), asked, code, text });
        }
        // The session lets no other reply through than the one that was asked for.
        take(event).ok_or_else(|| {
            self.protocol(ClientError::Unexpected { got: MessageType::Unknown(0), expected: None })
        })
    }

    pub(super) fn send(&mut self, request: &Request<'_>) -> Result<(), Error> {
        self.take_stale()?;
        if let Err(source) = self.session.request(request) {
            return Err(self.protocol(source));
        }
        let output = std::mem::take(self.session.output());
        self.stream.write_all(&output).map_err(|e| self.lost(Some(e)))
    }

    /// Takes what came since the last request, so that an error that answered nothing (some
    /// daemons send two for one request) is not taken for the answer to the next.
    fn take_stale(&mut self) -> Result<(), Error> {
        if self.stream.socket().set_nonblocking(true).is_err() {
            return Ok(());
        }
        let mut bytes = [0; 4096];
        for _ in 0..64 {
            match self.stream.read(&mut bytes) {
                Ok(Some(n @ 1..)) => self.session.receive(&bytes[..n]),
                Ok(None) => {}
                // An end or an error will be met again when the reply is read.
                _ => break,
            }
        }
        self.stream.socket().set_nonblocking(false).map_err(|e| self.lost(Some(e)))?;
        if !self.session.is_waiting() {
            self.poll_event()?;
        }
        Ok(())
    }

    /// The reply to the request under way; `None` once the deadline is past.
    pub(super) fn next_reply(&mut self, deadline: Instant) -> Result<Option<Event>, Error> {
        let mut late = false;
        loop {
            if let Some(event) = self.poll_event()? {
                return Ok(Some(event));
            }
            if late || !self.receive(deadline)? {
                return Ok(None);
            }
            // A byte now and then does not push the deadline on.
            late = Instant::now() >= deadline;
        }
    }

    /// Keeps what has come and was pushed, and gives out the reply.
    pub(super) fn poll_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match self.session.poll() {
                Ok(Some(Event::Pushed { code, text })) => {
                    let pushed = Pushed { code, text };
                    self.last_pushed = Some(pushed.clone());
                    // A daemon that never stops complaining takes no memory.
                    if self.pushed.len() < 64 {
                        self.pushed.push_back(pushed);
                    }
                }
                Ok(other) => return Ok(other),
                Err(source) => return Err(self.protocol(source)),
            }
        }
    }

    /// Reads once; `false` if nothing came until the deadline.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<bool, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        // A timeout of zero would mean none at all.
        let wait = left.max(Duration::from_millis(1));
        self.stream.socket().set_read_timeout(Some(wait)).map_err(|e| self.lost(Some(e)))?;
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(None) => Ok(true),
            Ok(Some(0)) => Err(self.lost(None)),
            Ok(Some(n)) => {
                self.session.receive(&bytes[..n]);
                Ok(true)
            }
            Err(e) if is_timeout(&e) => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(e) => Err(self.lost(Some(e))),
        }
    }
}
