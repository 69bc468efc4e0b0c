//! The daemon's session: a client that sends anything, a program that says yes or no, and time.

use std::time::Duration;

use rpcap_proto::bpf::Program;
use rpcap_proto::session::{
    Action, Config, DaemonSession, DataChannel, EndReason, Next, Note, Start,
};
use rpcap_proto::wire::{
    Address, Clock, Device, SNAPLEN_MAX, SockAddr, StartFlags, StartReply, Stats,
};

use super::input::Input;
use super::messages::request;

/// The most that one message, or one event, is answered with: the list of one device.
const LONGEST_ANSWER: usize = 600;

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    output: Vec<u8>,
    asked: Vec<String>,
    end: Option<EndReason>,
}

struct Run {
    session: DaemonSession,
    now: Duration,
    /// One bit for each question to the program, used over and over: whether it says no.
    refusals: u32,
    /// What a program would know.
    active: bool,
    accepted: bool,
    device: Option<String>,
    running: bool,
    /// Running, or failed by itself and not ended yet.
    captured: bool,
    outcome: Outcome,
}

impl Run {
    /// Polls until the session waits, and checks what must hold then.
    fn poll(&mut self) {
        while self.outcome.end.is_none() {
            match self.session.poll(self.now) {
                Next::Do(action) => self.answer(action),
                Next::Wait => {
                    match self.session.deadline() {
                        Some(deadline) => assert!(deadline > self.now, "a program would spin"),
                        None => assert!(self.active || self.captured, "waits for ever"),
                    }
                    break;
                }
                Next::End(reason) => self.outcome.end = Some(reason),
            }
        }
        self.outcome.output.append(self.session.output());
    }

    fn answer(&mut self, action: Action) {
        self.outcome.asked.push(format!("{action:?}"));
        if let Action::Note(note) = action {
            self.accepted |= note == Note::Authenticated;
            return;
        }
        assert_eq!(self.session.poll(self.now), Next::Wait, "two actions in work");
        assert_eq!(self.session.deadline(), None, "a timer runs while the program works");
        assert!(!self.session.wants_input(), "reads on while the program works");
        let asks = matches!(action, Action::Authenticate { .. });
        assert_eq!(self.accepted, !asks, "asked for something before it was accepted");
        self.refusals = self.refusals.rotate_left(1);
        let ok = if self.refusals & 1 == 0 { Ok(()) } else { Err("no") };
        let (session, now) = (&mut self.session, self.now);
        match action {
            Action::Note(_) => {}
            Action::Authenticate { .. } => {
                session.authenticated(ok, now);
                self.accepted = ok.is_ok();
            }
            Action::ListDevices => {
                let address = Address {
                    addr: Some(SockAddr::V4([127, 0, 0, 1].into())),
                    ..Address::default()
                };
                let device =
                    Device { name: b"lo".to_vec(), addresses: vec![address], ..Device::default() };
                let list = [device];
                session.devices(ok.map(|()| &list[..]));
            }
            Action::Open(name) => {
                assert!(!name.is_empty() && name.len() <= 1024 && !name.contains('\0'));
                session.opened(ok.map(|()| 1));
                self.device = ok.is_ok().then_some(name);
            }
            Action::Start(start) => {
                assert!(!self.running, "a capture beside another");
                assert_eq!(Some(&start.device), self.device.as_ref());
                check(&start);
                let extensions = start.flags.0 & StartFlags::CLOCK.0;
                session.started(ok.map(|()| StartReply { extensions, ..StartReply::default() }));
                self.running = ok.is_ok();
                self.captured = self.running;
            }
            Action::SetFilter(program) => {
                assert!(self.running, "a filter for no capture");
                valid(&program);
                session.filter_set(ok);
            }
            Action::ReadStats => session.stats(ok.map(|()| Stats::default()), Clock::default()),
            Action::Stop => {
                assert!(self.captured, "the end of no capture");
                session.stopped(now);
                self.running = false;
                self.captured = false;
            }
        }
    }
}

fn check(start: &Start) {
    assert!((1..=SNAPLEN_MAX).contains(&start.snaplen));
    let timeout = Duration::from_millis(1)..=Duration::from_secs(60);
    assert!(timeout.contains(&start.read_timeout));
    let no_port = matches!(start.data, DataChannel::Udp(0) | DataChannel::TcpConnect(0));
    assert!(!no_port);
    valid(&start.filter);
}

/// A program that reached the program is one that it may run.
fn valid(program: &Program) {
    let same = Program::new(program.instructions().to_vec());
    assert_eq!(same.as_ref(), Ok(program));
}

/// Does what the input says; `piece` is how many bytes arrive at once at most.
fn run(data: &[u8], piece: usize) -> Outcome {
    let mut input = Input(data);
    let flags = input.u8();
    let active = flags & 2 != 0;
    let system = (flags & 4 != 0).then(|| "Linux".into());
    let config = Config { null_auth: flags & 1 != 0, active, system, ..Config::default() };
    let now = Duration::from_secs(1000);
    let mut run = Run {
        session: DaemonSession::new(config, now),
        now,
        refusals: input.u32(),
        active,
        accepted: false,
        device: None,
        running: false,
        captured: false,
        outcome: Outcome::default(),
    };
    let (mut events, mut received, mut eof) = (2, 0, false);
    run.poll();
    while !input.is_empty() && run.outcome.end.is_none() {
        events += 1;
        match input.u8() {
            0 => run.now += Duration::from_millis(input.u16().into()),
            1 => run.now = run.session.deadline().unwrap_or(run.now).max(run.now),
            2 => {
                run.session.capture_failed("gone");
                run.running = false;
            }
            3 => {
                run.session.receive_eof();
                eof = true;
            }
            4 if !run.running => {
                // A day: no capture, no dialled peer, no patience.
                run.now += Duration::from_secs(24 * 3600);
            }
            _ if eof => {}
            event => {
                let made = if event == 5 { request(&mut input) } else { Vec::new() };
                let came = if event == 5 { &made[..] } else { input.bytes() };
                for bytes in came.chunks(piece) {
                    received += bytes.len();
                    run.session.receive(bytes);
                    run.poll();
                    if run.outcome.end.is_some() {
                        break;
                    }
                }
            }
        }
        run.poll();
        let bound = LONGEST_ANSWER * (received / 8 + events);
        assert!(run.outcome.output.len() <= bound, "says too much");
    }
    run.outcome
}

/// A byte of flags (1: NULL AUTH permitted, 2: active mode, 4: the system has a name), four bytes
/// that say which questions the program answers with no, then events, each a byte:
///
/// * 0: two bytes of milliseconds pass
/// * 1: time passes up to the deadline
/// * 2: the capture fails
/// * 3: the client ends the stream
/// * 4: a day passes, unless something is captured
/// * 5: a request arrives, well framed with any fields, or damaged
/// * others: two bytes of length and so many bytes arrive
///
/// The session asks its program for one thing at a time and nothing that makes no sense, answers no
/// more than it is asked, never has its program spin or wait for ever, and does not care how the
/// stream is cut.
pub fn daemon_session(data: &[u8]) {
    assert_eq!(run(data, usize::MAX), run(data, 1));
}
