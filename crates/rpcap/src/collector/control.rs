//! A control connection from an async task: [`ClientSession`] on a stream, with a deadline for
//! every reply.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rpcap_proto::session::{ClientError, ClientSession, Event, Request};
use rpcap_proto::wire::{
    AuthRequest, Device, ErrorCode, FilterBlock, MessageType, OpenReply, Sampling, StartReply,
    StartRequest, Stats, write_error,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::client::{Asked, Credentials, Error, Pushed};
use crate::clock::{Estimate, Offset, Question};
use crate::url::Endpoint;

/// A list of some 2,000 addresses; an agent that sends more is no agent.
const MAX_REPLY: u32 = 1024 * 1024;
/// Things said without having been asked that are kept.
const MAX_PUSHED: usize = 16;
/// Bytes for a read.
const READ: usize = 2048;

/// A control connection. After an error other than [`Error::Refused`] it is of no more use.
#[derive(Debug)]
pub struct Control<S> {
    stream: S,
    agent: Endpoint,
    session: ClientSession,
    deadline: Duration,
    pushed: VecDeque<Pushed>,
    input: Vec<u8>,
    /// How far the agent's clock is from this host's, as this capture has shown so far.
    clock: Estimate,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Control<S> {
    /// A session on a connection from `agent`. Every reply may take as long as `deadline`.
    pub fn new(stream: S, agent: SocketAddr, deadline: Duration) -> Self {
        Self {
            stream,
            agent: Endpoint { host: agent.ip().to_canonical().to_string(), port: agent.port() },
            session: ClientSession::with_longest_reply(MAX_REPLY),
            deadline,
            pushed: VecDeque::new(),
            input: Vec::new(),
            clock: Estimate::default(),
        }
    }

    /// The connection.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Ends the connection in an orderly way. The agent may come back.
    pub async fn hang_up(mut self) {
        let _ = tokio::time::timeout(self.deadline, self.stream.shutdown()).await;
    }

    /// Asks to be let in.
    pub async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Error> {
        let auth = match credentials {
            Credentials::Null => AuthRequest::Null,
            Credentials::Password { user, password } => {
                AuthRequest::Password { user: user.as_bytes(), password: password.as_bytes() }
            }
        };
        self.ask(Asked::Authenticate, &Request::Authenticate(auth)).await.map(drop)
    }

    /// The agent's devices.
    pub async fn devices(&mut self) -> Result<Vec<Device>, Error> {
        match self.ask(Asked::ListDevices, &Request::ListDevices).await? {
            Event::Devices(devices) => Ok(devices),
            _ => Err(self.unexpected()),
        }
    }

    /// Chooses the device of the next capture.
    pub async fn open(&mut self, device: &str) -> Result<OpenReply, Error> {
        match self.ask(Asked::Open, &Request::Open(device)).await? {
            Event::Opened(reply) => Ok(reply),
            _ => Err(self.unexpected()),
        }
    }

    /// Says which packets the next capture leaves out.
    pub async fn set_sampling(&mut self, sampling: Sampling) -> Result<(), Error> {
        self.ask(Asked::SetSampling, &Request::SetSampling(sampling)).await.map(drop)
    }

    /// Starts a capture.
    pub async fn start(&mut self, request: &StartRequest) -> Result<StartReply, Error> {
        self.clock = Estimate::default();
        match self.ask(Asked::Start, &Request::Start(request)).await? {
            Event::Started(reply) => Ok(reply),
            _ => Err(self.unexpected()),
        }
    }

    /// Gives the running capture another filter.
    pub async fn update_filter(&mut self, filter: &FilterBlock) -> Result<(), Error> {
        self.ask(Asked::UpdateFilter, &Request::UpdateFilter(filter)).await.map(drop)
    }

    /// The counters of the running or the last capture.
    pub async fn stats(&mut self) -> Result<Stats, Error> {
        let question = Question::now();
        match self.ask(Asked::Stats, &Request::Stats).await? {
            Event::Stats(stats, clock) => Ok(self.clock.answered(question, (stats, clock))),
            _ => Err(self.unexpected()),
        }
    }

    /// Whether the agent tells its clock with its counters.
    pub fn tells_clock(&self) -> bool {
        self.session.tells_clock()
    }

    /// The agent's clock minus this host's, if it has told.
    pub fn clock_offset(&self) -> Option<Offset> {
        self.clock.offset(Instant::now().into_std())
    }

    /// Ends the capture. A refusal says that it had ended by itself. The reply may take as long as
    /// the agent still has packets to send.
    pub async fn end_capture(&mut self, wait: Duration) -> Result<(), Error> {
        let until = Instant::now() + wait;
        match self.ask_until(Asked::EndCapture, &Request::EndCapture, until, wait).await {
            Ok(_) | Err(Error::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the session and tells the agent not to come back.
    pub async fn dismiss(mut self) {
        self.session.close();
        let output = std::mem::take(self.session.output());
        self.last_words(&output).await;
    }

    /// Tells the agent that it is not wanted, and ends the session.
    pub async fn reject(self, text: &str) {
        let mut output = Vec::new();
        write_error(&mut output, 0, ErrorCode::RemoteAccept, text);
        self.last_words(&output).await;
    }

    async fn last_words(mut self, bytes: &[u8]) {
        let _ = tokio::time::timeout(self.deadline, self.stream.write_all(bytes)).await;
        self.hang_up().await;
    }

    /// What the agent says next without being asked. May be dropped at any time without losing
    /// anything.
    pub async fn next_pushed(&mut self) -> Result<Pushed, Error> {
        loop {
            if let Some(pushed) = self.pushed.pop_front() {
                return Ok(pushed);
            }
            match self.poll()? {
                Some(_) => return Err(self.unexpected()),
                None if self.pushed.is_empty() => self.receive().await?,
                None => {}
            }
        }
    }

    async fn ask(&mut self, asked: Asked, request: &Request<'_>) -> Result<Event, Error> {
        self.ask_until(asked, request, Instant::now() + self.deadline, self.deadline).await
    }

    async fn ask_until(
        &mut self,
        asked: Asked,
        request: &Request<'_>,
        until: Instant,
        after: Duration,
    ) -> Result<Event, Error> {
        let exchange = async {
            self.take_stale().await?;
            self.session.request(request).map_err(|e| self.protocol(e))?;
            let output = std::mem::take(self.session.output());
            self.stream.write_all(&output).await.map_err(|e| self.lost(Some(e)))?;
            loop {
                match self.poll()? {
                    Some(Event::Refused { code, text }) => {
                        let endpoint = self.agent.clone();
                        return Err(Error::Refused { endpoint, asked, code, text });
                    }
                    Some(event) => return Ok(event),
                    None => self.receive().await?,
                }
            }
        };
        let exchanged = timeout_at(until, exchange).await;
        exchanged
            .unwrap_or_else(|_| Err(Error::Timeout { endpoint: self.agent.clone(), asked, after }))
    }

    /// Takes what came since the last reply, so that an error that answered nothing (some daemons
    /// send two for one request) is not taken for the answer to the next.
    async fn take_stale(&mut self) -> Result<(), Error> {
        tokio::select! {
            biased;
            received = self.receive() => received?,
            () = std::future::ready(()) => {}
        }
        match self.poll()? {
            Some(_) => Err(self.unexpected()),
            None => Ok(()),
        }
    }

    /// The next reply; what was pushed is kept.
    fn poll(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match self.session.poll() {
                Ok(Some(Event::Pushed { code, text })) => {
                    if self.pushed.len() < MAX_PUSHED {
                        self.pushed.push_back(Pushed { code, text });
                    }
                }
                Ok(other) => return Ok(other),
                Err(source) => return Err(self.protocol(source)),
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Error> {
        self.input.reserve(READ);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(self.lost(None)),
            Ok(_) => {
                self.session.receive(&self.input);
                self.input.clear();
                Ok(())
            }
            Err(e) => Err(self.lost(Some(e))),
        }
    }

    /// The session lets no other reply through than the one that was asked for.
    fn unexpected(&self) -> Error {
        self.protocol(ClientError::Unexpected { got: MessageType::Unknown(0), expected: None })
    }

    fn protocol(&self, source: ClientError) -> Error {
        Error::Protocol { endpoint: self.agent.clone(), source }
    }

    fn lost(&self, source: Option<io::Error>) -> Error {
        let pushed = self.pushed.back().cloned();
        Error::Lost { endpoint: self.agent.clone(), pushed, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpcap_proto::session::{Action, Config, DaemonSession, Next};
    use rpcap_proto::wire::{AuthReply, write_devices};
    use tokio::io::DuplexStream;

    const AGENT: &str = "192.0.2.1:4321";

    fn control(deadline: Duration) -> (Control<DuplexStream>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        (Control::new(ours, AGENT.parse().unwrap(), deadline), theirs)
    }

    /// A daemon that lets bob in and has one device, which cannot be opened.
    async fn daemon(mut stream: DuplexStream) {
        let mut session = DaemonSession::new(Config::default(), Duration::ZERO);
        let mut bytes = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut bytes).await {
            session.receive(&bytes[..n]);
            while let Next::Do(action) = session.poll(Duration::ZERO) {
                match action {
                    Action::Authenticate { user, password } => {
                        let known = user == b"bob" && password == b"s3cret";
                        let result = if known { Ok(()) } else { Err("no") };
                        session.authenticated(result, Duration::ZERO);
                    }
                    Action::ListDevices => session.devices(Ok(&[Device::default()])),
                    Action::Open(_) => session.opened(Err("gone")),
                    _ => {}
                }
            }
            // A byte at a time.
            for byte in std::mem::take(session.output()) {
                stream.write_all(&[byte]).await.unwrap();
            }
        }
    }

    fn bob(password: &str) -> Credentials {
        Credentials::Password { user: "bob".to_owned(), password: password.to_owned() }
    }

    #[tokio::test]
    async fn a_daemon_that_wants_a_password() {
        let (mut control, theirs) = control(Duration::from_secs(30));
        tokio::spawn(daemon(theirs));
        control.authenticate(&bob("s3cret")).await.unwrap();
        assert_eq!(control.devices().await.unwrap().len(), 1);
        let refused = control.open("eth0").await.unwrap_err();
        assert!(matches!(&refused, Error::Refused { text, .. } if text.contains("gone")));
        assert!(refused.to_string().starts_with(AGENT), "{refused}");

        let (mut control, theirs) = self::control(Duration::from_secs(30));
        tokio::spawn(daemon(theirs));
        let refused = control.authenticate(&bob("guessed")).await.unwrap_err();
        assert!(matches!(refused, Error::Refused { asked: Asked::Authenticate, .. }));
    }

    #[tokio::test]
    async fn d8_113_the_second_of_two_errors_answers_nothing() {
        let (mut control, mut theirs) = control(Duration::from_secs(30));
        let mut errors = Vec::new();
        write_error(&mut errors, 0, ErrorCode::WrongMessage, "first");
        write_error(&mut errors, 0, ErrorCode::WrongVersion, "second");
        theirs.write_all(&errors).await.unwrap();
        // Nothing was asked yet: neither is an answer.
        let mut reply = Vec::new();
        AuthReply::OURS.write(&mut reply);
        let answering = tokio::spawn(async move {
            let mut request = [0; 16];
            theirs.read_exact(&mut request).await.unwrap();
            theirs.write_all(&reply).await.unwrap();
            theirs
        });
        control.authenticate(&Credentials::Null).await.unwrap();
        assert_eq!(control.next_pushed().await.unwrap().text, "first");
        assert_eq!(control.next_pushed().await.unwrap().text, "second");
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn silence_and_lists_without_end_are_no_answers() {
        let (mut control, theirs) = control(Duration::from_millis(20));
        let late = control.authenticate(&Credentials::Null).await.unwrap_err();
        assert!(matches!(late, Error::Timeout { .. }), "{late}");
        drop(theirs);

        let (mut control, mut theirs) = self::control(Duration::from_secs(30));
        let mut list = Vec::new();
        let device = Device { name: vec![b'x'; 1000], ..Device::default() };
        write_devices(&mut list, &vec![device; 2000]);
        tokio::spawn(async move { theirs.write_all(&list).await });
        // As if it answered.
        let refused = control.ask(Asked::ListDevices, &Request::ListDevices).await.unwrap_err();
        assert!(matches!(refused, Error::Protocol { .. }), "{refused}");
    }
}
