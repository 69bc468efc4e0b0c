//! The host comes first: limits to what the daemon takes of it.

use std::time::{Duration, Instant};

use e2e::frames::{EXPERIMENT_FILTER, Source, frame, frames, numbers};
use e2e::net::Namespace;
use e2e::programs::program;
use e2e::{Client, Daemon, Lab, Ledger, Process, Start};
use rpcap_proto::wire::StartFlags;

/// Enough of the daemon's pace not to matter.
const LOAD: Duration = Duration::from_secs(2);

/// A daemon on all of `b`'s addresses, so that data goes over the cable.
fn daemon(lab: &Lab, arguments: &[&str]) -> Daemon {
    let mut command = lab.net.b.command(program("rpcapd"));
    command.args(["-n", "-p", "0"]).args(arguments);
    Daemon::run(lab, &mut command, 2)
}

/// Frames of that many flows: each from a station of its own.
fn flows(count: u32) -> Vec<Vec<u8>> {
    let flow = |n: u32| {
        let mut frame = frame(n, 1000);
        frame[8..12].copy_from_slice(&n.to_be_bytes());
        frame
    };
    (0..count).map(flow).collect()
}

/// Sends the frames again and again, as fast as it goes, while `wanted`; how many that were.
fn load(from: &Namespace, frames: &[Vec<u8>], mut wanted: impl FnMut() -> bool) -> u64 {
    let source = Source::new(from, "a0");
    let mut sent = 0;
    while wanted() {
        source.send_all(frames);
        sent += frames.len() as u64;
    }
    sent
}

/// Asserts that everything was seen, by this cause withheld, and accounted for.
#[track_caller]
fn check(ledger: &Ledger, came: u64, cause: &str) {
    ledger.check();
    assert_eq!(ledger.get("received"), came, "{ledger:?}");
    assert!(ledger.get(cause) > 0, "{ledger:?}");
    assert_eq!(ledger.get("withheld"), ledger.get(cause), "{ledger:?}");
    assert_eq!(ledger.get("unsent"), 0, "{ledger:?}");
}

#[test]
fn all_captures_together_keep_to_the_bits_on_the_wire() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &["--max-rate", "8Mbit"]);
    let address = ([10, 9, 0, 2], daemon.address().port()).into();
    let start = |flags| Start { flags, ..Start::filtered(EXPERIMENT_FILTER) };
    let mut captures: Vec<_> = [StartFlags::default(), StartFlags::DATAGRAM]
        .map(|flags| {
            let mut client = Client::connect_from(&lab.net.a, address);
            client.open("b0").expect("OPEN");
            let data = client.start(&start(flags)).expect("STARTCAP");
            (client, data)
        })
        .into();
    let (began, before) = (Instant::now(), lab.net.b.sent_bytes("b0"));
    let came = load(&lab.net.a, &flows(20), || began.elapsed() < LOAD);
    for (client, _) in &mut captures {
        client.end_capture().expect("ENDCAP");
    }
    let sent = lab.net.b.sent_bytes("b0") - before;
    let most = 1_000_000.0 * began.elapsed().as_secs_f64() + 128.0 * 1024.0;
    // What is not data: replies, acknowledgements, neighbours.
    assert!((sent as f64) < most + 16_384.0, "{sent} bytes sent, {most} are the limit");
    assert!(sent > 1_000_000, "{sent} bytes are less than a second's worth");
    drop(captures);
    for ledger in daemon.finish() {
        check(&ledger, came, "withheld-rate");
    }
}

#[test]
fn datagrams_keep_to_the_frames_on_the_wire() {
    let Some(lab) = Lab::new() else { return };
    // How many packets are in a frame at least, as they fill it.
    for (arguments, packets) in [(&["-t", "0"], 1), (&["-t", "1472"], 10)] {
        let mut more = vec!["-n", "--max-rate", "1kpps"];
        more.extend(arguments);
        let daemon = Daemon::start_with(&lab, &more);
        let mut client = Client::on_b0(&daemon);
        let flags = StartFlags::DATAGRAM;
        client
            .request_start(&Start { flags, snaplen: 50, ..Start::default() }, 9)
            .expect("STARTCAP");
        let began = Instant::now();
        let came = load(&lab.net.a, &flows(20), || began.elapsed() < LOAD);
        client.end_capture().expect("ENDCAP");
        let most = 1000.0 * began.elapsed().as_secs_f64() + 128.0;
        client.close();
        let ledger = daemon.finish().remove(0);
        let datagrams = ledger.get("datagrams");
        assert!(datagrams > 1000 && (datagrams as f64) < most, "{datagrams}, {most} are the limit");
        assert!(ledger.get("sent") >= datagrams * packets, "{ledger:?}");
        ledger.check();
        assert!(ledger.get("withheld-rate") > 0 && ledger.get("received") == came, "{ledger:?}");
    }
}

