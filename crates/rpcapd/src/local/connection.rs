//! One who asks: a request, an answer, the end.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use serde_json::json;

use super::{Desk, Stream, http, metrics};
use crate::reload::Outcome;

/// Most bytes of a request, in HTTP with all its headers.
const REQUEST_MAX: usize = 8192;

/// How long a connection may take from its first byte to its last.
const TIME: Duration = Duration::from_secs(5);

/// How long a reload may take on top of that.
const RELOAD_TIME: Duration = Duration::from_secs(30);

/// The language of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A word and a line feed; answered in JSON.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no local socket yet"))]
    Locally,
    /// HTTP; answered with metrics.
    OverHttp,
}

/// A connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// The number of its door.
    pub(super) door: usize,
    asked: Asked,
    /// When it is given up.
    pub(super) deadline: Instant,
    state: State,
}

enum State {
    Reading(Vec<u8>),
    Reloading(Receiver<Outcome>),
    Writing { bytes: Vec<u8>, sent: usize },
}

/// What comes of a request.
enum Answer {
    /// It is not complete.
    Wait,
    Bytes(Vec<u8>),
    AfterReload(Receiver<Outcome>),
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>, door: usize, asked: Asked) -> Self {
        let deadline = Instant::now() + TIME;
        Self { stream, door, asked, deadline, state: State::Reading(Vec::new()) }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Does what can be done without waiting. Says whether the connection is over.
    pub(super) fn advance(&mut self, desk: &Desk) -> io::Result<bool> {
        if Instant::now() >= self.deadline {
            return Ok(true);
        }
        loop {
            let moved = match &mut self.state {
                State::Reading(_) => self.read(desk)?,
                State::Reloading(outcome) => match outcome.try_recv() {
                    Ok(outcome) => {
                        self.write(reloaded(&outcome));
                        true
                    }
                    Err(TryRecvError::Empty) => false,
                    // The daemon ends.
                    Err(TryRecvError::Disconnected) => return Ok(true),
                },
                State::Writing { bytes, sent } => {
                    while *sent < bytes.len() {
                        match self.stream.write(&bytes[*sent..]) {
                            Ok(0) => return Ok(true),
                            Ok(n) => *sent += n,
                            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                            Err(e) if e.kind() == ErrorKind::Interrupted => {}
                            Err(e) => return Err(e),
                        }
                    }
                    return Ok(true);
                }
            };
            if !moved {
                return Ok(false);
            }
        }
    }

    fn write(&mut self, bytes: Vec<u8>) {
        self.state = State::Writing { bytes, sent: 0 };
    }

    /// Reads on, and answers as soon as the request is complete. Says whether anything happened.
    fn read(&mut self, desk: &Desk) -> io::Result<bool> {
        let State::Reading(request) = &mut self.state else { return Ok(false) };
        let mut buf = [0; 1024];
        match self.stream.read(&mut buf) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => request.extend_from_slice(&buf[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        }
        let answer = match self.asked {
            Asked::Locally => local(request, desk),
            Asked::OverHttp => over_http(request, desk),
        };
        match answer {
            Answer::Wait => {}
            Answer::Bytes(bytes) => self.write(bytes),
            Answer::AfterReload(outcome) => {
                self.deadline += RELOAD_TIME;
                self.state = State::Reloading(outcome);
            }
        }
        Ok(true)
    }
}

/// What is asked for over the local socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How the daemon is.
    Status,
    /// That it read its configuration again.
    Reload,
}

impl Question {
    /// Reads a request; `None` while its end is not there. An error is what to answer.
    pub fn parse(bytes: &[u8]) -> Option<Result<Self, &'static str>> {
        let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
            return (bytes.len() >= REQUEST_MAX).then_some(Err("the request is too long"));
        };
        Some(match &bytes[..end] {
            b"status" => Ok(Self::Status),
            b"reload" => Ok(Self::Reload),
            _ => Err("unknown request: expected status or reload"),
        })
    }
}

fn local(request: &[u8], desk: &Desk) -> Answer {
    match Question::parse(request) {
        None => Answer::Wait,
        Some(Err(reason)) => Answer::Bytes(line(&json!({ "error": reason }))),
        Some(Ok(Question::Status)) => match serde_json::to_value(desk.observer.report()) {
            Ok(report) => Answer::Bytes(line(&report)),
            Err(e) => Answer::Bytes(line(&json!({ "error": e.to_string() }))),
        },
        Some(Ok(Question::Reload)) => {
            let (sender, outcome) = mpsc::channel();
            let waker = Arc::clone(&desk.waker);
            desk.reloader.ask(move |outcome| {
                // Neither fails while somebody waits for it.
                let _ = sender.send(outcome.clone());
                let _ = waker.wake();
            });
            Answer::AfterReload(outcome)
        }
    }
}

fn reloaded(outcome: &Outcome) -> Vec<u8> {
    line(&match outcome {
        Ok(summary) => json!({ "reloaded": summary.to_string() }),
        Err(reason) => json!({ "error": reason }),
    })
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

fn over_http(request: &[u8], desk: &Desk) -> Answer {
    let request = match http::Request::parse(request) {
        Some(Ok(request)) => request,
        Some(Err(status)) => return Answer::Bytes(http::error(status)),
        None if request.len() >= REQUEST_MAX => {
            return Answer::Bytes(http::error("431 Request Header Fields Too Large"));
        }
        None => return Answer::Wait,
    };
    let report = desk.observer.report();
    let (kind, body) = match metrics::openmetrics(report) {
        Ok(text) if request.openmetrics => (metrics::OPENMETRICS, text),
        Ok(text) => (metrics::CLASSIC, metrics::classic(&text)),
        Err(_) => return Answer::Bytes(http::error("500 Internal Server Error")),
    };
    Answer::Bytes(http::response("200 OK", kind, &body, request.head))
}
