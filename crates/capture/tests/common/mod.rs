//! A network of one's own: a namespace with a veth pair, gone at the end of the test.
#![allow(dead_code, reason = "each test binary uses its part of this")]

pub(crate) mod libpcap;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use capture::{Backend, Capture, Event, Instruction, Options, Packet, Stats};
use nix::{
    ifaddrs::getifaddrs,
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket},
};

/// The backend that the tests are about: `RPCAP_BACKEND=libpcap` has all of them run over libpcap.
pub(crate) fn backend() -> Backend {
    match std::env::var("RPCAP_BACKEND").as_deref() {
        Ok("libpcap") => Backend::Libpcap,
        Ok(other) => panic!("RPCAP_BACKEND={other}: there is libpcap only"),
        Err(_) => Backend::AfPacket,
    }
}

pub(crate) fn is_libpcap() -> bool {
    backend() == Backend::Libpcap
}

/// `Options::default()` for this backend.
pub(crate) fn options() -> Options {
    Options { backend: backend(), ..Options::default() }
}

/// A network namespace with the veth pair `rx0`, `tx0`, both up and silent.
pub(crate) struct Net {
    name: String,
}

impl Net {
    /// Runs `test` on a thread inside a new namespace. Where that is not allowed, says so and does nothing.
    pub(crate) fn run(test: impl FnOnce(&Net) + Send + 'static) {
        let net = match Net::new() {
            Ok(net) => net,
            Err(reason) => {
                skip(&format!("needs a network namespace and a veth pair (root): {reason}"));
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
        net.try_exec(
            "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
        )?;
        net.try_exec("ip link add rx0 mtu 9000 type veth peer name tx0 mtu 9000")?;
        for device in ["lo", "rx0", "tx0"] {
            net.try_exec(&format!("ip link set {device} up"))?;
        }
        Ok(net)
    }

    /// Runs a command inside.
    pub(crate) fn exec(&self, command: &str) {
        self.try_exec(command).unwrap();
    }

    /// Runs a command inside; says what went wrong.
    pub(crate) fn try_exec(&self, command: &str) -> Result<(), String> {
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

/// Says loudly that a test did not happen, and why: past the test harness, which keeps what a passing test prints.
pub(crate) fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED: {test}: {reason}");
}

/// Sends frames out of an interface, as they are.
pub(crate) struct Sender {
    socket: OwnedFd,
    to: LinkAddr,
}

impl Sender {
    pub(crate) fn new(device: &str) -> Self {
        let to = getifaddrs()
            .unwrap()
            .filter(|entry| entry.interface_name == device)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .unwrap();
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).unwrap();
        Self { socket, to }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        let sent = sendto(self.socket.as_raw_fd(), frame, &self.to, MsgFlags::empty());
        assert_eq!(sent, Ok(frame.len()));
    }
}

/// An Ethernet frame of `len` bytes to everyone, with `number` in it.
pub(crate) fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.extend((frame.len()..len).map(|i| i as u8));
    frame.truncate(len);
    frame
}

/// A packet that outlives its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) len: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) nanos: u64,
}

impl From<Packet<'_>> for Owned {
    fn from(packet: Packet<'_>) -> Self {
        let nanos = u64::from(packet.ts.secs) * 1_000_000_000 + u64::from(packet.ts.nanos);
        Self { len: packet.len, data: packet.data.to_vec(), nanos }
    }
}

/// Waits until `count` packets have come; fewer after five seconds.
pub(crate) fn receive(capture: &mut Capture, count: usize) -> Vec<Owned> {
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
pub(crate) fn finish(capture: &mut Capture) -> Vec<Owned> {
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

/// Accepts frames whose number (see [`frame`]) is at least `least`, and keeps `keep` bytes.
pub(crate) fn at_least(least: u32, keep: u32) -> Vec<Instruction> {
    vec![
        Instruction::stmt(0x20, 14),
        Instruction::jump(0x35, least, 0, 1),
        Instruction::stmt(0x06, keep),
        Instruction::stmt(0x06, 0),
    ]
}

/// The same, but too long for the kernel.
pub(crate) fn long(mut program: Vec<Instruction>) -> Vec<Instruction> {
    program.splice(..0, vec![Instruction::stmt(0x00, 0); 4096]);
    program
}

/// The numbers that [`frame`] put in.
pub(crate) fn numbers(packets: &[Owned]) -> Vec<u32> {
    packets.iter().map(|p| u32::from_be_bytes(p.data[14..18].try_into().unwrap())).collect()
}

/// What was received is dropped, unread, or in our hands.
pub(crate) fn ledger(stats: Stats, handed_out: usize) {
    assert_eq!(
        stats.received,
        stats.dropped + stats.unread + handed_out as u64,
        "{stats:?}, {handed_out} handed out"
    );
}
