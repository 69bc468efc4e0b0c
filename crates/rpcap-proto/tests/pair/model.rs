//! Random conversations against a plain telling of the states in `docs/protocol.md`.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rpcap_proto::session::{EndReason, Event, Request};
use rpcap_proto::wire::{AuthRequest, MessageType, Sampling, StartFlags, write_message};

use crate::flows::{everything, start};
use crate::support::host::{BROKEN, DOWN, LOOPBACK};
use crate::support::{claiming, message};
use crate::wire::{Cut, Pair, permissive};

/// One thing that a client does, or that happens to the daemon.
#[derive(Clone, Copy, Debug)]
enum Op {
    NullAuth,
    Password { right: bool },
    UnknownAuth,
    List,
    Open(&'static str),
    Sampling { known: bool },
    Start(Starting),
    UpdateFilter { valid: bool },
    Stats,
    EndCapture,
    CaptureFails,
    PeerError,
    UnknownType,
    DaemonsMessage,
    OtherVersion,
    Close,
    Wait(u64),
}

#[derive(Clone, Copy, Debug)]
enum Starting {
    Tcp,
    Udp,
    NoPort,
    CutFilter,
}

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Silence,
    Reply(MessageType),
    Error(u16),
    End(Option<u16>, EndReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capture {
    No,
    Running,
    Failed,
}

/// The states S0 to S3. What was opened and what is captured are apart: OPEN is for the next
/// STARTCAP even while a capture runs.
#[derive(Debug)]
struct Model {
    accepted: bool,
    failures: u32,
    device: Option<&'static str>,
    capture: Capture,
    /// Seconds since the session last had what it waits for.
    waited: u64,
}

impl Model {
    fn new() -> Self {
        Self { accepted: false, failures: 0, device: None, capture: Capture::No, waited: 0 }
    }

    fn after(&mut self, op: Op) -> Outcome {
        if let Op::Wait(seconds) = op {
            return self.wait(seconds);
        }
        if matches!(op, Op::CaptureFails) {
            let running = self.capture == Capture::Running;
            if running {
                self.capture = Capture::Failed;
            }
            return if running { Outcome::Error(9) } else { Outcome::Silence };
        }
        let is_auth = matches!(op, Op::NullAuth | Op::Password { .. } | Op::UnknownAuth);
        if self.accepted || is_auth {
            self.waited = 0;
        }
        if self.accepted { self.in_session(op) } else { self.before_auth(op) }
    }

    fn wait(&mut self, seconds: u64) -> Outcome {
        if self.capture != Capture::No {
            return Outcome::Silence;
        }
        self.waited += seconds;
        match self.accepted {
            false if self.waited >= 90 => Outcome::End(Some(2), EndReason::InitTimeout),
            true if self.waited >= 180 => Outcome::End(Some(14), EndReason::IdleTimeout),
            _ => Outcome::Silence,
        }
    }

    fn before_auth(&mut self, op: Op) -> Outcome {
        let code = match op {
            Op::NullAuth | Op::Password { right: true } => {
                self.accepted = true;
                return Outcome::Reply(MessageType::AuthReply);
            }
            Op::Password { right: false } => 18,
            Op::UnknownAuth => 20,
            Op::PeerError => return Outcome::End(None, EndReason::PeerError("oops".into())),
            Op::OtherVersion => return Outcome::End(Some(17), EndReason::Version(3)),
            Op::Close => {
                let authenticated = false;
                return Outcome::End(None, EndReason::Closed { authenticated });
            }
            _ => 16,
        };
        self.failures += 1;
        if self.failures == 10 {
            return Outcome::End(Some(code), EndReason::AuthFailures);
        }
        Outcome::Error(code)
    }

    fn in_session(&mut self, op: Op) -> Outcome {
        use Outcome::{End, Error, Reply};
        let wrong = |text: &str| End(Some(16), EndReason::WrongMessage(text.into()));
        match op {
            Op::NullAuth | Op::Password { .. } | Op::UnknownAuth => {
                wrong("RPCAP_MSG_AUTH_REQ request sent after authentication was completed")
            }
            Op::List => Reply(MessageType::FindAllIfReply),
            Op::Open(device) => {
                let exists = matches!(device, LOOPBACK | BROKEN);
                self.device = exists.then_some(device);
                if exists { Reply(MessageType::OpenReply) } else { Error(6) }
            }
            Op::Sampling { known: true } => Reply(MessageType::SetSamplingReply),
            Op::Sampling { known: false } => Error(15),
            Op::Start(how) => self.start(how),
            Op::UpdateFilter { valid } => match (self.capture, valid) {
                (Capture::Running, true) => Reply(MessageType::UpdateFilterReply),
                _ => Error(7),
            },
            Op::Stats => Reply(MessageType::StatsReply),
            Op::EndCapture if self.capture == Capture::No => Error(13),
            Op::EndCapture => {
                self.capture = Capture::No;
                Reply(MessageType::EndCaptureReply)
            }
            Op::PeerError => Outcome::Silence,
            Op::UnknownType => wrong("Unknown message type 99"),
            Op::DaemonsMessage => {
                wrong("Server-to-client message RPCAP_MSG_OPEN_REPLY received from client")
            }
            Op::OtherVersion => End(Some(17), EndReason::Version(3)),
            Op::Close => {
                let authenticated = true;
                End(None, EndReason::Closed { authenticated })
            }
            Op::CaptureFails | Op::Wait(_) => unreachable!("handled before"),
        }
    }

    fn start(&mut self, how: Starting) -> Outcome {
        let well_formed = matches!(how, Starting::Tcp | Starting::Udp);
        if self.capture == Capture::Running || !well_formed {
            return Outcome::Error(12);
        }
        match self.device {
            None => return Outcome::Error(12),
            // A capture that failed by itself is ended by the attempt.
            Some(BROKEN) => self.capture = Capture::No,
            Some(_) => self.capture = Capture::Running,
        }
        if self.capture == Capture::Running {
            Outcome::Reply(MessageType::StartCaptureReply)
        } else {
            Outcome::Error(12)
        }
    }
}

/// Does `op` to the pair and tells what came of it.
fn perform(pair: &mut Pair, op: Op) -> Outcome {
    let tcp = start(StartFlags::PROMISC, 0);
    let udp = start(StartFlags::DATAGRAM, 4000);
    let no_port = start(StartFlags::DATAGRAM, 0);
    let filter = everything(96);
    let request = match op {
        Op::NullAuth => Some(Request::Authenticate(AuthRequest::Null)),
        Op::UnknownAuth => Some(Request::Authenticate(AuthRequest::Unknown(7))),
        Op::Password { right } => {
            let password: &[u8] = if right { b"s3cret" } else { b"guess" };
            let user = b"bob";
            Some(Request::Authenticate(AuthRequest::Password { user, password }))
        }
        Op::List => Some(Request::ListDevices),
        Op::Open(name) => Some(Request::Open(name)),
        Op::Sampling { known: true } => Some(Request::SetSampling(Sampling::OneEvery(3))),
        Op::Start(Starting::Tcp) => Some(Request::Start(&tcp)),
        Op::Start(Starting::Udp) => Some(Request::Start(&udp)),
        Op::Start(Starting::NoPort) => Some(Request::Start(&no_port)),
        Op::UpdateFilter { valid: true } => Some(Request::UpdateFilter(&filter)),
        Op::Stats => Some(Request::Stats),
        Op::EndCapture => Some(Request::EndCapture),
        _ => None,
    };
    let mut events = Vec::new();
    if let Some(request) = request {
        pair.client.request(&request).expect("an idle client");
    }
    match op {
        Op::Sampling { known: false } => {
            pair.inject(&claiming(11, 8, &[9, 0, 0, 0, 0, 0, 0, 5]));
        }
        Op::Start(Starting::CutFilter) => {
            let mut payload = vec![0; 12];
            filter.write(&mut payload);
            payload.truncate(24);
            pair.inject(&message(MessageType::StartCaptureRequest, &payload));
        }
        Op::UpdateFilter { valid: false } => {
            let mut bytes = Vec::new();
            write_message(&mut bytes, MessageType::UpdateFilterRequest, 0, |b| {
                b.extend_from_slice(&[0, 2, 0, 0, 0, 0, 0, 0]);
            });
            pair.inject(&bytes);
        }
        Op::CaptureFails => pair.daemon.capture_failed("The interface went down"),
        Op::PeerError => pair.inject(&message(MessageType::Error, b"oops")),
        Op::UnknownType => pair.inject(&claiming(99, 4, b"abcd")),
        Op::DaemonsMessage => pair.inject(&message(MessageType::OpenReply, &[0; 8])),
        Op::OtherVersion => pair.inject(&[3, 9, 0, 0, 0, 0, 0, 0]),
        Op::Close => pair.client.close(),
        Op::Wait(seconds) => events = pair.pass(Duration::from_secs(seconds)),
        _ => {}
    }
    events.extend(pair.settle());
    // The pause after a wrong password is over before anything else is tried.
    if matches!(op, Op::Password { right: false }) && pair.end.is_none() {
        pair.now = pair.daemon.deadline().expect("a pause, or patience");
        events.extend(pair.settle());
    }
    let answer = answer(&events);
    match pair.end.take() {
        None => answer,
        Some(reason) => match answer {
            Outcome::Silence => Outcome::End(None, reason),
            Outcome::Error(code) => Outcome::End(Some(code), reason),
            other => panic!("{other:?}, then {reason:?}"),
        },
    }
}

/// The one event that an operation may cause, whether the client took it for an answer or not.
fn answer(events: &[Event]) -> Outcome {
    match events {
        [] => Outcome::Silence,
        [Event::Refused { code, .. } | Event::Pushed { code, .. }] => Outcome::Error(*code),
        [event] => Outcome::Reply(match event {
            Event::Authenticated(_) => MessageType::AuthReply,
            Event::Devices(_) => MessageType::FindAllIfReply,
            Event::Opened(_) => MessageType::OpenReply,
            Event::SamplingSet => MessageType::SetSamplingReply,
            Event::Started(_) => MessageType::StartCaptureReply,
            Event::FilterSet => MessageType::UpdateFilterReply,
            Event::Stats(..) => MessageType::StatsReply,
            _ => MessageType::EndCaptureReply,
        }),
        more => panic!("more than one answer: {more:?}"),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let device =
        prop_oneof![3 => Just(LOOPBACK), 1 => Just(DOWN), 1 => Just(BROKEN), 1 => Just("no0")];
    let starting = prop_oneof![
        3 => Just(Starting::Tcp),
        2 => Just(Starting::Udp),
        1 => Just(Starting::NoPort),
        1 => Just(Starting::CutFilter),
    ];
    prop_oneof![
        4 => Just(Op::NullAuth),
        1 => any::<bool>().prop_map(|right| Op::Password { right }),
        1 => Just(Op::UnknownAuth),
        4 => Just(Op::List),
        12 => device.prop_map(Op::Open),
        4 => any::<bool>().prop_map(|known| Op::Sampling { known }),
        16 => starting.prop_map(Op::Start),
        8 => any::<bool>().prop_map(|valid| Op::UpdateFilter { valid }),
        8 => Just(Op::Stats),
        8 => Just(Op::EndCapture),
        6 => Just(Op::CaptureFails),
        2 => Just(Op::PeerError),
        1 => Just(Op::UnknownType),
        1 => Just(Op::DaemonsMessage),
        1 => Just(Op::OtherVersion),
        1 => Just(Op::Close),
        4 => (0u64..200).prop_map(Op::Wait),
    ]
}

/// What a client that was let in does: AUTH again would end most conversations at once.
fn op_of_session() -> impl Strategy<Value = Op> {
    op().prop_map(|op| match op {
        Op::NullAuth | Op::Password { .. } | Op::UnknownAuth => Op::Open(LOOPBACK),
        op => op,
    })
}

fn agree(ops: &[Op]) {
    let mut pair = Pair::new(permissive(), Cut::None);
    pair.settle();
    let mut model = Model::new();
    for (at, op) in ops.iter().enumerate() {
        let expected = model.after(*op);
        let got = perform(&mut pair, *op);
        assert_eq!(got, expected, "at {at} of {ops:?}");
        if matches!(got, Outcome::End(..)) {
            return;
        }
        let running = model.capture == Capture::Running;
        assert!(!running || pair.host.running.is_some(), "at {at}");
        // The client waits for no answer, unless to what it did not ask itself.
        assert!(!pair.client.is_waiting(), "at {at} of {ops:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_conversation(ops in vec(op(), 0..40)) {
        agree(&ops);
    }

    #[test]
    fn any_conversation_of_an_accepted_client(ops in vec(op_of_session(), 0..60)) {
        agree(&[&[Op::NullAuth], &ops[..]].concat());
    }
}

/// Sequences that each were a trap for some daemon.
#[test]
fn known_traps() {
    use Op::{CaptureFails, EndCapture, NullAuth, Open, Stats, UpdateFilter};
    let tcp = Op::Start(Starting::Tcp);
    let valid = true;
    for ops in [
        &[NullAuth, Open(LOOPBACK), Open(DOWN), tcp, Open(LOOPBACK), tcp][..],
        &[NullAuth, Open(LOOPBACK), tcp, tcp, EndCapture, EndCapture],
        &[NullAuth, Open(LOOPBACK), tcp, Open(DOWN), EndCapture, tcp],
        &[NullAuth, Open(LOOPBACK), tcp, EndCapture, tcp, Stats],
        &[
            NullAuth,
            Open(LOOPBACK),
            tcp,
            CaptureFails,
            CaptureFails,
            UpdateFilter { valid },
            Stats,
            tcp,
            EndCapture,
        ],
        &[NullAuth, Open(LOOPBACK), tcp, CaptureFails, Open(BROKEN), tcp, EndCapture],
    ] {
        agree(ops);
    }
}
