//! Captures through a client that says exactly what the tests want said.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use e2e::frames::{
    EXPERIMENT, EXPERIMENT_FILTER, Source, UDP_PORT, assert_frames, assert_same, frame, numbers,
    ours, payload, send_datagrams, tagged,
};
use e2e::{Client, Daemon, Lab, PATIENCE, Start, filter, wait_until};
use nix::sys::signal::Signal;
use rpcap_proto::wire::{Sampling, StartFlags};

/// Frames of 100 bytes with these numbers.
fn frames(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(|n| frame(n, 100)).collect()
}

/// A session with `b0` opened.
#[track_caller]
fn session(daemon: &Daemon) -> Client {
    let mut client = Client::connect(daemon);
    assert_eq!(client.open("b0"), Ok(1), "the link type of a veth is Ethernet");
    client
}

#[test]
fn everything_is_delivered_before_endcap_is_answered_and_statistics_are_final() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    let started = std::time::SystemTime::now();
    let data = client.start(&Start::default()).expect("STARTCAP");
    let sent = frames(0..1000);
    source.send_all(&sent);
    // At once: what the ring still holds is delivered.
    client.end_capture().expect("ENDCAP");
    let got = data.wait_for_end();
    assert_frames("after ENDCAP", &sent, &got);
    let stats = client.stats().expect("STATS");
    assert_eq!((stats.received, stats.sent), (1000, 1000));
    assert_eq!((stats.kernel_dropped, stats.if_dropped), (0, 0));
    let seconds = |t: std::time::SystemTime| {
        t.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
    };
    let (from, to) = (seconds(started), seconds(std::time::SystemTime::now()));
    for packet in &got {
        assert!((from..=to).contains(&packet.secs), "{} is not in {from}..={to}", packet.secs);
    }
    client.close();
    daemon.finish()[0].check_all_sent(1000);
}

#[test]
fn inbound_and_outbound_flags_choose_the_direction() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let (inward, outward) = (Source::new(&lab.net.a, "a0"), Source::new(&lab.net.b, "b0"));
    let start = |flags| Start { flags, ..Start::filtered(EXPERIMENT_FILTER) };
    let mut captures: Vec<_> = [
        (StartFlags::INBOUND, vec![0, 2]),
        (StartFlags::OUTBOUND, vec![1, 3]),
        (StartFlags::default(), vec![0, 1, 2, 3]),
        (StartFlags::INBOUND | StartFlags::OUTBOUND, vec![0, 1, 2, 3]),
    ]
    .into_iter()
    .map(|(flags, expected)| {
        let mut client = session(&daemon);
        let data = client.start(&start(flags)).expect("STARTCAP");
        (flags, expected, client, data)
    })
    .collect();
    for n in 0..4 {
        if n % 2 == 0 { &inward } else { &outward }.send(&frame(n, 100));
    }
    for (flags, expected, client, data) in &mut captures {
        client.end_capture().expect("ENDCAP");
        assert_eq!(numbers(&data.wait_for_end()), *expected, "{flags:?}");
    }
    drop(captures);
    daemon.finish();
}

#[test]
fn snaplen_cuts_packets_and_leaves_their_length() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    for snaplen in [1, 96, 0, 262_144] {
        let mut client = session(&daemon);
        let start = Start { snaplen, ..Start::filtered(EXPERIMENT_FILTER) };
        let data = client.start(&start).expect("STARTCAP");
        let sent: Vec<_> = [60, 95, 96, 97, 1514].iter().map(|size| frame(7, *size)).collect();
        source.send_all(&sent);
        client.end_capture().expect("ENDCAP");
        let got = data.wait_for_end();
        assert_eq!(got.len(), sent.len(), "snaplen {snaplen}");
        for (packet, frame) in got.iter().zip(&sent) {
            // 0 is as much as there may be.
            let caplen = if snaplen == 0 { frame.len() } else { frame.len().min(snaplen as usize) };
            assert_eq!(packet.data, frame[..caplen], "snaplen {snaplen}");
            assert_eq!(packet.len as usize, frame.len(), "snaplen {snaplen}");
        }
    }
    daemon.finish();
}

