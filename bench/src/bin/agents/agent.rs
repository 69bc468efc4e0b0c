//! One agent: the daemon's session on real sockets, and packets that nobody captured.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::net::TcpStream;
use rpcap_proto::session::{Action, Config, DaemonSession, DataChannel, Next, Start};
use rpcap_proto::udpstr::Packer;
use rpcap_proto::wire::{Clock, Device, Fraction, PacketHeader, StartFlags, StartReply, Stats};

/// Bytes of each packet.
const PACKET: [u8; 64] = [0x5a; 64];
/// Bytes of a udpstr datagram.
const UDPSTR: usize = 1472;
/// The device's flags: up and running.
const UP: u32 = 0x2 | 0x4;

/// An agent with a connection to the collector.
pub(super) struct Agent {
    pub(super) control: TcpStream,
    session: DaemonSession,
    collector: SocketAddr,
    own: Ipv4Addr,
    capture: Option<Capture>,
    /// Packets of the capture: all were sent but for those that the socket did not take.
    pub(super) numbered: u32,
    pub(super) unsent: u64,
    pub(super) ended: bool,
}

struct Capture {
    socket: UdpSocket,
    packer: Packer,
}

impl Agent {
    /// Connects from an address of its own.
    pub(super) fn connect(own: Ipv4Addr, collector: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((own, 0)).into())?;
        socket.connect(&collector.into())?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let config = Config { null_auth: true, active: true, ..Config::default() };
        Ok(Self {
            control: TcpStream::from_std(socket.into()),
            session: DaemonSession::new(config, Duration::ZERO),
            collector,
            own,
            capture: None,
            numbered: 0,
            unsent: 0,
            ended: false,
        })
    }

    pub(super) fn captures(&self) -> bool {
        self.capture.is_some()
    }

    /// Does what the collector asks.
    pub(super) fn control(&mut self, now: Duration) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.control.read(&mut bytes) {
                Ok(0) => {
                    self.ended = true;
                    self.capture = None;
                    return Ok(());
                }
                Ok(n) => self.session.receive(&bytes[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            loop {
                match self.session.poll(now) {
                    Next::Do(action) => self.act(action, now)?,
                    Next::Wait => break,
                    Next::End(_) => {
                        self.ended = true;
                        break;
                    }
                }
            }
            let output = std::mem::take(self.session.output());
            self.control.write_all(&output)?;
        }
    }

    fn act(&mut self, action: Action, now: Duration) -> io::Result<()> {
        match action {
            Action::Authenticate { .. } => self.session.authenticated(Err("no users"), now),
            Action::ListDevices => {
                let device = Device { name: b"eth0".to_vec(), flags: UP, ..Device::default() };
                self.session.devices(Ok(&[device]));
            }
            Action::Open(_) => self.session.opened(Ok(1)),
            Action::Start(start) => {
                let reply = self.start(&start)?;
                self.session.started(Ok(reply));
            }
            Action::SetFilter(_) => self.session.filter_set(Ok(())),
            Action::ReadStats => {
                let stats =
                    Stats { received: self.numbered, sent: self.numbered, ..Stats::default() };
                self.session.stats(Ok(stats), Clock::default());
            }
            Action::Stop => {
                self.send(true);
                self.capture = None;
                self.session.stopped(now);
            }
            Action::Note(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, start: &Start) -> io::Result<StartReply> {
        let DataChannel::Udp(port) = start.data else {
            return Err(io::Error::other("the policy of this simulation is UDP"));
        };
        let socket = UdpSocket::bind((self.own, 0))?;
        socket.connect((self.collector.ip(), port))?;
        socket.set_nonblocking(true)?;
        let reply = StartReply {
            port: socket.local_addr()?.port(),
            extensions: start.flags.0 & (StartFlags::UDPSTR | StartFlags::SOURCE_PORT).0,
            ..StartReply::default()
        };
        let packer = Packer::new(UDPSTR).map_err(io::Error::other)?;
        self.capture = Some(Capture { socket, packer });
        self.numbered = 0;
        Ok(reply)
    }

    /// Captures so many packets and sends them, as a block of the ring would be.
    pub(super) fn packets(&mut self, count: u32) {
        let Some(capture) = &mut self.capture else { return };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for _ in 0..count {
            self.numbered += 1;
            let header = PacketHeader {
                secs: time.as_secs() as u32,
                fraction: Fraction::micros(time.subsec_micros()),
                caplen: PACKET.len() as u32,
                len: PACKET.len() as u32,
                npkt: self.numbered,
            };
            capture.packer.push(&header, &PACKET);
        }
        self.send(true);
    }

    fn send(&mut self, flush: bool) {
        let Some(Capture { socket, packer }) = &mut self.capture else { return };
        if flush {
            packer.flush();
        }
        let batch = packer.flushed();
        for at in 0..batch.datagrams() {
            if let Some(datagram) = batch.datagram(at)
                && socket.send(datagram.bytes).is_err()
            {
                self.unsent += u64::from(datagram.packets);
            }
        }
        batch.clear();
    }
}
