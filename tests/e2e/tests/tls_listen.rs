//! `rpcap listen` and daemons that call it and are the TLS servers all the same.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::certs::{Ca, Pair, made};
use e2e::frames::{EXPERIMENT_FILTER, Source, assert_frames, frames, frames_of_many_sizes};
use e2e::{Daemon, Lab, Listener, peer, wait_until};

/// A policy with this section `[tls]`, and these lines for the one kind of agents.
fn policy(tls: &str, lines: &str) -> String {
    format!(
        "[output.files]\ndirectory = \"captures\"\n\n{tls}\n\
         [[agent]]\nname = \"all\"\ninterfaces = [\"preselected\", \"b0\"]\n\
         filter = \"{EXPERIMENT_FILTER}\"\n{lines}\n"
    )
}

/// A daemon of ours that calls this collector, with TLS.
#[track_caller]
fn calling(lab: &Lab, listener: &Listener, pair: &Pair) -> Daemon {
    let place = listener.active();
    Daemon::calling(lab, &[&["-a", &place], &pair.tls()[..]].concat())
}

/// Sends frames and waits until so many are in the files.
#[track_caller]
fn arrive(lab: &Lab, listener: &Listener, sent: &[Vec<u8>], in_all: usize) {
    Source::new(&lab.net.a, "a0").send_all(sent);
    wait_until("all packets are in the files", || listener.count_so_far() == in_all);
}

#[test]
fn daemons_of_both_kinds_send_encrypted() {
    let Some(lab) = Lab::with_peers() else { return };
    let ca = Ca::new(&lab, "ca");
    let pair = ca.vouch("agent", &["127.0.0.1", "::1"]);
    let trust = format!("[tls]\nca = \"{}\"\n", ca.cert);
    for (ip, theirs) in [("127.0.0.1", false), ("::1", false), ("127.0.0.1", true)] {
        let listener = Listener::start(&lab, &lab.net.b, ip, &policy(&trust, ""));
        let (mut ours, mut libpcaps) = (None, None);
        match theirs {
            true => {
                let place = listener.active();
                let arguments = [&["-a", &place], &pair.ssl()[..]].concat();
                libpcaps = Some(peer::calls_with(&lab, &arguments));
            }
            false => {
                ours = Some(calling(&lab, &listener, &pair));
            }
        }
        listener.process.wait_for_line("capturing, EN10MB, by TCP with TLS");
        let sent = frames_of_many_sizes(1..500);
        arrive(&lab, &listener, &sent, sent.len());
        let directory = listener.directory.clone();
        let got = listener.finish();
        let account = &got.accounts[&format!("{ip} b0")];
        account.check_all_written(sent.len());
        assert_frames(ip, &sent, &got.packets);
        std::fs::remove_dir_all(directory).expect("removing the files");
        drop(libpcaps);
        if let Some(daemon) = ours {
            assert_eq!(account.text("balanced"), "yes");
            let said = daemon.process.said();
            for ledger in daemon.finish() {
                ledger.check();
            }
            // Both ends part as they should.
            assert!(!said.contains("control connection:"), "{said}");
        }
    }
}

#[test]
fn a_reload_decides_anew_who_is_trusted() {
    let Some(lab) = Lab::new() else { return };
    let (pair, print) = made(&lab, "own", &["agent.example"]);
    let other = "ab".repeat(32);
    let trust = |print: &str| policy(&format!("[tls]\nfingerprints = [\"{print}\"]\n"), "");
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &trust(&other));
    let daemon = calling(&lab, &listener, &pair);
    let line = listener.process.wait_for_line("its certificate is not trusted");
    assert!(line.contains(&format!("its fingerprint is {print}")), "{line}");
    listener.reload(&trust(&print));
    listener.wait_for_captures(1);
    arrive(&lab, &listener, &frames(1..101), 100);

    // Nothing has changed for those who are trusted.
    listener.reload(&trust(&format!("{other}\", \"{print}")));
    listener.process.wait_for_lines("the policy was read again", 2);
    arrive(&lab, &listener, &frames(101..151), 150);
    assert_eq!(listener.process.lines(": capturing").len(), 1);

    // Who is trusted no more is captured from no more.
    listener.reload(&trust(&other));
    daemon.process.wait_for_lines("session ended", 2);
    assert_eq!(daemon.wait_for_ledgers(1)[0].get("sent"), 150);
    listener.process.wait_for_line("b0 (all): capturing");
    let line = listener.process.wait_for_lines("its certificate is not trusted", 2).remove(1);
    assert!(line.contains("it is not one of those that were named"), "{line}");
    let got = listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(150);
    assert_frames("the file", &frames(1..151), &got.packets);
    daemon.finish();
}

