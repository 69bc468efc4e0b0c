//! Datagrams that nobody on the way can read, change or send again.

use std::thread::sleep;
use std::time::Duration;

use e2e::certs::{Pair, made};
use e2e::frames::{EXPERIMENT_FILTER, Source, assert_frames, frames, frames_of_many_sizes};
use e2e::programs::program;
use e2e::{Daemon, Lab, Listener, Process, peer, savefile, wait_until};
use rpcap_proto::sealed;

/// Bytes in front of a datagram's payload: Ethernet's, IPv4's and UDP's.
const HEADERS: usize = 14 + 20 + 8;

/// A daemon on `b0`'s address, so that its datagrams cross the cable, and its URL.
fn daemon(lab: &Lab, pair: &Pair, more: &[&str]) -> (Daemon, String) {
    let mut command = lab.net.b.command(program("rpcapd"));
    command.args(["-n", "-b", "10.9.0.2", "-p", "0"]).args(pair.tls()).args(more);
    let daemon = Daemon::run(lab, &mut command, 1);
    let url = format!("rpcaps://{}/b0", daemon.address());
    (daemon, url)
}

/// `rpcap` at the other end of the cable, that ends after so many packets.
fn client(lab: &Lab, url: &str, print: &str, count: usize) -> Process {
    let mut command = lab.net.a.command(program("rpcap"));
    command.args(["capture", "--udp", url, "-f", EXPERIMENT_FILTER, "--tls-fingerprint", print]);
    command.args(["-c", &count.to_string(), "-w"]).arg(lab.path("out.pcapng"));
    Process::start(&mut command)
}

/// Sees the datagrams on the cable, and ends after so many.
fn spy(lab: &Lab, count: usize) -> Process {
    let mut command = lab.net.a.command("tcpdump");
    command.args(["-Z", "root", "--immediate-mode", "-U", "-i", "a0", "-c", &count.to_string()]);
    let spy = Process::start(command.arg("-w").arg(lab.path("spy.pcap")).arg("udp"));
    spy.wait_for_line("listening on a0");
    spy
}

#[test]
fn packets_arrive_and_the_cable_tells_nothing_of_them() {
    let Some(lab) = Lab::new() else { return };
    let (pair, print) = made(&lab, "own", &["10.9.0.2"]);
    let (daemon, url) = daemon(&lab, &pair, &[]);
    let mut spy = spy(&lab, 10);
    let mut client = client(&lab, &url, &print, 500);
    client.wait_for_line("capturing from");
    let sent = frames_of_many_sizes(1..501);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    assert_frames("the file", &sent, &savefile::read(&lab.path("out.pcapng")).packets);
    let said = client.stderr();
    assert!(said.contains("The ledger adds up"), "{said}");
    assert!(!said.contains("also:"), "{said}");
    let line = daemon.process.wait_for_line("capture started");
    assert!(line.contains("encrypted=true udpstr=true"), "{line}");
    for ledger in daemon.finish() {
        ledger.check_all_sent(500);
    }
    spy.wait_success();
    let spied: Vec<_> = savefile::read(&lab.path("spy.pcap")).packets;
    for packet in &spied {
        let datagram = &packet.data[HEADERS..];
        assert_eq!(datagram[..4], [0, sealed::TYPE, 0, 0]);
    }
    let spied: Vec<_> = spied.into_iter().flat_map(|p| p.data).collect();
    for frame in sent.iter().filter(|f| f.len() > 40) {
        let part = &frame[14..30];
        assert!(!spied.windows(part.len()).any(|w| w == part), "a packet can be read");
    }
}

