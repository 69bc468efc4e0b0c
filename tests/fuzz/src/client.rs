//! The client's session: a daemon that sends anything.

use rpcap_proto::session::{ClientError, ClientSession, Event, Request};
use rpcap_proto::wire::{AuthRequest, FilterBlock, Sampling, StartFlags, StartRequest};

use super::input::Input;
use super::messages::reply;

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    output: Vec<u8>,
    events: Vec<Event>,
    error: Option<ClientError>,
}

fn poll(session: &mut ClientSession, outcome: &mut Outcome) {
    while outcome.error.is_none() {
        match session.poll() {
            Ok(Some(event)) => {
                check(session, &event);
                outcome.events.push(event);
            }
            Ok(None) => break,
            Err(error) => outcome.error = Some(error),
        }
    }
    outcome.output.append(session.output());
}

fn check(session: &ClientSession, event: &Event) {
    match event {
        Event::Refused { text, .. } | Event::Pushed { text, .. } => {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
        _ => assert!(!session.is_waiting(), "answered, and waits for an answer"),
    }
}

/// Does what the input says; `piece` is how many bytes arrive at once at most.
fn run(data: &[u8], piece: usize) -> Outcome {
    let filter = FilterBlock { instructions: Vec::new() };
    let start = StartRequest {
        snaplen: 65_535,
        read_timeout_ms: 500,
        flags: StartFlags::PROMISC | StartFlags::CLOCK,
        port: 0,
        filter: filter.clone(),
    };
    let mut input = Input(data);
    let mut session = ClientSession::new();
    let mut outcome = Outcome::default();
    let mut asked = 0;
    while !input.is_empty() && outcome.error.is_none() {
        let event = input.u8();
        let request = match event {
            0 => Request::Authenticate(AuthRequest::Null),
            1 => Request::ListDevices,
            2 => Request::Open("lo"),
            3 => Request::SetSampling(Sampling::OneEvery(2)),
            4 => Request::Start(&start),
            5 => Request::UpdateFilter(&filter),
            6 => Request::Stats,
            7 => Request::EndCapture,
            _ => {
                let made = if event == 8 { reply(asked, &mut input) } else { Vec::new() };
                let came = if event == 8 { &made[..] } else { input.bytes() };
                for bytes in came.chunks(piece) {
                    session.receive(bytes);
                    poll(&mut session, &mut outcome);
                }
                continue;
            }
        };
        let busy = session.is_waiting();
        asked = if busy { asked } else { event };
        let sent = session.request(&request);
        assert_eq!(sent == Err(ClientError::Busy), busy);
        assert!(session.is_waiting());
        poll(&mut session, &mut outcome);
    }
    outcome
}

/// Events, each a byte: 0 to 7 are requests, in the order of [`Request`]; 8 is a reply to the one that
/// is unanswered, well framed with any fields, or damaged; others mean that bytes arrive, with two
/// bytes of length before them.
///
/// The session has one request unanswered at most, shows no text that a terminal would obey, and
/// does not care how the stream is cut.
pub fn client_session(data: &[u8]) {
    assert_eq!(run(data, usize::MAX), run(data, 1));
}