#[test]
fn agents_are_called_what_their_certificates_say() {
    let Some(lab) = Lab::new() else { return };
    let ca = Ca::new(&lab, "ca");
    let pair = ca.vouch("agent", &["localhost"]);
    let trust = |more: &str| format!("[tls]\nca = \"ca.pem\"\n{more}\n");
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy(&trust(""), ""));
    let daemon = calling(&lab, &listener, &pair);
    let line = listener.process.wait_for_line("its certificate is not trusted");
    assert!(line.contains("it is for localhost, not for 127.0.0.1; "), "{line}");
    // Where the policy knows the name, that counts.
    listener.reload(&policy(&trust(""), "host = [\"localhost\"]"));
    listener.wait_for_captures(1);
    arrive(&lab, &listener, &frames(1..51), 50);
    // Where names do not count, the session goes on.
    listener.reload(&policy(&trust("any-name = true"), ""));
    listener.process.wait_for_lines("the policy was read again", 2);
    arrive(&lab, &listener, &frames(51..101), 100);
    assert_eq!(listener.process.lines(": capturing").len(), 1);
    let other = Ca::new(&lab, "other");
    let stranger = other.vouch("stranger", &["localhost"]);
    let strange = calling(&lab, &listener, &stranger);
    strange.process.wait_for_line("received fatal alert");
    listener.finish().accounts["localhost b0"].check_all_written(100);
    daemon.finish();
    strange.finish();
}

#[test]
fn tls_and_none_meet() {
    let Some(lab) = Lab::new() else { return };
    let (pair, print) = made(&lab, "own", &["agent.example"]);
    let tls = format!("[tls]\nfingerprints = [\"{print}\"]\n");
    let start = |policy: &str| {
        let arguments = ["--port", "0", "--timeout", "2s"];
        Listener::start_with(&lab, &lab.net.b, "127.0.0.1", policy, &arguments)
    };
    // The agent has none.
    let listener = start(&policy(&tls, ""));
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    let line = listener.process.wait_for_line("TLS: it does not speak TLS");
    assert!(line.ends_with("tls = false in its rule"), "{line}");
    listener.reload(&policy(&tls, "tls = false"));
    listener.wait_for_captures(1);
    listener.process.wait_for_line("by UDP");
    arrive(&lab, &listener, &frames(1..51), 50);
    // A session without TLS does not outlive the policy that allowed it.
    listener.reload(&policy(&tls, ""));
    daemon.wait_for_ledgers(1);
    daemon.finish();
    let directory = listener.directory.clone();
    listener.finish().accounts["127.0.0.1 b0"].check_all_written(50);
    std::fs::remove_dir_all(directory).expect("removing the files");

    // The agent wants it.
    let listener = start(&policy(&tls, "tls = false"));
    let daemon = calling(&lab, &listener, &pair);
    let line = listener.process.wait_for_line("TLS is required by this server");
    assert!(line.ends_with("say tls = true in its rule"), "{line}");
    listener.reload(&policy(&tls, "tls = true"));
    listener.wait_for_captures(1);
    arrive(&lab, &listener, &frames(1..51), 50);
    // The other way round.
    listener.reload(&policy(&tls, "tls = false"));
    daemon.wait_for_ledgers(1);
    daemon.finish();
    listener.finish().accounts["127.0.0.1 b0"].check_all_written(50);
}

