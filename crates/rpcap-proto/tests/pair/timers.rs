//! Every timer, to the nanosecond before and at it.

use std::time::Duration;

use rpcap_proto::session::{Action, Config, EndReason, Event, Next, Request, Timers};
use rpcap_proto::wire::{AuthRequest, ErrorCode, MessageType, StartFlags};

use crate::flows::start;
use crate::support::host::{LOOPBACK, drive};
use crate::support::{NULL_AUTH, hex, message, messages};
use crate::wire::{Cut, Pair, permissive};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
const INSTANT: Duration = Duration::from_nanos(1);

const SHORT_START: &str = "0004 0000 00000014 | 00040000 000001f4 0001 0000 | 00010000 00000001";

fn pushed(code: ErrorCode, text: &str) -> Vec<Event> {
    let code = code as u16;
    let text = text.to_owned();
    vec![Event::Pushed { code, text }]
}

/// The pair stays until just before `time` has passed, then ends with `reason`.
fn ends_after(pair: &mut Pair, time: Duration, reason: EndReason) -> Vec<Event> {
    assert_eq!(pair.pass(time - INSTANT), []);
    assert_eq!(pair.end, None);
    assert_eq!(pair.daemon.deadline(), Some(pair.now + INSTANT));
    let events = pair.pass(INSTANT);
    assert_eq!(pair.end, Some(reason));
    events
}

fn capturing() -> Pair {
    let mut pair = Pair::accepted();
    pair.ask(&Request::Open(LOOPBACK));
    let started = pair.ask(&Request::Start(&start(StartFlags::PROMISC, 0)));
    assert!(matches!(started, Event::Started(_)));
    pair
}

#[test]
fn no_auth_for_90_seconds() {
    let mut pair = Pair::new(permissive(), Cut::None);
    pair.settle();
    let events = ends_after(&mut pair, 90 * SECOND, EndReason::InitTimeout);
    let text = "The RPCAP initial timeout has expired";
    assert_eq!(events, pushed(ErrorCode::InitTimeout, text));
}

#[test]
fn a_failed_auth_begins_90_seconds_anew() {
    let mut pair = Pair::new(Config::default(), Cut::None);
    pair.pass(80 * SECOND);
    let refused = pair.ask(&Request::Authenticate(AuthRequest::Null));
    assert!(matches!(refused, Event::Refused { code: 18, .. }));
    ends_after(&mut pair, 90 * SECOND, EndReason::InitTimeout);
}

#[test]
fn other_requests_before_auth_buy_no_time() {
    let mut pair = Pair::new(permissive(), Cut::None);
    pair.pass(80 * SECOND);
    let refused = pair.ask(&Request::ListDevices);
    assert!(matches!(refused, Event::Refused { code: 16, .. }));
    ends_after(&mut pair, 10 * SECOND, EndReason::InitTimeout);
}

#[test]
fn no_request_for_180_seconds() {
    let mut pair = Pair::accepted();
    pair.pass(100 * SECOND);
    pair.ask(&Request::ListDevices);
    let events = ends_after(&mut pair, 180 * SECOND, EndReason::IdleTimeout);
    let text = "The RPCAP runtime timeout has expired";
    assert_eq!(events, pushed(ErrorCode::RuntimeTimeout, text));
}

#[test]
fn a_capture_needs_no_requests() {
    let mut pair = capturing();
    assert_eq!(pair.daemon.deadline(), None);
    assert_eq!(pair.pass(30 * DAY), []);
    assert_eq!(pair.end, None);
    assert_eq!(pair.ask(&Request::EndCapture), Event::Ended);
    ends_after(&mut pair, 180 * SECOND, EndReason::IdleTimeout);
}

#[test]
fn a_capture_that_failed_keeps_its_session() {
    let mut pair = capturing();
    pair.daemon.capture_failed("The interface went down");
    let events = pair.pass(DAY);
    assert_eq!(events, pushed(ErrorCode::Read, "The interface went down"));
    assert_eq!(pair.end, None);
    assert_eq!(pair.ask(&Request::EndCapture), Event::Ended);
}