#[test]
fn promiscuous_mode_is_set_and_undone_however_the_capture_ends() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let promiscuity = || lab.net.b.promiscuity("b0");
    let start = Start { flags: StartFlags::PROMISC, ..Start::filtered(EXPERIMENT_FILTER) };
    // A frame for somebody else.
    let mut foreign = frame(5, 100);
    foreign[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0xff]);

    let mut plain = session(&daemon);
    plain.start(&Start::default()).expect("STARTCAP");
    assert_eq!(promiscuity(), 0, "nobody asked for it");
    plain.end_capture().expect("ENDCAP");

    let mut client = session(&daemon);
    let data = client.start(&start).expect("STARTCAP");
    assert_eq!(promiscuity(), 1);
    source.send(&foreign);
    client.end_capture().expect("ENDCAP");
    assert_eq!(promiscuity(), 0, "after ENDCAP");
    assert_eq!(numbers(&data.wait_for_end()), [5]);

    client.start(&start).expect("STARTCAP");
    client.close();
    wait_until("promiscuous mode is off after CLOSE", || promiscuity() == 0);

    let mut client = session(&daemon);
    let data = client.start(&start).expect("STARTCAP");
    assert_eq!(promiscuity(), 1);
    drop((client, data));
    wait_until("promiscuous mode is off after the client is gone", || promiscuity() == 0);

    let mut client = session(&daemon);
    let _data = client.start(&start).expect("STARTCAP");
    assert_eq!(promiscuity(), 1);
    daemon.finish();
    assert_eq!(promiscuity(), 0, "after the daemon ended");
}

#[test]
fn d7_102_an_interface_that_goes_down_ends_the_capture_once_and_the_session_lives() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    let data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    source.send_all(&frames(0..3));
    data.wait_for(3);
    lab.net.b.ip("link set b0 down");
    let error = client.pushed_error();
    assert_eq!(error.code, 9, "{error}");
    assert!(error.text.contains("b0"), "{error}");
    // Once: what comes next are replies.
    let stats = client.stats().expect("STATS after the capture failed");
    assert_eq!((stats.received, stats.sent), (3, 3));
    client.end_capture().expect("ENDCAP after the capture failed");
    assert_eq!(numbers(&data.wait_for_end()), [0, 1, 2]);
    let refused = client.start(&Start::default()).expect_err("an interface that is down");
    assert_eq!(refused.code, 12, "{refused}");

    lab.net.b.ip("link set b0 up");
    lab.net.a.wait_for_carrier("a0");
    client.open("b0").expect("OPEN");
    let data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    source.send_all(&frames(10..15));
    client.end_capture().expect("ENDCAP");
    assert_eq!(numbers(&data.wait_for_end()), [10, 11, 12, 13, 14]);
    client.close();
    daemon.finish();
}

#[test]
fn d7_102_an_interface_that_is_removed_ends_the_capture_once_and_the_session_lives() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let mut client = session(&daemon);
    let data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    Source::new(&lab.net.a, "a0").send_all(&frames(0..3));
    data.wait_for(3);
    lab.net.b.ip("link del b0");
    let error = client.pushed_error();
    assert_eq!(error.code, 9, "{error}");
    client.end_capture().expect("ENDCAP");
    assert_eq!(numbers(&data.wait_for_end()), [0, 1, 2]);
    let refused = client.open("b0").expect_err("there is no b0");
    assert_eq!(refused.code, 6, "{refused}");
    let refused = client.start(&Start::default()).expect_err("nothing is open");
    assert_eq!(refused.code, 12, "{refused}");

    client.open("lo").expect("OPEN lo");
    let filter = filter::compile(&format!("udp dst port {UDP_PORT}"));
    let data = client.start(&Start { filter, ..Start::default() }).expect("STARTCAP lo");
    send_datagrams(&lab.net.b, "127.0.0.1", 0..3, 60);
    client.end_capture().expect("ENDCAP");
    assert_eq!(numbers(&data.wait_for_end()), [0, 1, 2]);
    client.close();
    daemon.finish();
}