/// One that has no TLS need not keep a daemon from having it with all others.
#[test]
fn a_daemon_has_tls_with_one_collector_and_not_with_another() {
    let Some(lab) = Lab::new() else { return };
    let (pair, print) = made(&lab, "own", &["agent.example"]);
    let tls = format!("[tls]\nfingerprints = [\"{print}\"]\n");
    let with = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy(&tls, ""));
    let elsewhere = policy("", "").replace("captures", "plain");
    let mut without = Listener::start(&lab, &lab.net.b, "127.0.0.1", &elsewhere);
    without.directory = lab.path("plain");
    let config = lab.path("rpcapd.toml");
    let peer = |listener: &Listener| {
        format!("[[peer]]\nhost = \"127.0.0.1\"\nport = {}\n", listener.address.port())
    };
    let text = format!("{}{}tls = false\n", peer(&with), peer(&without));
    std::fs::write(&config, text).expect("a configuration");
    let config = config.to_str().expect("a path of ours");
    let daemon = Daemon::calling(&lab, &[&["-f", config], &pair.tls()[..]].concat());
    with.process.wait_for_line("by TCP with TLS");
    without.process.wait_for_line("by UDP");
    arrive(&lab, &with, &frames(1..101), 100);
    wait_until("all packets are there as well", || without.count_so_far() == 100);
    for listener in [with, without] {
        listener.finish().accounts["127.0.0.1 b0"].check_all_written(100);
    }
    daemon.finish();
}

#[test]
fn collectors_have_a_certificate_where_one_is_required() {
    let Some(lab) = Lab::new() else { return };
    let (pair, print) = made(&lab, "own", &["agent.example"]);
    let clients = Ca::new(&lab, "clients");
    let mine = clients.vouch("mine", &[]);
    let bare = format!("[tls]\nfingerprints = [\"{print}\"]\n");
    let shown = format!("{bare}cert = \"mine-cert.pem\"\nkey = {:?}\n", mine.key);
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy(&bare, ""));
    let place = listener.active();
    let arguments = [&["-a", &place, "--tls-client-ca", &clients.cert], &pair.tls()[..]].concat();
    let daemon = Daemon::calling(&lab, &arguments);
    listener.process.wait_for_line("it wants a certificate of this client, and was shown none");
    listener.reload(&policy(&shown, ""));
    listener.wait_for_captures(1);
    arrive(&lab, &listener, &frames(1..51), 50);
    listener.finish().accounts["127.0.0.1 b0"].check_all_written(50);
    daemon.finish();
}

#[test]
fn agents_that_are_silent_or_insane_take_no_longer_than_the_deadline() {
    let Some(lab) = Lab::new() else { return };
    let (pair, _) = made(&lab, "own", &["agent.example"]);
    let trust = policy("[tls]\ninsecure = true\n", "");
    let arguments = ["--port", "0", "--timeout", "1s"];
    let listener = Listener::start_with(&lab, &lab.net.b, "127.0.0.1", &trust, &arguments);
    listener.process.wait_for_line("WARNING: [tls] insecure: nobody knows who the agents are");
    let start = Instant::now();
    let says: [&[u8]; 5] = [
        b"",
        &[22],
        &[22, 3, 3, 0xff, 0xff, 0],
        b"GET / HTTP/1.1\r\n\r\n",
        &[21, 3, 1, 0, 2, 2, 40],
    ];
    let bad: Vec<TcpStream> = lab.net.b.enter(|| {
        let of = |n: usize| {
            let mut stream = TcpStream::connect(listener.address).expect("connecting");
            std::io::Write::write_all(&mut stream, says[n % says.len()]).expect("writing");
            stream
        };
        (0..25).map(of).collect()
    });
    let daemon = calling(&lab, &listener, &pair);
    listener.wait_for_captures(1);
    arrive(&lab, &listener, &frames(1..101), 100);
    for mut stream in bad {
        stream.set_read_timeout(Some(e2e::PATIENCE)).expect("a timeout");
        let mut rest = Vec::new();
        match std::io::Read::read_to_end(&mut stream, &mut rest) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}"),
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let got = listener.finish();
    assert_eq!(got.totals.get("failed"), 25, "{}", got.totals.line);
    got.accounts["127.0.0.1 b0"].check_all_written(100);
    daemon.finish();
}
