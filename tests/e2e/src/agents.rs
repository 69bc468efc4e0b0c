//! Agents that are no daemons: the daemon's session on sockets of their own, with a device of any
//! name and packets that nobody captured.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rpcap_proto::session::{Action, Config, DaemonSession, DataChannel, Next, Start};
use rpcap_proto::udpstr::Packer;
use rpcap_proto::wire::{Clock, Device, Fraction, PacketHeader, StartFlags, StartReply, Stats};

use crate::frames;
use crate::net::{Namespace, within};

/// Between two looks at what the collector wants, and two sendings of packets.
const TICK: Duration = Duration::from_millis(20);
/// Bytes of a datagram.
const UDPSTR: usize = 1472;
/// The device's flags: up and running.
const UP: u32 = 0x2 | 0x4;

/// How an agent is.
#[derive(Clone, Debug)]
pub struct Ways {
    /// The name of its device.
    pub device: String,
    /// Packets in a second.
    pub rate: u32,
    /// One datagram of so many never leaves it, though it says that it has sent it.
    pub loses: Option<u32>,
    /// One packet of so many it says that its kernel has dropped.
    pub drops: Option<u32>,
    /// What it says instead of letting its device be captured from.
    pub refuses: Option<String>,
}

impl Default for Ways {
    fn default() -> Self {
        Self { device: "eth0".into(), rate: 100, loses: None, drops: None, refuses: None }
    }
}

/// An agent that has called a collector, on a thread of its own. It is gone when it is dropped.
#[derive(Debug)]
pub struct Agent {
    control: TcpStream,
    silent: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Calls from an address of its own, in a namespace.
    #[track_caller]
    pub fn call(namespace: &Namespace, own: Ipv4Addr, to: SocketAddr, ways: Ways) -> Self {
        let control: TcpStream = namespace.enter(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.expect("a TCP socket");
            socket.bind(&SocketAddr::from((own, 0)).into()).expect("an address of its own");
            socket.connect(&to.into()).expect("calling a collector");
            socket.into()
        });
        control.set_read_timeout(Some(TICK)).expect("a timeout");
        control.set_nodelay(true).expect("no delay");
        let silent = Arc::new(AtomicBool::new(false));
        let inside = Inside {
            control: control.try_clone().expect("a second handle"),
            session: DaemonSession::new(
                Config { null_auth: true, active: true, ..Config::default() },
                Duration::ZERO,
            ),
            namespace: namespace.name().to_owned(),
            own,
            ways,
            silent: Arc::clone(&silent),
            capture: None,
            numbered: 0,
            datagrams: 0,
        };
        let thread = Some(thread::spawn(move || inside.live()));
        Self { control, silent, thread }
    }

    /// Sends no more packets, or does again.
    pub fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Relaxed);
    }
}

impl Drop for Agent {
    /// As the kernel closes what a killed process had open.
    fn drop(&mut self) {
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Inside {
    control: TcpStream,
    session: DaemonSession,
    namespace: String,
    own: Ipv4Addr,
    ways: Ways,
    silent: Arc<AtomicBool>,
    capture: Option<(UdpSocket, Packer)>,
    numbered: u32,
    datagrams: u32,
}

impl Inside {
    fn live(mut self) {
        let (start, mut last) = (Instant::now(), Instant::now());
        let mut bytes = [0; 4096];
        let mut owed = 0.0;
        loop {
            match self.control.read(&mut bytes) {
                Ok(0) => return,
                Ok(n) => self.session.receive(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
            loop {
                match self.session.poll(start.elapsed()) {
                    Next::Do(action) => self.act(action, start.elapsed()),
                    Next::Wait => break,
                    Next::End(_) => return,
                }
            }
            let output = std::mem::take(self.session.output());
            if self.control.write_all(&output).is_err() {
                return;
            }
            let sends = self.capture.is_some() && !self.silent.load(Relaxed);
            owed += last.elapsed().as_secs_f64() * f64::from(self.ways.rate);
            last = Instant::now();
            let now = if sends { owed as u32 } else { 0 };
            owed = owed.fract();
            self.packets(now);
        }
    }

    fn act(&mut self, action: Action, now: Duration) {
        match action {
            Action::Authenticate { .. } => self.session.authenticated(Err("no users"), now),
            Action::ListDevices => {
                let name = self.ways.device.clone().into_bytes();
                self.session.devices(Ok(&[Device { name, flags: UP, ..Device::default() }]));
            }
            Action::Open(_) => match &self.ways.refuses {
                Some(why) => self.session.opened(Err(why)),
                None => self.session.opened(Ok(1)),
            },
            Action::Start(start) => {
                let reply = self.start(&start);
                self.session.started(Ok(reply));
            }
            Action::SetFilter(_) => self.session.filter_set(Ok(())),
            Action::ReadStats => {
                let kernel_dropped = self.ways.drops.map_or(0, |of| self.numbered / of);
                let received = self.numbered + kernel_dropped;
                let sent = self.numbered;
                self.session.stats(
                    Ok(Stats { received, kernel_dropped, sent, if_dropped: 0 }),
                    Clock::default(),
                );
            }
            Action::Stop => {
                self.capture = None;
                self.session.stopped(now);
            }
            Action::Note(_) => {}
        }
    }

    fn start(&mut self, start: &Start) -> StartReply {
        let DataChannel::Udp(port) = start.data else { panic!("the policy says UDP") };
        let collector = self.control.peer_addr().expect("the collector's address").ip();
        let socket = within(&self.namespace, || UdpSocket::bind((self.own, 0)));
        let socket = socket.expect("a UDP socket");
        socket.connect((collector, port)).expect("the collector's port");
        let reply = StartReply {
            port: socket.local_addr().expect("its address").port(),
            extensions: start.flags.0 & (StartFlags::UDPSTR | StartFlags::SOURCE_PORT).0,
            ..StartReply::default()
        };
        self.capture = Some((socket, Packer::new(UDPSTR).expect("a sound size")));
        (self.numbered, self.datagrams) = (0, 0);
        reply
    }

    fn packets(&mut self, count: u32) {
        let Some((socket, packer)) = &mut self.capture else { return };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for _ in 0..count {
            self.numbered += 1;
            let packet = frames::frame(self.numbered, 200);
            let header = PacketHeader {
                secs: time.as_secs() as u32,
                fraction: Fraction::micros(time.subsec_micros()),
                caplen: packet.len() as u32,
                len: packet.len() as u32,
                npkt: self.numbered,
            };
            packer.push(&header, &packet);
        }
        packer.flush();
        let batch = packer.flushed();
        for datagram in (0..batch.datagrams()).filter_map(|at| batch.datagram(at)) {
            self.datagrams += 1;
            if self.ways.loses.is_none_or(|of| !self.datagrams.is_multiple_of(of)) {
                let _ = socket.send(datagram.bytes);
            }
        }
        batch.clear();
    }
}