#[test]
fn a_filter_too_long_for_the_kernel_takes_the_same_packets_as_its_short_equal() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let text = format!("ether proto {EXPERIMENT:#x} and ether[20] & 1 == 0 and greater 80");
    for device in ["b0", "any"] {
        let short = match device {
            "any" => filter::compile_for("LINUX_SLL", "ether proto 0x88b5 and greater 80"),
            _ => filter::compile(&text),
        };
        let long = filter::padded(&short, 5000);
        let mut captures: Vec<_> = [short, long]
            .into_iter()
            .map(|filter| {
                let mut client = Client::connect(&daemon);
                client.open(device).expect("OPEN");
                let start = Start { filter, snaplen: 120, ..Start::default() };
                let data = client.start(&start).expect("STARTCAP");
                (client, data)
            })
            .collect();
        for n in 0..200 {
            source.send(&frame(n, 60 + n as usize % 100));
            source.send(&tagged(n, 100, &[], 0x88b6));
        }
        let got: Vec<_> = captures
            .iter_mut()
            .map(|(client, data)| {
                client.end_capture().expect("ENDCAP");
                data.wait_for_end()
            })
            .collect();
        assert!(!got[0].is_empty() && got[0].len() < 200, "{device}: {}", got[0].len());
        let expected = ours(&got[0]);
        let expected = expected.iter().map(|(n, p)| (*n, p.data.as_slice(), p.len));
        assert_same(device, expected, &got[1]);
        assert_eq!(got[0].len(), got[1].len(), "{device}");
    }
    daemon.finish();
}

/// Changes the filter twenty times while packets flow, between one that accepts even numbers and
/// one that accepts odd ones; `length` says how long the filter of a round is, if not as it is.
/// Returns the numbers of the packets that came.
#[track_caller]
fn numbers_while_the_filter_changes(
    lab: &Lab,
    length: impl Fn(u32) -> Option<usize> + Sync,
) -> Vec<u32> {
    let daemon = Daemon::start(lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    // The last byte of a frame's number is at 14 + 8 + 3.
    let parity = |odd: u32| {
        filter::compile(&format!("ether proto {EXPERIMENT:#x} and ether[25] & 1 == {odd}"))
    };
    let data = client.start(&Start { filter: parity(0), ..Start::default() }).expect("STARTCAP");
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|s| {
        let sender = s.spawn(|| {
            let mut n = 0;
            while !stop.load(Relaxed) {
                source.send(&frame(n, 100));
                // One that is never accepted.
                source.send(&tagged(1_000_000 + n, 100, &[], 0x88b6));
                n += 1;
                std::thread::sleep(Duration::from_micros(50));
            }
            n
        });
        wait_until("packets of the first filter", || data.count() > 5);
        for round in 1..=20 {
            let program = parity(round % 2);
            let program = match length(round) {
                Some(len) => filter::padded(&program, len),
                None => program,
            };
            client.set_filter(&program).expect("UPDATEFILTER");
            let before = data.count();
            wait_until("packets of the new filter", || data.count() > before + 20);
        }
        stop.store(true, Relaxed);
        sender.join().expect("the sender")
    });
    client.end_capture().expect("ENDCAP");
    let got = numbers(&data.wait_for_end());
    daemon.finish();
    assert!(got.iter().all(|n| *n < sent), "a packet that no filter accepts");
    assert!(got.is_sorted() && got.len() > 100, "{} packets", got.len());
    let changes = got.windows(2).filter(|w| w[0] % 2 != w[1] % 2).count();
    assert_eq!(changes, 20, "each filter was on once: {got:?}");
    got
}

#[test]
fn a_changed_filter_takes_over_from_the_old_one_without_a_gap() {
    let Some(lab) = Lab::new() else { return };
    let got = numbers_while_the_filter_changes(&lab, |_| None);
    let gap = got.windows(2).map(|w| w[1] - w[0]).max();
    assert!(gap <= Some(3), "neither filter was on for {gap:?} packets");
}

#[test]
fn a_filter_changed_from_the_kernel_to_user_space_and_back_lets_nothing_else_through() {
    let Some(lab) = Lab::new() else { return };
    numbers_while_the_filter_changes(&lab, |round| (round % 4 < 2).then_some(5000));
}

