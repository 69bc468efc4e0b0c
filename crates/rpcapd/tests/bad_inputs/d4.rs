//! OPEN.

use std::io::ErrorKind;
use std::net::TcpListener;

use crate::daemon::{DEVICE, Daemon};
use crate::message as m;
use crate::peer::Peer;

/// No line about a refused name is much longer than what is kept of it.
const LINE_MAX: usize = 512;

/// Each name is refused with code 6, and no device is open after that.
fn refused(names: &[&[u8]]) {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    for name in names {
        peer.refused(&m::msg(m::OPEN, name), 6);
        let text = peer.refused(&m::Start::default().bytes(), 12);
        assert_eq!(text, "No capture device was specified");
    }
    daemon.logged_times(names.len(), "code=Open|request=\"OPEN\"");
    daemon.finish();
}

#[test]
fn d4_051_an_empty_name() {
    refused(&[b""]);
}

#[test]
fn d4_052_a_name_of_1024_bytes() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.refused(&m::msg(m::OPEN, &[b'A'; 1024]), 6);
    let line = daemon.logged_once("AAAA");
    assert!(line.len() <= LINE_MAX, "a line of {} bytes", line.len());
    daemon.finish();
}

#[test]
fn d4_052_names_of_more_than_1024_bytes() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    for len in [1025, 65_535, 65_556] {
        let text = peer.refused(&m::msg(m::OPEN, &vec![b'A'; len]), 6);
        assert_eq!(text, "Source string too long");
    }
    daemon.logged_times(3, "Source string too long");
    daemon.finish();
}

#[test]
fn d4_053_a_name_of_4_gib() {
    let daemon = Daemon::start();
    let mut peer = Peer::accepted(&daemon);
    peer.send(&[m::header(m::OPEN, u32::MAX), vec![b'A'; 4000]].concat());
    assert_eq!(peer.error(6), "Message payload is too long");
    peer.end();
    daemon.logged_once("session ended: a message claims 4294967295 bytes of payload");
    daemon.finish();
}

#[test]
fn d4_054_a_nul_in_the_name() {
    refused(&[b"lo\0junk", b"demo0\0", b"\0demo0", b"\0"]);
}

#[test]
fn d4_055_names_of_remote_devices_and_files() {
    let daemon = Daemon::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let own = daemon.address;
    let mut peer = Peer::opened(&daemon);
    let mut names = 0;
    for (name, text) in [
        (format!("rpcap://{address}/x"), Some("remote device")),
        (format!("rpcaps://{address}/x"), Some("remote device")),
        (format!("rpcap://{own}/{DEVICE}"), Some("remote device")),
        ("file:///etc/passwd".to_owned(), Some("remote device")),
        (format!("file:///proc/self/{DEVICE}"), Some("remote device")),
        ("127.0.0.1/eth0".to_owned(), None),
        (format!("{address}/eth0"), None),
        ("/etc/passwd".to_owned(), None),
    ] {
        let told = peer.refused(&m::open(&name), 6);
        assert!(told.contains(text.unwrap_or("No such device exists")), "{told}");
        let told = peer.refused(&m::Start::default().bytes(), 12);
        assert_eq!(told, "No capture device was specified");
        names += 1;
    }
    let e = listener.accept().expect_err("no connection is made");
    assert_eq!(e.kind(), ErrorKind::WouldBlock);
    daemon.logged_times(1, "session started");
    daemon.logged_times(names, "code=StartCapture");
    daemon.finish();
}

#[test]
fn d4_056_names_that_are_more_than_names() {
    refused(&[
        b"../../dev/x",
        b"eth0;id",
        b"%s%n",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xff\xfe",
        b"demo0 ",
        b" demo0",
        b"demo0\n",
        b"demo0:1",
        b"DEMO0",
        b"demo",
        b"demo0=x",
        b"-",
        b".",
        b"\x1b[2J\r\n",
    ]);
}

#[test]
fn d4_058_a_failed_open_forgets_the_device() {
    let daemon = Daemon::start();
    let mut peer = Peer::opened(&daemon);
    let text = peer.refused(&m::open("nope0"), 6);
    assert_eq!(text, "nope0: No such device exists");
    daemon.logged_once("nope0: No such device exists");
    let text = peer.refused(&m::Start::default().bytes(), 12);
    assert_eq!(text, "No capture device was specified");
    daemon.logged_once("No capture device was specified");
    peer.open();
    assert_eq!(peer.capture(&m::Start::default()).take(24).len(), 24);
    daemon.finish();
}

#[test]
fn d4_058_a_failed_open_leaves_a_running_capture_alone() {
    let daemon = Daemon::with_packets(crate::savefile::trickle(6_000));
    let mut peer = Peer::opened(&daemon);
    let mut data = peer.capture(&m::Start::default());
    data.take(2);
    peer.refused(&m::open("nope0"), 6);
    data.take(5);
    peer.endcap();
    data.rest();
    daemon.finish();
}