#[test]
fn a_peer_that_was_dialled_may_take_its_time() {
    let mut pair = Pair::new(Config { active: true, ..permissive() }, Cut::None);
    pair.settle();
    assert_eq!(pair.daemon.deadline(), None);
    pair.pass(DAY);
    let accepted = pair.ask(&Request::Authenticate(AuthRequest::Null));
    assert!(matches!(accepted, Event::Authenticated(_)));
    assert_eq!(pair.daemon.deadline(), None);
    pair.pass(DAY);
    assert!(matches!(pair.ask(&Request::ListDevices), Event::Devices(_)));
}

#[test]
fn a_message_has_30_seconds_from_its_first_byte() {
    let open = message(MessageType::OpenRequest, b"lo");
    for active in [false, true] {
        for cut in 1..open.len() {
            let mut pair = Pair::new(Config { active, ..permissive() }, Cut::None);
            pair.ask(&Request::Authenticate(AuthRequest::Null));
            pair.inject(&open[..cut]);
            pair.settle();
            let events = ends_after(&mut pair, 30 * SECOND, EndReason::MessageTimeout);
            assert_eq!(events, [], "there is nobody to tell");
        }
    }
}

#[test]
fn d1_002_003_half_a_header_before_auth_ends_at_the_message_deadline() {
    for cut in [1, 7, 15] {
        let mut pair = Pair::new(permissive(), Cut::None);
        pair.inject(&NULL_AUTH[..cut]);
        pair.settle();
        ends_after(&mut pair, 30 * SECOND, EndReason::MessageTimeout);
    }
}

#[test]
fn more_bytes_of_a_message_do_not_move_its_deadline() {
    let mut pair = Pair::new(permissive(), Cut::None);
    for byte in &NULL_AUTH[..15] {
        pair.inject(&[*byte]);
        pair.settle();
        pair.pass(SECOND);
    }
    ends_after(&mut pair, 15 * SECOND, EndReason::MessageTimeout);
}

#[test]
fn a_message_in_time_lifts_its_deadline() {
    let mut pair = Pair::accepted();
    let stats = message(MessageType::StatsRequest, b"");
    pair.inject(&stats[..5]);
    pair.settle();
    pair.pass(29 * SECOND);
    pair.daemon.receive(&stats[5..]);
    let end = drive(&mut pair.daemon, &mut pair.host, pair.now);
    assert_eq!(end, None);
    assert_eq!(messages(pair.daemon.output()).len(), 1);
    assert_eq!(pair.daemon.deadline(), Some(pair.now + 180 * SECOND));
}

#[test]
fn a_short_start_waits_a_second_for_its_tail() {
    for tail in 0..8 {
        let mut pair = Pair::accepted();
        pair.ask(&Request::Open(LOOPBACK));
        let request = start(StartFlags::PROMISC, 0);
        pair.client.request(&Request::Start(&request)).unwrap();
        pair.client.output().clear();
        pair.inject(&hex(SHORT_START));
        pair.inject(&hex("0006 0000 00040000")[..tail]);
        assert_eq!(pair.settle(), []);
        assert_eq!(pair.pass(SECOND - INSTANT), []);
        let refused = pair.pass(INSTANT);
        let text = "Message payload is too short".to_owned();
        assert_eq!(refused, [Event::Refused { code: 12, text }], "{tail}");
        assert_eq!(pair.end, None);
        assert!(pair.host.running.is_none());
    }
}

#[test]
fn a_tail_within_the_second_completes_a_short_start() {
    let mut pair = Pair::accepted();
    pair.ask(&Request::Open(LOOPBACK));
    let request = start(StartFlags::PROMISC, 0);
    pair.client.request(&Request::Start(&request)).unwrap();
    pair.client.output().clear();
    pair.inject(&hex(SHORT_START));
    assert_eq!(pair.settle(), []);
    assert_eq!(pair.pass(SECOND - INSTANT), []);
    pair.inject(&hex("0006 0000 00040000"));
    assert!(matches!(pair.settle()[..], [Event::Started(_)]));
}