#[test]
fn one_packet_in_n_is_delivered() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let mut client = session(&daemon);
    client.set_sampling(Sampling::OneEvery(5)).expect("SETSAMPLING");
    let data = client.start(&Start::default()).expect("STARTCAP");
    Source::new(&lab.net.a, "a0").send_all(&frames(0..52));
    client.end_capture().expect("ENDCAP");
    let expected: Vec<_> = (0..52).step_by(5).collect();
    assert_eq!(numbers(&data.wait_for_end()), expected);
    let stats = client.stats().expect("STATS");
    assert_eq!((stats.received, stats.sent), (52, 11));
    let ledgers = daemon.finish();
    assert_eq!((ledgers[0].get("sampled"), ledgers[0].get("sent")), (41, 11));
}

#[test]
fn the_first_packet_after_n_milliseconds_is_delivered() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    // The same packets without sampling tell what the sampled ones should be.
    let mut all = session(&daemon);
    let everything = all.start(&Start::default()).expect("STARTCAP");
    let mut client = session(&daemon);
    client.set_sampling(Sampling::FirstAfterMs(100)).expect("SETSAMPLING");
    let data = client.start(&Start::default()).expect("STARTCAP");
    let mut n = 0;
    wait_until("four intervals are over", || {
        source.send(&frame(n, 100));
        n += 1;
        data.count() > 4
    });
    for client in [&mut all, &mut client] {
        client.end_capture().expect("ENDCAP");
    }
    let (everything, sampled) = (everything.wait_for_end(), data.wait_for_end());
    assert_eq!(numbers(&sampled)[0], 0, "the first packet is delivered");
    let micros = |p: &e2e::Packet| p.secs * 1_000_000 + u64::from(p.nanos / 1000);
    for pair in sampled.windows(2) {
        let gap = micros(&pair[1]) - micros(&pair[0]);
        assert!(gap + 1 >= 100_000, "two packets {gap} µs apart");
        // The packet before the second was still within the interval of the first.
        let number = numbers(&pair[1..])[0] as usize;
        let before = micros(&everything[number - 1]) - micros(&pair[0]);
        // The two captures take their times one after the other.
        assert!(before < 110_000, "nothing was delivered for {before} µs");
    }
    let ledgers = daemon.finish();
    let sampled_out: u64 = ledgers.iter().map(|l| l.get("sampled")).sum();
    assert_eq!(sampled_out, u64::from(n) - sampled.len() as u64);
}

