//! The daemon's session: a client that sends anything, a program that says yes or no, and time.

use std::time::Duration;

use rpcap_proto::bpf::Program;
use rpcap_proto::session::{
    Action, Config, DaemonSession, DataChannel, EndReason, Next, Start, Timers,
};
use rpcap_proto::wire::{Address, Device, SNAPLEN_MAX, SockAddr, StartReply, Stats};

use super::input::Input;

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
    device: Option<String>,
    running: bool,
    outcome: Outcome,
}

impl Run {
    /// Polls until the session waits, and checks what must hold then.
    fn poll(&mut self) {
        while self.outcome.end.is_none() {
            match self.session.poll(self.now) {
                Next::Do(action) => self.answer(action),
                Next::Wait => {
                    if let Some(deadline) = self.session.deadline() {
                        assert!(deadline > self.now, "a program would spin");
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
        if matches!(action, Action::Note(_)) {
            return;
        }
        self.refusals = self.refusals.rotate_left(1);
        let ok = if self.refusals & 1 == 0 { Ok(()) } else { Err("no") };
        let (session, now) = (&mut self.session, self.now);
        match action {
            Action::Note(_) => {}
            Action::Authenticate { .. } => session.authenticated(ok, now),
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
                session.started(ok.map(|()| StartReply::default()));
                self.running = ok.is_ok();
            }
            Action::SetFilter(program) => {
                assert!(self.running, "a filter for no capture");
                valid(&program);
                session.filter_set(ok);
            }
            Action::ReadStats => session.stats(ok.map(|()| Stats::default())),
            Action::Stop => {
                session.stopped(now);
                self.running = false;
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
    let config =
        Config { null_auth: flags & 1 != 0, active: flags & 2 != 0, timers: Timers::default() };
    let now = Duration::from_secs(1000);
    let mut run = Run {
        session: DaemonSession::new(config, now),
        now,
        refusals: input.u32(),
        device: None,
        running: false,
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
            _ => {
                for bytes in input.bytes().chunks(piece) {
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

/// A byte of flags (1: NULL AUTH permitted, 2: active mode), four bytes that say which questions
/// the program answers with no, then events, each a byte:
///
/// * 0: two bytes of milliseconds pass
/// * 1: time passes up to the deadline
/// * 2: the capture fails
/// * 3: the client ends the stream
/// * 4: a day passes, unless something is captured
/// * others: two bytes of length and so many bytes arrive
///
/// The session asks its program for nothing that makes no sense, answers no more than it is asked,
/// never has its program spin, and does not care how the stream is cut.
pub fn daemon_session(data: &[u8]) {
    assert_eq!(run(data, usize::MAX), run(data, 1));
}
