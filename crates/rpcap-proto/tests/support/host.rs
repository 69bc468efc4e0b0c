//! A program that does what a daemon's session asks of it, without a device or a socket.

use std::net::Ipv4Addr;
use std::time::Duration;

use rpcap_proto::bpf::Program;
use rpcap_proto::session::{Action, DaemonSession, DataChannel, EndReason, Next, Note, Start};
use rpcap_proto::wire::{Address, Clock, Device, SockAddr, StartFlags, StartReply, Stats};

/// Listed and opened without trouble.
pub(crate) const LOOPBACK: &str = "lo";
/// Listed, but OPEN fails.
pub(crate) const DOWN: &str = "down0";
/// Listed and opened, but no capture can be started from it.
pub(crate) const BROKEN: &str = "broken0";

/// Where this program says that it listens for data connections.
pub(crate) const DATA_PORT: u16 = 37_185;
pub(crate) const BUFFER_SIZE: u32 = 262_144;

/// What this program's clock says.
pub(crate) const CLOCK: Clock = Clock { taken: 1_700_000_000_123_456_789, replied: u64::MAX };

/// The program's state, and a record of what it was asked.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) devices: Vec<Device>,
    pub(crate) running: Option<Start>,
    pub(crate) filter: Option<Program>,
    pub(crate) stats: Stats,
    pub(crate) asked: Vec<Action>,
    pub(crate) notes: Vec<Note>,
}

impl Default for Host {
    fn default() -> Self {
        let device = |name: &str, last: u8| Device {
            name: name.as_bytes().to_vec(),
            flags: 0x37,
            addresses: vec![Address {
                addr: Some(SockAddr::V4(Ipv4Addr::new(127, 0, 0, last))),
                ..Address::default()
            }],
            ..Device::default()
        };
        Self {
            devices: vec![device(LOOPBACK, 1), device(DOWN, 2), device(BROKEN, 3)],
            running: None,
            filter: None,
            stats: Stats::default(),
            asked: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl Host {
    fn answer(&mut self, session: &mut DaemonSession, action: Action, now: Duration) {
        match &action {
            Action::Authenticate { user, password } => {
                let known = user == b"bob" && password == b"s3cret";
                session.authenticated(known.then_some(()).ok_or("Authentication failed"), now);
            }
            Action::ListDevices => session.devices(Ok(&self.devices)),
            Action::Open(name) => {
                let listed = self.devices.iter().any(|d| d.name == name.as_bytes());
                session.opened(match name.as_str() {
                    DOWN => Err("That device is not up"),
                    _ if listed => Ok(1),
                    _ => Err("No such device"),
                });
            }
            Action::Start(start) => {
                self.running = None;
                self.filter = None;
                if start.device == BROKEN {
                    session.started(Err("No capture can be started"));
                } else {
                    self.filter = Some(start.filter.clone());
                    let port = match start.data {
                        DataChannel::TcpListen => DATA_PORT,
                        DataChannel::TcpConnect(_) | DataChannel::Udp(_) => 0,
                    };
                    self.running = Some((**start).clone());
                    session.started(Ok(StartReply {
                        buffer_size: BUFFER_SIZE,
                        port,
                        extensions: start.flags.0 & StartFlags::CLOCK.0,
                    }));
                }
            }
            Action::SetFilter(program) => {
                assert!(self.running.is_some(), "a filter for no capture");
                self.filter = Some(program.clone());
                session.filter_set(Ok(()));
            }
            Action::ReadStats => session.stats(Ok(self.stats), CLOCK),
            Action::Stop => {
                self.running = None;
                session.stopped(now);
            }
            Action::Note(note) => {
                self.notes.push(note.clone());
                return;
            }
        }
        self.asked.push(action);
    }
}

/// Does what the session asks until it waits or ends, and sees that it waits for a time to come:
/// a deadline that has passed would have a program spin.
pub(crate) fn drive(
    session: &mut DaemonSession,
    host: &mut Host,
    now: Duration,
) -> Option<EndReason> {
    for _ in 0..200_000 {
        match session.poll(now) {
            Next::Do(action) => host.answer(session, action, now),
            Next::Wait => {
                if let Some(deadline) = session.deadline() {
                    assert!(deadline > now, "waits for {deadline:?} at {now:?}");
                }
                return None;
            }
            Next::End(reason) => return Some(reason),
        }
    }
    panic!("the session neither waits nor ends");
}
