//! Clients at an end of their own: far away, slow, with an address that holds on one cable only.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use e2e::frames::{EXPERIMENT_FILTER, Source, assert_frames, frame, frames};
use e2e::programs::program;
use e2e::{Client, Daemon, Lab, Process, Start, savefile, wait_until};
use rpcap_proto::wire::StartFlags;

/// What the ring passes on late is delivered before ENDCAP is answered.
#[test]
fn a_ring_that_takes_its_time_is_waited_for() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start_with(&lab, &["-n", "--latency", "2500"]);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = Client::on_b0(&daemon);
    let start = Start { timeout_ms: 2500, ..Start::filtered(EXPERIMENT_FILTER) };
    let data = client.start(&start).expect("STARTCAP");
    let sent = frames(0..5);
    source.send_all(&sent);
    client.end_capture().expect("ENDCAP");
    assert_frames("after ENDCAP", &sent, &data.wait_for_end());
    client.close();
    daemon.finish()[0].check_all_sent(5);
}

/// Link-local addresses mean something together with their interface only.
#[test]
fn clients_over_link_local_addresses() {
    let Some(lab) = Lab::new() else { return };
    lab.net.a.ip_batch("addr add fe80::a/64 dev a0 nodad\n");
    lab.net.b.ip_batch("addr add fe80::b/64 dev b0 nodad\n");
    let daemon = Daemon::run(&lab, lab.net.b.command(program("rpcapd")).args(["-n", "-p", "0"]), 2);
    let port = daemon.address().port();
    let url = format!("rpcap://[fe80::b%a0]:{port}/b0");
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(0..50);
    for transport in [&[][..], &["--udp"]] {
        let file = lab.path(&format!("link-local{}.pcapng", transport.len()));
        let mut rpcap = lab.net.a.command(program("rpcap"));
        rpcap.args(["capture", &url, "-f", EXPERIMENT_FILTER, "-c", "50", "-w"]).arg(&file);
        let mut client = Process::start(rpcap.args(transport));
        client.wait_for_line("capturing from");
        source.send_all(&sent);
        client.wait_success();
        assert_frames(&format!("{transport:?}"), &sent, &savefile::read(&file).packets);
    }
    for ledger in daemon.finish() {
        ledger.check_all_sent(50);
    }
}

/// A client that leaves is sent nothing more, also if its datagrams wait for a slow cable.
#[test]
fn a_slow_cable_does_not_keep_a_session_that_is_over() {
    let Some(lab) = Lab::new() else { return };
    // A datagram each tenth of a second, all of which the daemon waits for.
    let rate = "qdisc add dev b0 root tbf rate 80kbit burst 2k limit 1000000";
    e2e::process::run(lab.net.b.command("tc").args(rate.split(' ')));
    let mut command = lab.net.b.command(program("rpcapd"));
    command.args(["-n", "-b", "10.9.0.2", "-p", "0", "-g", "-u", "16384"]);
    let daemon = Daemon::run(&lab, &mut command, 1);
    let mut client = Client::connect_from(&lab.net.a, daemon.address());
    client.open("b0").expect("opening b0");
    let socket = lab.net.a.enter(|| UdpSocket::bind("10.9.0.1:0").expect("a UDP socket"));
    let port = socket.local_addr().expect("its address").port();
    let start = Start { flags: StartFlags::DATAGRAM, ..Start::filtered(EXPERIMENT_FILTER) };
    client.request_start(&start, port).expect("STARTCAP");
    let source = Source::new(&lab.net.a, "a0");
    for n in 0..2000 {
        source.send(&frame(n, 1000));
    }
    wait_until("the first datagrams are there", || socket.recv(&mut [0; 2000]).is_ok());
    let since = Instant::now();
    drop(client);
    let ledger = daemon.wait_for_ledgers(1).remove(0);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    ledger.check();
    assert!(ledger.get("unsent-closed") > 1000, "{ledger:?}");
    daemon.finish();
}