#[test]
fn a_capture_too_many_is_refused_until_another_ends() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start_with(&lab, &["-n", "--max-captures", "1"]);
    let (mut one, mut other) = (Client::on_b0(&daemon), Client::on_b0(&daemon));
    for _ in 0..2 {
        let _data = one.start(&Start::default()).expect("STARTCAP");
        let refused = other.start(&Start::default()).unwrap_err();
        assert_eq!(refused.code, 12);
        assert!(refused.text.contains("1 captures run") && refused.text.contains("--max-captures"));
        daemon.process.wait_for_line("--max-captures");
        one.end_capture().expect("ENDCAP");
        std::mem::swap(&mut one, &mut other);
    }
    // One that could not begin keeps no place.
    lab.net.b.ip("link set b0 down");
    one.start(&Start::default()).expect_err("an interface that is down");
    lab.net.b.ip("link set b0 up");
    let _data = other.start(&Start::default()).expect("STARTCAP");
    one.close();
    other.close();
    daemon.finish();
}

#[test]
fn a_ring_that_takes_too_much_memory_is_refused_beforehand() {
    let Some(lab) = Lab::new() else { return };
    // A ring of 4 MiB and its batch fit twice.
    let daemon = Daemon::start_with(&lab, &["-n", "-z", "4194304", "--max-memory", "9000000"]);
    let mut clients = [Client::on_b0(&daemon), Client::on_b0(&daemon)];
    let _data = clients.each_mut().map(|client| client.start(&Start::default()).expect("STARTCAP"));
    let mut command = lab.rpcap();
    command.args(["capture", &daemon.url("b0"), "-w"]).arg(lab.path("none.pcapng"));
    let mut client = Process::start(&mut command);
    assert!(!client.wait().success());
    let said = client.said();
    assert!(said.contains("takes 4456448 bytes of memory"), "{said}");
    assert!(said.contains("8912896 of 9000000 are in use by 2 captures"), "{said}");
    assert!(said.contains("--buffer") && said.contains("--max-memory"), "{said}");
    clients[0].end_capture().expect("ENDCAP");
    let mut late = Client::on_b0(&daemon);
    late.start(&Start::default()).expect("there is room again");
    drop((clients, late));
    daemon.finish();
}

#[test]
fn cpu_time_keeps_to_its_budget_and_every_flow_comes_back() {
    cpu_time("single");
}

#[test]
fn cpu_time_of_two_threads_keeps_to_one_budget() {
    cpu_time("-1,-1");
}

#[track_caller]
fn cpu_time(threads: &str) {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start_with(&lab, &["-n", "--max-cpu", "4%", "-c", threads]);
    let mut client = Client::on_b0(&daemon);
    let data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    let (began, before) = (Instant::now(), daemon.cpu_time());
    let announced = || !daemon.process.lines("CPU limit of 4%: 1 of").is_empty();
    let came = load(&lab.net.a, &flows(500), || began.elapsed() < LOAD || !announced());
    // Three times as much, and a blink, for clocks that tick, and for what is not captures.
    let (used, most) =
        (daemon.cpu_time() - before, began.elapsed() * 12 / 100 + Duration::from_millis(100));
    assert!(used < most, "{used:?} of CPU time, {most:?} are three times the limit");

    daemon.process.wait_for_line("every flow is forwarded again");
    let after = frames(1000..1050);
    Source::new(&lab.net.a, "a0").send_all(&after);
    client.end_capture().expect("ENDCAP");
    let got = numbers(&data.wait_for_end());
    assert!(got.ends_with(&Vec::from_iter(1000..1050)), "the last ones: {:?}", got.last());
    client.close();
    let ledger = daemon.finish().remove(0);
    check(&ledger, came + 50, "withheld-cpu");
}
