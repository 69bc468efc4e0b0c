//! Captures through a client that says exactly what the tests want said.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use e2e::frames::{
    EXPERIMENT, EXPERIMENT_FILTER, Source, assert_frames, assert_same, frame, frames, numbers,
    ours, payload, tagged,
};
use e2e::{Client, Daemon, Lab, Start, filter, wait_until};
use rpcap_proto::wire::{Sampling, StartFlags};

#[test]
fn everything_is_delivered_before_endcap_is_answered_and_statistics_are_final() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = Client::on_b0(&daemon);
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
        let mut client = Client::on_b0(&daemon);
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
        let mut client = Client::on_b0(&daemon);
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

    let mut plain = Client::on_b0(&daemon);
    plain.start(&Start::default()).expect("STARTCAP");
    assert_eq!(promiscuity(), 0, "nobody asked for it");
    plain.end_capture().expect("ENDCAP");

    let mut client = Client::on_b0(&daemon);
    let data = client.start(&start).expect("STARTCAP");
    assert_eq!(promiscuity(), 1);
    source.send(&foreign);
    client.end_capture().expect("ENDCAP");
    assert_eq!(promiscuity(), 0, "after ENDCAP");
    assert_eq!(numbers(&data.wait_for_end()), [5]);

    client.start(&start).expect("STARTCAP");
    client.close();
    wait_until("promiscuous mode is off after CLOSE", || promiscuity() == 0);

    let mut client = Client::on_b0(&daemon);
    let data = client.start(&start).expect("STARTCAP");
    assert_eq!(promiscuity(), 1);
    drop((client, data));
    wait_until("promiscuous mode is off after the client is gone", || promiscuity() == 0);

    let mut client = Client::on_b0(&daemon);
    let _data = client.start(&start).expect("STARTCAP");
    assert_eq!(promiscuity(), 1);
    daemon.finish();
    assert_eq!(promiscuity(), 0, "after the daemon ended");
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
    let mut client = Client::on_b0(&daemon);
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
            // Those of the old filter that are on their way come first.
            wait_until("packets of the new filter", || {
                numbers(&data.packets()).iter().rev().take(5).all(|n| n % 2 == round % 2)
            });
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
    // libpcap refuses everything while it changes the filter.
    if e2e::daemon::backend().is_some() {
        return;
    }
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
    let mut client = Client::on_b0(&daemon);
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
    let mut all = Client::on_b0(&daemon);
    let everything = all.start(&Start::default()).expect("STARTCAP");
    let mut client = Client::on_b0(&daemon);
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

/// A payload is what its number makes of it, or the comparisons of these tests prove nothing.
#[test]
fn the_packets_of_these_tests_can_be_told_apart() {
    assert_ne!(payload(1, 60)[12..], payload(2, 60)[12..]);
    assert_eq!(e2e::frames::number(&frame(77, 60)), Some(77));
}