#[test]
fn what_is_sent_again_or_forged_is_refused_and_counted() {
    let Some(lab) = Lab::new() else { return };
    let (pair, print) = made(&lab, "own", &["10.9.0.2"]);
    let (daemon, url) = daemon(&lab, &pair, &[]);
    let mut spy = spy(&lab, 20);
    let mut client = client(&lab, &url, &print, 60);
    client.wait_for_line("capturing from");
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(1..61);
    for frame in &sent[..30] {
        source.send(frame);
        // So that each has a datagram for itself.
        sleep(Duration::from_millis(25));
    }
    spy.wait_success();
    let enemy = Source::new(&lab.net.b, "b0");
    let (mut again, mut forged) = (0, 0);
    for packet in savefile::read(&lab.path("spy.pcap")).packets {
        let mut frame = packet.data;
        // No checksum: the sender leaves it to the card, and there is none.
        frame[40..42].fill(0);
        enemy.send(&frame);
        again += 1;
        // Another number, and another byte of a packet.
        for at in [HEADERS + 7, HEADERS + 30] {
            let mut frame = frame.clone();
            frame[at] ^= 0x80;
            frame[HEADERS + 6] ^= 0x40;
            enemy.send(&frame);
            forged += 1;
        }
        // What a daemon without TLS would send.
        frame[HEADERS + 1] = 110;
        enemy.send(&frame);
    }
    assert_eq!(again, 20);
    source.send_all(&sent[30..]);
    client.wait_success();
    assert_frames("the file", &sent, &savefile::read(&lab.path("out.pcapng")).packets);
    let said = client.stderr();
    for line in [
        format!("also: {again} encrypted datagrams that came twice"),
        format!("also: {forged} datagrams forged or changed on the way, refused"),
        format!("also: {again} datagrams that were not encrypted, refused"),
        "The ledger adds up".to_owned(),
    ] {
        assert!(said.contains(&line), "no {line:?} in: {said}");
    }
    daemon.finish();
}

#[test]
fn who_cannot_is_told_why() {
    let Some(lab) = Lab::with_peers() else { return };
    let (pair, print) = made(&lab, "own", &["127.0.0.1", "10.9.0.2"]);
    let (daemon, url) = daemon(&lab, &pair, &["-t", "0"]);
    let mut refused = client(&lab, &url, &print, 1);
    assert!(!refused.wait().success());
    let said = refused.stderr();
    assert!(said.contains("encrypted as udpstr only"), "{said}");
    daemon.finish();

    // libpcap's daemon sends none that are encrypted.
    let theirs = peer::PeerDaemon::start_with(&lab, &pair.ssl());
    let mut command = lab.rpcap();
    let url = format!("rpcaps://{}/b0", theirs.address());
    command.args(["capture", "--udp", &url, "--tls-fingerprint", &print, "-c", "1"]);
    let mut refused = Process::start(command.arg("-w").arg(lab.path("none.pcapng")));
    assert!(!refused.wait().success());
    let said = refused.stderr();
    assert!(said.contains("refuses to start the capture"), "{said}");
}

#[test]
fn a_collector_takes_sealed_datagrams_again_and_again() {
    let Some(lab) = Lab::new() else { return };
    let (pair, print) = made(&lab, "own", &[]);
    let policy = |more: &str| {
        format!(
            "[output.files]\ndirectory = \"captures\"\n\n[tls]\nfingerprints = [\"{print}\"]\n\n\
             [[agent]]\nname = \"all\"\ninterfaces = [\"b0\"]\ntransport = \"udp\"\n\
             filter = \"{EXPERIMENT_FILTER}\"\n{more}\n"
        )
    };
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy(""));
    let place = listener.active();
    let daemon = Daemon::calling(&lab, &[&["-a", &place], &pair.tls()[..]].concat());
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames_of_many_sizes(1..601);
    for (round, part) in sent.chunks(200).enumerate() {
        if round > 0 {
            // Another capture in the same session, with another key.
            listener.reload(&policy(&format!("snaplen = {}", 20_000 + round)));
        }
        listener.process.wait_for_lines("capturing, EN10MB, by UDP, encrypted", round + 1);
        source.send_all(part);
        let in_all = (round + 1) * 200;
        wait_until("all packets are in the files", || listener.count_so_far() == in_all);
    }
    let got = listener.finish();
    let account = &got.accounts["127.0.0.1 b0"];
    account.check_all_written(sent.len());
    assert_eq!(account.text("balanced"), "yes");
    assert_frames("the files", &sent, &got.packets);
    for ledger in daemon.finish() {
        ledger.check();
    }
}
