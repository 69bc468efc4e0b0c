//! The program as its users run it, against daemons that do what a test wants.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::*;

const DATA: [u8; 60] = [0; 60];

fn rpcap(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpcap"));
    command.args(arguments).env_remove("RPCAP_PASSWORD").stdin(Stdio::null());
    command
}

/// Exit code and standard error of a capture from a daemon with this script.
fn capture(
    further: &[&str],
    script: impl FnOnce(&mut Daemon) + Send + 'static,
) -> (Output, String) {
    let (endpoint, _) = daemon(|d| {
        d.authenticate();
        script(d);
        d.rest();
    });
    let url = format!("rpcap://{endpoint}/e0");
    // Whatever goes wrong, the test ends.
    let bound: &[&str] = match further.contains(&"--duration") {
        true => &[],
        false => &["--duration", "5s"],
    };
    let arguments = [&["capture", &url, "--timeout", "2s"], bound, further].concat();
    let output = rpcap(&arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

fn stats(received: u32, dropped: u32, sent: u32) -> Vec<u8> {
    [received, 0, dropped, sent].iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// Ends a capture as a daemon should: what is left, the end of the data, the reply, the counters.
fn end(d: &mut Daemon, mut data: std::net::TcpStream, left: &[u8], counters: &[u8]) {
    d.answer(STATS, 0, &stats(1, 0, 1));
    d.hear();
    let _ = data.write_all(left);
    drop(data);
    d.say(&message(ENDED, 0, &[]));
    d.answer(STATS, 0, counters);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let code = |arguments: &[&str]| rpcap(arguments).output().unwrap().status.code();
    assert_eq!(code(&["capture", "http://h/e0"]), Some(2));
    assert_eq!(code(&["devices", "127.0.0.1:1"]), Some(3));

    let (output, said) = capture(&[], |d| d.answer(ERROR, 6, b"No such device"));
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("No such device"), "{said}");

    let (output, said) = capture(&["--filter-bytecode", "1,255 0 0 0"], |d| {
        d.answer(OPENED, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    });
    assert_eq!(output.status.code(), Some(6), "{said}");

    let (output, said) = capture(&["-w", "/nonexistent/file"], |d| {
        d.answer(OPENED, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    });
    assert_eq!(output.status.code(), Some(8), "{said}");
    for line in said.lines() {
        assert!(line.starts_with("rpcap: "), "{said}");
    }

    let (endpoint, _) = daemon(|d| d.answer(ERROR, 18, b"Authentication failed"));
    let output = rpcap(&["devices", &endpoint.to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn a_capture_that_the_daemon_ends_says_why() {
    let (output, said) = capture(&["-q"], |d| {
        let mut data = d.start();
        data.write_all(&packet(1, &DATA)).unwrap();
        d.say(&message(ERROR, 9, b"The interface went down"));
        end(d, data, &[], &stats(1, 0, 1));
    });
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(said, "rpcap: the daemon ended the capture: The interface went down\n");
    assert_eq!(output.stdout.iter().filter(|b| **b == b'\n').count(), 1);
}

#[test]
fn a_daemon_that_vanishes_is_a_lost_connection() {
    let (output, said) = capture(&["-q"], |d| {
        let data = d.start();
        drop(data);
        d.0.shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert_eq!(output.status.code(), Some(3), "{said}");
}

#[test]
fn a_count_is_kept_exactly_and_the_ledger_knows_the_rest() {
    let (output, said) = capture(&["-c", "3"], |d| {
        let mut data = d.start();
        let packets: Vec<u8> = (1..=5).flat_map(|n| packet(n, &DATA)).collect();
        data.write_all(&packets).unwrap();
        let left = [packet(6, &DATA), packet(7, &DATA)].concat();
        end(d, data, &left, &stats(9, 2, 7));
    });
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(output.stdout.iter().filter(|b| **b == b'\n').count(), 3);
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("received by the filter 9 = 2 dropped by the kernel + 7 captured"));
    assert!(said.contains("sent 7 = 7 delivered + 0 lost in the network"), "{said}");
    assert!(said.contains("also: 4 packets delivered after no more were wanted"), "{said}");
    assert!(said.ends_with("The ledger adds up."), "{said}");
}

#[test]
fn a_ledger_that_does_not_add_up_says_so() {
    let (_, said) = capture(&["-c", "1"], |d| {
        let mut data = d.start();
        data.write_all(&packet(1, &DATA)).unwrap();
        end(d, data, &packet(2, &DATA), &stats(1, 0, 1));
    });
    assert!(said.contains("does not add up: more packets came than the daemon says"), "{said}");
}

#[test]
fn a_daemon_that_forgets_its_counters_is_not_believed() {
    let (output, said) = capture(&["-c", "1"], |d| {
        let mut data = d.start();
        data.write_all(&packet(1, &DATA)).unwrap();
        end(d, data, &[], &stats(0, 0, 0));
    });
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("keeps no counters after the end"), "{said}");
}

#[test]
fn a_capture_of_nothing_adds_up() {
    let (output, said) = capture(&["--duration", "200ms"], |d| {
        let data = d.start();
        d.answer(STATS, 0, &stats(0, 0, 0));
        d.hear();
        drop(data);
        d.say(&message(ENDED, 0, &[]));
        d.answer(STATS, 0, &stats(0, 0, 0));
    });
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("The ledger adds up."), "{said}");
}

#[test]
fn a_data_connection_that_breaks_off_is_reported() {
    let (output, said) = capture(&["-q", "--duration", "500ms"], |d| {
        let mut data = d.start();
        data.write_all(&packet(1, &DATA)[..50]).unwrap();
        end(d, data, &[], &stats(1, 0, 1));
    });
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("ended within a packet"), "{said}");
}

#[test]
fn packets_come_out_of_a_pipe_while_the_capture_runs() {
    let (endpoint, _) = daemon(|d| {
        d.authenticate();
        let mut data = d.start();
        data.write_all(&packet(1, &[0xab; 60])).unwrap();
        d.rest();
    });
    let url = format!("rpcap://{endpoint}/e0");
    let mut child =
        rpcap(&["capture", &url, "-q", "-w", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = Vec::new();
    let mut stdout = child.stdout.take().unwrap();
    let mut buffer = [0; 4096];
    while !seen.windows(60).any(|w| w == [0xab; 60]) {
        match stdout.read(&mut buffer).unwrap() {
            0 => panic!("the pipe ended"),
            n => seen.extend_from_slice(&buffer[..n]),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (endpoint, _) = daemon(|d| {
        d.authenticate();
        let mut data = d.start();
        std::thread::spawn(move || {
            for n in 1.. {
                if data.write_all(&packet(n, &DATA)).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        d.answer(STATS, 0, &stats(1, 0, 1));
        d.answer(ENDED, 0, &[]);
        d.rest();
    });
    let url = format!("rpcap://{endpoint}/e0");
    let mut child = rpcap(&["capture", &url, "-q", "--timeout", "500ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn names_from_strangers_do_not_reach_the_terminal() {
    let list = || {
        let mut payload = [0, 6, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0].to_vec();
        payload.extend_from_slice(b"e\x1b[2J\xff\n\r\x07");
        payload
    };
    let run = |further: &[&str]| {
        let (endpoint, _) = daemon(move |d| {
            d.authenticate();
            d.answer(DEVICES, 1, &list());
            d.rest();
        });
        let output = rpcap(&[&["devices", &endpoint.to_string()], further].concat());
        { output }.output().unwrap().stdout
    };
    for text in [run(&[]), run(&["--json"])] {
        assert!(!text.is_empty());
        assert!(text.iter().all(|b| *b == b'\n' || *b >= b' '), "{text:?}");
    }
}

#[test]
fn udp_is_drained_before_the_last_word() {
    let (output, said) = capture(&["--udp", "-c", "2"], |d| {
        let to = d.start_udp();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for n in [1, 2, 4] {
            socket.send_to(&packet(n, &DATA), to).unwrap();
        }
        d.answer(STATS, 0, &stats(4, 0, 4));
        d.answer(ENDED, 0, &[]);
        std::thread::sleep(Duration::from_millis(100));
        // Overtaken by the reply.
        socket.send_to(&packet(5, &DATA), to).unwrap();
        d.answer(STATS, 0, &stats(6, 0, 6));
    });
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("= 4 delivered + 2 lost in the network"), "{said}");
    assert!(said.contains("The ledger adds up."), "{said}");
}