/// The other timers run out while the tail is waited for; they are not asked then.
#[test]
fn the_tail_is_waited_for_past_other_deadlines() {
    let bytes = hex(SHORT_START);
    for late in [29 * SECOND + SECOND / 2, SECOND] {
        let mut pair = Pair::accepted();
        pair.ask(&Request::Open(LOOPBACK));
        pair.pass(180 * SECOND - late - SECOND / 2);
        pair.inject(&bytes[..9]);
        pair.settle();
        pair.pass(late);
        pair.inject(&bytes[9..]);
        pair.settle();
        assert_eq!(pair.daemon.deadline(), Some(pair.now + SECOND));
        let refused = pair.pass(SECOND);
        assert!(matches!(refused[..], [Event::Pushed { code: 12, .. }]));
        assert_eq!(pair.end, None);
    }
}

fn wrong_password() -> Request<'static> {
    Request::Authenticate(AuthRequest::Password { user: b"bob", password: b"guess" })
}

#[test]
fn a_wrong_password_is_answered_at_once_and_the_next_try_after_a_second() {
    let mut pair = Pair::new(Config::default(), Cut::None);
    let text = "Authentication failed".to_owned();
    let refused = Event::Refused { code: 18, text };
    assert_eq!(pair.ask(&wrong_password()), refused);
    assert_eq!(pair.daemon.deadline(), Some(pair.now + SECOND));
    pair.client
        .request(&Request::Authenticate(AuthRequest::Password {
            user: b"bob",
            password: b"s3cret",
        }))
        .unwrap();
    assert_eq!(pair.pass(SECOND - INSTANT), []);
    let events = pair.pass(INSTANT);
    assert!(matches!(events[..], [Event::Authenticated(_)]));
}

#[test]
fn d3_047_ten_wrong_passwords_end_the_session() {
    let mut pair = Pair::new(Config::default(), Cut::None);
    for _ in 0..10 {
        assert_eq!(pair.end, None);
        let refused = pair.ask(&wrong_password());
        assert!(matches!(refused, Event::Refused { code: 18, .. }));
        pair.pass(SECOND);
    }
    assert_eq!(pair.end, Some(EndReason::AuthFailures));
}

#[test]
fn timers_are_configurable() {
    let mut config = permissive();
    config.timers = Timers { init: 5 * SECOND, ..Timers::default() };
    let mut pair = Pair::new(config, Cut::None);
    pair.settle();
    ends_after(&mut pair, 5 * SECOND, EndReason::InitTimeout);
}

#[test]
fn the_wait_for_another_try_begins_after_the_pause() {
    let mut pair = Pair::new(Config::default(), Cut::None);
    pair.ask(&wrong_password());
    pair.pass(SECOND);
    ends_after(&mut pair, 90 * SECOND, EndReason::InitTimeout);
}

#[test]
fn the_time_that_a_capture_takes_to_end_is_not_the_clients() {
    let mut pair = capturing();
    pair.daemon.receive(&message(MessageType::EndCaptureRequest, b""));
    assert_eq!(pair.daemon.poll(pair.now), Next::Do(Action::Stop));
    let later = pair.now + 200 * SECOND;
    assert_eq!(pair.daemon.poll(later), Next::Wait);
    pair.daemon.stopped(later);
    assert_eq!(pair.daemon.poll(later), Next::Wait);
    assert_eq!(pair.daemon.deadline(), Some(later + 180 * SECOND));
}

#[test]
fn no_deadline_runs_while_the_program_owes_an_answer() {
    let mut pair = Pair::accepted();
    pair.daemon.receive(&message(MessageType::FindAllIfRequest, b""));
    assert_eq!(pair.daemon.poll(pair.now), Next::Do(Action::ListDevices));
    assert_eq!(pair.daemon.deadline(), None);
    assert_eq!(pair.daemon.poll(pair.now + DAY), Next::Wait);
    assert_eq!(pair.daemon.deadline(), None);
}
