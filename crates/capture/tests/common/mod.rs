//! A network of one's own: a namespace with a veth pair, gone at the end of the test.
#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use capture::{Capture, Event, Packet};
use nix::{
    ifaddrs::getifaddrs,
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket},
};

/// A network namespace with the veth pair `rx0`, `tx0`, both up and silent.
pub struct Net {
    name: String,
}

impl Net {
    /// Runs `test` on a thread inside a new namespace. Where that is not allowed, says so and does nothing.
    pub fn run(test: impl FnOnce(&Net) + Send + 'static) {
        let net = match Net::new() {
            Ok(net) => net,
            Err(reason) => {
                println!("SKIPPED: needs a network namespace and a veth pair (root): {reason}");
                return;
            }
        };
        let worker = thread::spawn(move || {
            let file = File::open(format!("/var/run/netns/{}", net.name)).unwrap();
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            test(&net);
        });
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("capture-{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        let net = Self { name };
        // Nothing may speak that was not asked: no neighbour discovery, no router solicitation.
        net.try_exec("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")?;
        net.try_exec("ip link add rx0 mtu 9000 type veth peer name tx0 mtu 9000")?;
        for device in ["lo", "rx0", "tx0"] {
            net.try_exec(&format!("ip link set {device} up"))?;
        }
        Ok(net)
    }

    /// Runs a command inside.
    pub fn exec(&self, command: &str) {
        self.try_exec(command).unwrap();
    }

    fn try_exec(&self, command: &str) -> Result<(), String> {
        let mut words = vec!["netns", "exec", &self.name];
        words.extend(command.split_whitespace());
        ip(&words)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Sends frames out of an interface, as they are.
pub struct Sender {
    socket: OwnedFd,
    to: LinkAddr,
}

impl Sender {
    pub fn new(device: &str) -> Self {
        let to = getifaddrs()
            .unwrap()
            .filter(|entry| entry.interface_name == device)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .unwrap();
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).unwrap();
        Self { socket, to }
    }

    pub fn send(&self, frame: &[u8]) {
        let sent = sendto(self.socket.as_raw_fd(), frame, &self.to, MsgFlags::empty());
        assert_eq!(sent, Ok(frame.len()));
    }
}

/// An Ethernet frame of `len` bytes to everyone, with `number` in it.
pub fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.extend((frame.len()..len).map(|i| i as u8));
    frame.truncate(len);
    frame
}

/// A packet that outlives its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub len: u32,
    pub data: Vec<u8>,
    pub nanos: u64,
}

impl From<Packet<'_>> for Owned {
    fn from(packet: Packet<'_>) -> Self {
        let nanos = u64::from(packet.ts.secs) * 1_000_000_000 + u64::from(packet.ts.nanos);
        Self { len: packet.len, data: packet.data.to_vec(), nanos }
    }
}

/// Waits until `count` packets have come; fewer after five seconds.
pub fn receive(capture: &mut Capture, count: usize) -> Vec<Owned> {
    let end = Instant::now() + Duration::from_secs(5);
    let mut got = Vec::new();
    while got.len() < count && Instant::now() < end {
        if let Event::Block(mut block) = capture.next(Some(Duration::from_millis(100))).unwrap() {
            got.extend(block.packets().map(Owned::from));
        }
    }
    got
}

/// Stops the capture and takes what it still holds.
pub fn finish(capture: &mut Capture) -> Vec<Owned> {
    capture.control().stop();
    let end = Instant::now() + Duration::from_secs(5);
    let mut got = Vec::new();
    loop {
        match capture.next(None).unwrap() {
            Event::Block(mut block) => got.extend(block.packets().map(Owned::from)),
            Event::Ended => return got,
            Event::Timeout | Event::Woken => {}
        }
        assert!(Instant::now() < end, "a stopped capture did not end");
    }
}