#[test]
fn an_ordinary_user_with_only_cap_net_raw_can_capture() {
    let needs = e2e::Needs { programs: &["tcpdump", "setpriv"], ..e2e::Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let program = e2e::lab::for_every_user(&lab, &e2e::programs::program("rpcapd"));
    let mut command = lab.net.b.command("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["--inh-caps", "-all,+net_raw", "--ambient-caps", "-all,+net_raw"])
        .args(["--bounding-set", "-all,+net_raw", "--no-new-privs"])
        .arg(program)
        .args(["-n", "-b", "127.0.0.1", "-p", "0"]);
    let daemon = Daemon::run(&lab, &mut command, 1);
    assert_eq!(daemon.status("Uid"), 65_534);
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(0..20);
    for (device, flags) in [("b0", StartFlags::PROMISC), ("any", StartFlags::default())] {
        let mut client = Client::connect(&daemon);
        assert!(!client.devices().expect("FINDALLIF").is_empty());
        client.open(device).expect("OPEN");
        let linktype = if device == "any" { "LINUX_SLL" } else { "EN10MB" };
        let filter = filter::compile_for(linktype, EXPERIMENT_FILTER);
        let data = client.start(&Start { flags, filter, ..Start::default() }).expect("STARTCAP");
        source.send_all(&sent);
        client.end_capture().expect("ENDCAP");
        let expected: Vec<_> = (0..20).collect();
        assert_eq!(numbers(&data.wait_for_end()), expected, "{device}");
    }
    daemon.finish();
}

#[test]
fn without_cap_net_raw_clients_are_told_what_is_missing() {
    let needs = e2e::Needs { programs: &["tcpdump", "setpriv"], ..e2e::Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let program = e2e::lab::for_every_user(&lab, &e2e::programs::program("rpcapd"));
    let mut command = lab.net.b.command("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["--inh-caps", "-all", "--ambient-caps", "-all", "--bounding-set", "-all"])
        .arg(program)
        .args(["-n", "-b", "127.0.0.1", "-p", "0"]);
    let daemon = Daemon::run(&lab, &mut command, 1);
    let mut client = Client::connect(&daemon);
    let refused = client.open("b0").and_then(|_| client.start(&Start::default()));
    let refused = refused.expect_err("without the right to capture");
    assert!(refused.text.contains("CAP_NET_RAW"), "{refused}");
    client.stats().expect("the session lives");
    daemon.finish();
}

#[test]
fn d7_104_sigterm_during_captures_ends_them_in_order() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut captures: Vec<_> = (0..3)
        .map(|_| {
            let mut client = session(&daemon);
            let data = client.start(&Start::default()).expect("STARTCAP");
            (client, data)
        })
        .collect();
    // One that never opened its data connection, one that is idle.
    let mut waiting = session(&daemon);
    waiting.request_start(&Start::default(), 0).expect("STARTCAP");
    let mut idle = Client::connect(&daemon);
    source.send_all(&frames(0..10));
    for (_, data) in &captures {
        data.wait_for(10);
    }
    let ledgers = daemon.finish();
    assert_eq!(ledgers.len(), 4);
    for (client, data) in &mut captures {
        assert_eq!(numbers(&data.wait_for_end()).len(), 10);
        assert_eq!(client.receive(), None, "the control connection ends, and nothing else");
    }
    assert_eq!(idle.receive(), None);
    assert_eq!(lab.net.b.promiscuity("b0"), 0);
}

#[test]
fn d7_104_sigstop_sigcont_and_sighup_during_a_capture_are_harmless() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    let data = client.start(&Start::default()).expect("STARTCAP");
    let sent = frames(0..300);
    source.send_all(&sent[..100]);
    for signal in [Signal::SIGHUP, Signal::SIGCHLD, Signal::SIGPIPE] {
        daemon.process.signal(signal);
    }
    daemon.process.wait_for_line("SIGHUP");
    daemon.process.signal(Signal::SIGSTOP);
    source.send_all(&sent[100..200]);
    daemon.process.signal(Signal::SIGCONT);
    source.send_all(&sent[200..]);
    for _ in 0..10 {
        daemon.process.signal(Signal::SIGSTOP);
        daemon.process.signal(Signal::SIGCONT);
        daemon.process.signal(Signal::SIGHUP);
        client.stats().expect("STATS");
    }
    client.end_capture().expect("ENDCAP");
    assert_frames("after signals", &sent, &data.wait_for_end());
    client.close();
    let ledgers = daemon.finish();
    assert_eq!(ledgers.len(), 1, "no request was done twice");
    ledgers[0].check_all_sent(300);
}

/// The kernel's ring is the only queue: a client that does not read makes the kernel drop and
/// count, and costs no memory.
#[test]
fn d7_096_a_tcp_client_that_stops_reading_loses_counted_packets_and_its_control_answers() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start_with(&lab, &["-n", "-z", "262144"]);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    let mut other = session(&daemon);
    let memory = daemon.status("VmRSS");
    let start = Start { receive_buffer: Some(4096), ..Start::default() };
    let stuck = client.start_unread(&start).expect("STARTCAP");
    let mut sent = 0;
    wait_until("the kernel drops packets", || {
        for _ in 0..500 {
            source.send(&frame(sent, 1514));
            sent += 1;
        }
        client.stats().expect("STATS").kernel_dropped > 1000
    });
    // The other session is not concerned.
    let data = other.start(&Start::filtered("ether proto 0x88b6")).expect("STARTCAP");
    source.send(&tagged(7, 100, &[], 0x88b6));
    data.wait_for(1);
    other.end_capture().expect("ENDCAP");
    let stats = client.stats().expect("STATS");
    assert_eq!(stats.received, sent + 1);
    client.end_capture().expect("ENDCAP while nobody reads");
    let last = client.stats().expect("STATS");
    assert_eq!((last.received, last.kernel_dropped), (stats.received, stats.kernel_dropped));
    let grown = daemon.status("VmRSS").saturating_sub(memory);
    assert!(grown < 8 * 1024, "{grown} kB for a client that does not read");
    drop(stuck);
    let ledgers = daemon.finish();
    let stuck = ledgers.iter().find(|l| l.get("dropped") > 0).expect("the ledger of the stuck one");
    assert_eq!(stuck.get("received"), u64::from(sent) + 1);
    assert!(stuck.get("unsent-closed") > 0, "{stuck:?}");
}

#[test]
fn d7_097_a_data_connection_that_is_reset_ends_the_capture_and_not_the_session() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    let stream = client.start_unread(&Start::default()).expect("STARTCAP");
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(&stream).set_linger(linger).expect("a reset on close");
    drop(stream);
    let stop = AtomicBool::new(false);
    let error = std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(Relaxed) {
                source.send(&frame(1, 100));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let error = client.pushed_error();
        stop.store(true, Relaxed);
        error
    });
    assert_eq!(error.code, 9, "{error}");
    client.end_capture().expect("ENDCAP");
    let data = client.start(&Start::filtered("ether proto 0x88b6")).expect("STARTCAP again");
    source.send(&tagged(7, 100, &[], 0x88b6));
    data.wait_for(1);
    client.close();
    let ledgers = daemon.finish();
    assert!(ledgers[0].get("unsent-closed") > 0, "{:?}", ledgers[0]);
}

