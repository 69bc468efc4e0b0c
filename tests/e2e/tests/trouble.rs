//! Interfaces, peers, signals and numbers that are not as one would like them; named after the rows
//! of the list of bad inputs.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use e2e::frames::{
    EXPERIMENT_FILTER, Source, UDP_PORT, assert_frames, frame, frames, numbers, send_datagrams,
    tagged,
};
use e2e::{Client, Daemon, Lab, Start, filter, wait_until};
use nix::sys::signal::Signal;
use rpcap_proto::wire::StartFlags;

#[test]
fn d7_102_an_interface_that_goes_down_ends_the_capture_once_and_the_session_lives() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = Client::on_b0(&daemon);
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

/// Packets that the kernel still gathers when the interface goes down were captured: they are
/// delivered, and accounted for.
#[test]
fn d7_102_what_came_before_the_interface_went_down_is_delivered() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = Client::on_b0(&daemon);
    for round in 1..=10 {
        lab.net.b.ip("link set b0 up");
        lab.net.a.wait_for_carrier("a0");
        let data = client.start(&Start::default()).expect("STARTCAP");
        let sent = frames(0..5);
        source.send_all(&sent);
        wait_until("the kernel has them", || client.stats().expect("STATS").received == 5);
        lab.net.b.ip("link set b0 down");
        let error = client.pushed_error();
        assert_eq!(error.code, 9, "{error}");
        assert_frames(&format!("round {round}"), &sent, &data.wait_for_end());
        client.end_capture().expect("ENDCAP");
    }
    for ledger in daemon.finish() {
        ledger.check_all_sent(5);
    }
}

#[test]
fn d7_102_an_interface_that_is_removed_ends_the_capture_once_and_the_session_lives() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let mut client = Client::on_b0(&daemon);
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
fn d7_104_sigterm_during_captures_ends_them_in_order() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut captures: Vec<_> = (0..3)
        .map(|_| {
            let mut client = Client::on_b0(&daemon);
            let data = client.start(&Start::default()).expect("STARTCAP");
            (client, data)
        })
        .collect();
    // One that never opened its data connection, one that is idle.
    let mut waiting = Client::on_b0(&daemon);
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
    let mut client = Client::on_b0(&daemon);
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
    let mut client = Client::on_b0(&daemon);
    let mut other = Client::on_b0(&daemon);
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
    // What waits in libpcap's buffer counts when it comes out, and in the end.
    if e2e::daemon::backend().is_none() {
        assert_eq!(stats.received, sent + 1);
    }
    client.end_capture().expect("ENDCAP while nobody reads");
    let last = client.stats().expect("STATS");
    assert_eq!((last.received, last.kernel_dropped), (sent + 1, stats.kernel_dropped));
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
    let mut client = Client::on_b0(&daemon);
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
    let mut client = Client::on_b0(&daemon);
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
    let mut client = Client::on_b0(&daemon);
    let port = lab.net.b.enter(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("its address").port()
    });
    let start = Start { flags: StartFlags::DATAGRAM, ..Start::default() };
    client.request_start(&start, port).expect("STARTCAP");
    for sent in 1..=200 {
        source.send(&frame(sent, 100));
        wait_until("the packet is on its way", || client.stats().expect("STATS").received == sent);
        if sent % 20 == 0 {
            // A report answers what was sent before: there have to be several sends.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    client.end_capture().expect("ENDCAP");
    let data = client.start(&Start::default()).expect("STARTCAP over TCP");
    source.send(&frame(0, 100));
    data.wait_for(1);
    client.close();
    let ledgers = daemon.finish();
    assert_eq!(ledgers[0].get("received"), 200);
    assert!(ledgers[0].get("unreachable-reports") > 0, "{:?}", ledgers[0]);
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
    let mut clients: Vec<_> = (0..SESSIONS).map(|_| Client::on_b0(&daemon)).collect();
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
    cycles(100);
    let before = (daemon.descriptors(), daemon.status("Threads"));
    // What grows once is no leak: the allocator has an arena for each of many threads.
    let mut grown = Vec::new();
    while grown.last().is_none_or(|grown| *grown >= 2048) {
        assert!(grown.len() < 4, "{grown:?} kB more, each after 1200 captures");
        let memory = daemon.status("VmRSS");
        cycles(150);
        grown.push(daemon.status("VmRSS").saturating_sub(memory));
    }
    wait_until("the same descriptors and threads", || {
        (daemon.descriptors(), daemon.status("Threads")) == before
    });
    assert_eq!(lab.net.b.promiscuity("b0"), 0);
    drop(clients);
    assert_eq!(daemon.finish().len(), 800 + 1200 * grown.len());
}

#[test]
fn d5_082_a_hundred_thousand_filters_leave_nothing_behind() {
    const BATCH: usize = 500;
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = Client::on_b0(&daemon);
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

#[test]
fn d4_057_an_interface_that_is_removed_after_it_was_listed() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let mut client = Client::connect(&daemon);
    let devices = client.devices().expect("FINDALLIF");
    assert!(devices.iter().any(|d| d.name == b"b0"), "{devices:?}");
    lab.net.b.ip("link del b0");
    let refused = client.open("b0").expect_err("there is no b0");
    assert_eq!(refused.code, 6, "{refused}");
    let refused = client.start(&Start::default()).expect_err("nothing is open");
    assert_eq!(refused.code, 12, "{refused}");
    let devices = client.devices().expect("FINDALLIF");
    assert!(devices.iter().all(|d| d.name != b"b0"), "{devices:?}");
    client.open("lo").expect("OPEN lo");
    client.close();
    daemon.finish();
}