#[test]
fn d7_098_garbage_on_the_data_connection_is_ignored() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    let data = client.start(&Start::default()).expect("STARTCAP");
    let stream = data.stream.as_ref().expect("a TCP connection");
    let mut writer = stream.try_clone().expect("a second handle");
    // Nobody reads it: what does not fit into the daemon's receive buffer waits, and is given up.
    let garbage =
        std::thread::spawn(move || std::io::Write::write_all(&mut writer, &vec![0x5a; 1 << 20]));
    let sent = frames(0..200);
    source.send_all(&sent);
    data.wait_for(200);
    assert_eq!(client.stats().expect("STATS").received, 200);
    client.end_capture().expect("ENDCAP");
    assert_frames("despite garbage", &sent, &data.packets());
    // With bytes unread the daemon's end of it is a reset.
    data.wait_for_any_end();
    let _ = garbage.join().expect("the writer");
    client.stats().expect("the session lives");
    daemon.finish()[0].check_all_sent(200);
}

#[test]
fn d7_099_an_unreachable_udp_port_is_counted_and_the_session_lives() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    let port = lab.net.b.enter(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("its address").port()
    });
    let start = Start { flags: StartFlags::DATAGRAM, ..Start::default() };
    client.request_start(&start, port).expect("STARTCAP");
    for sent in 1..=200 {
        source.send(&frame(sent, 100));
        wait_until("the packet is on its way", || client.stats().expect("STATS").received == sent);
    }
    client.end_capture().expect("ENDCAP");
    let data = client.start(&Start::default()).expect("STARTCAP over TCP");
    source.send(&frame(0, 100));
    data.wait_for(1);
    client.close();
    let ledgers = daemon.finish();
    assert_eq!(ledgers[0].get("received"), 200);
    assert!(ledgers[0].get("unsent-unreachable") > 0, "{:?}", ledgers[0]);
}

#[test]
fn d6_094_two_thousand_interfaces_and_five_thousand_addresses_are_listed() {
    let Some(lab) = Lab::new() else { return };
    let mut commands = String::new();
    for i in 0..1000 {
        let (high, low) = (i / 250, i % 250);
        commands += &format!("link add v{i} type veth peer name w{i}\n");
        for (net, device) in [(11, 'v'), (12, 'w')] {
            commands += &format!("addr add {net}.{high}.{low}.1/24 dev {device}{i}\n");
            commands += &format!("addr add fd{net}:{i}::1/64 dev {device}{i} nodad\n");
        }
        commands += &format!("addr add 13.{high}.{low}.1/24 dev v{i}\n");
    }
    lab.net.b.ip_batch(&commands);
    let daemon = Daemon::start(&lab);
    let mut client = Client::connect(&daemon);
    let devices = client.devices().expect("FINDALLIF");
    let added = devices.iter().filter(|d| d.name[0] == b'v' || d.name[0] == b'w');
    let added: Vec<_> = added.collect();
    assert_eq!(added.len(), 2000);
    let mut addresses = (0, 0, 0);
    for address in added.iter().flat_map(|d| &d.addresses) {
        use rpcap_proto::wire::SockAddr::{Mac, V4, V6};
        match address.addr {
            Some(V4(_)) => addresses.0 += 1,
            Some(V6 { .. }) => addresses.1 += 1,
            Some(Mac { .. }) => addresses.2 += 1,
            None => panic!("an address that is none: {address:?}"),
        }
    }
    assert_eq!(addresses, (3000, 2000, 2000));
    // The stream is where it should be.
    client.open("w999").expect("OPEN");
    assert_eq!(client.devices().expect("FINDALLIF"), devices);
    daemon.finish();
}

#[test]
fn d5_082_two_thousand_captures_leave_nothing_behind() {
    const SESSIONS: usize = 8;
    let Some(lab) = Lab::new() else { return };
    // A small ring: making 2000 large ones takes the kernel its time, and proves nothing more.
    let daemon = Daemon::start_with(&lab, &["-n", "-z", "65536"]);
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| session(&daemon)).collect();
    let mut cycles = |count: usize| {
        std::thread::scope(|s| {
            for client in &mut clients {
                s.spawn(|| {
                    for n in 0..count {
                        let flags = match n % 2 {
                            0 => StartFlags::PROMISC,
                            _ => StartFlags::DATAGRAM,
                        };
                        let start = Start { flags, ..Start::default() };
                        let data = client.start(&start).expect("STARTCAP");
                        client.end_capture().expect("ENDCAP");
                        drop(data);
                    }
                });
            }
        });
    };
    // What grows once is no leak.
    cycles(25);
    let before = (daemon.descriptors(), daemon.status("Threads"));
    let memory = daemon.status("VmRSS");
    cycles(225);
    assert_eq!((daemon.descriptors(), daemon.status("Threads")), before);
    let grown = daemon.status("VmRSS").saturating_sub(memory);
    assert!(grown < 2048, "{grown} kB more after 1800 captures");
    assert_eq!(lab.net.b.promiscuity("b0"), 0);
    drop(clients);
    assert_eq!(daemon.finish().len(), 2000);
}

#[test]
fn d5_082_a_hundred_thousand_filters_leave_nothing_behind() {
    const BATCH: usize = 500;
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = session(&daemon);
    let data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    let filters = ["ether proto 0x88b6", "tcp port 80 or udp port 53", EXPERIMENT_FILTER];
    let messages = filters.map(|text| Client::filter_message(&filter::compile(text)));
    let batch: Vec<u8> = (0..BATCH).flat_map(|n| messages[n % 3].clone()).collect();
    let mut updates = |count: usize| {
        for _ in 0..count / BATCH {
            client.send(&batch);
            for _ in 0..BATCH {
                client.reply(rpcap_proto::wire::MessageType::UpdateFilterReply).expect("a reply");
            }
        }
    };
    updates(5_000);
    let before = (daemon.descriptors(), daemon.status("Threads"));
    let memory = daemon.status("VmRSS");
    updates(95_000);
    assert_eq!((daemon.descriptors(), daemon.status("Threads")), before);
    let grown = daemon.status("VmRSS").saturating_sub(memory);
    assert!(grown < 2048, "{grown} kB more after 95,000 filters");
    client.set_filter(&filter::compile(EXPERIMENT_FILTER)).expect("UPDATEFILTER");
    source.send(&tagged(1, 100, &[], 0x88b6));
    source.send(&frame(2, 100));
    client.end_capture().expect("ENDCAP");
    assert_eq!(numbers(&data.wait_for_end()), [2]);
    daemon.finish();
}

/// A payload is what its number makes of it, or the comparisons of these tests prove nothing.
#[test]
fn the_packets_of_these_tests_can_be_told_apart() {
    assert_ne!(payload(1, 60)[12..], payload(2, 60)[12..]);
    assert_eq!(e2e::frames::number(&frame(77, 60)), Some(77));
    assert!(PATIENCE.as_secs() >= 10);
}
