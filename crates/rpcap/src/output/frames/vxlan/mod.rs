//! Mirrored traffic: Ethernet frames in datagrams (RFC 7348).

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod datagrams;
#[cfg(not(target_os = "linux"))]
#[path = "portable.rs"]
mod datagrams;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use self::datagrams::Datagrams;
use super::{Cause, Known, Notes};
use crate::file::{Record, Summary};
use crate::journal::Journal;
use crate::output::{Account, Begin, Drain};

/// Where VXLAN is taken unless it is said.
const PORT: u16 = 4789;
/// Bytes of the header in front of a frame.
const HEADER: usize = 8;
/// Source ports: a conversation keeps one, so that its packets stay in order and come to one queue
/// of the tool's network card, and different ones spread.
const PORTS: usize = 8;
/// Packets of one source port that are sent together at most.
const TOGETHER: usize = 256;
/// Bytes, the same.
const FULL: usize = 128 * 1024;
/// The longest datagram over IPv4.
const DATAGRAM: usize = 65_507;
/// How long a full socket is waited for; until it takes something again, no longer.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(1);
/// How often it is asked what the path takes.
const LOOK: Duration = Duration::from_secs(10);

/// A host that takes mirrored traffic.
#[derive(Debug)]
pub(crate) struct Vxlan {
    header: [u8; HEADER],
    ports: Vec<Port>,
    streams: HashMap<u32, Known>,
    notes: Notes,
    /// Bytes of a datagram that the path takes in one piece.
    path: usize,
    looked: Instant,
    congested: bool,
}

/// A source port, and what is to be sent from it.
#[derive(Debug)]
struct Port {
    socket: Datagrams,
    bytes: Vec<u8>,
    /// Where each datagram ends, and whose it is.
    waiting: Vec<(usize, Arc<Account>)>,
}

impl Vxlan {
    /// HOST or HOST:PORT, and the network's number.
    pub(crate) fn open(host: &str, vni: u32) -> io::Result<Self> {
        let to = address(host)?;
        let ports: Vec<Port> = (0..PORTS).map(|_| Port::open(to)).collect::<io::Result<_>>()?;
        let mut vxlan = Self {
            header: header(vni),
            ports,
            streams: HashMap::new(),
            notes: Notes::new(format!("vxlan:{host},vni={vni}")),
            path: DATAGRAM,
            looked: Instant::now(),
            congested: false,
        };
        vxlan.look();
        Ok(vxlan)
    }

    /// Asks what the path takes.
    fn look(&mut self) {
        let path = self.ports.iter().filter_map(|port| port.socket.path_payload()).min();
        self.path = path.unwrap_or(DATAGRAM);
        self.looked = Instant::now();
    }

    fn flush(&mut self) {
        for port in &mut self.ports {
            port.flush(&mut self.notes, &mut self.congested);
        }
    }
}

/// The flag that says there is a number, and the number.
fn header(vni: u32) -> [u8; HEADER] {
    let [_, a, b, c] = vni.to_be_bytes();
    [0x08, 0, 0, 0, a, b, c, 0]
}

fn address(host: &str) -> io::Result<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok((ip, PORT).into());
    }
    let found = match host.rsplit_once(':') {
        Some(_) => host.to_socket_addrs(),
        None => (host, PORT).to_socket_addrs(),
    };
    let wrong = |why: String| io::Error::other(format!("cannot find the host: {why}"));
    found.map_err(|e| wrong(e.to_string()))?.next().ok_or_else(|| wrong("no address".to_owned()))
}

impl Port {
    fn open(to: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => [0; 4].into(),
            SocketAddr::V6(_) => [0; 16].into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        let socket = Datagrams::new(socket)?;
        Ok(Self {
            socket,
            bytes: Vec::with_capacity(FULL + DATAGRAM),
            waiting: Vec::with_capacity(TOGETHER),
        })
    }

    /// Sends what waits, and counts what became of each.
    fn flush(&mut self, notes: &mut Notes, congested: &mut bool) {
        let began = Instant::now();
        let mut from = 0;
        while let Some(rest) = self.waiting.get(from..).filter(|rest| !rest.is_empty()) {
            let start = match from {
                0 => 0,
                n => self.waiting[n - 1].0,
            };
            let ends = rest.iter().map(|(end, _)| *end);
            match self.socket.send(&self.bytes, start, ends) {
                Ok(sent) => {
                    *congested = false;
                    notes.taken();
                    let sent = sent.max(1);
                    for (_, account) in rest.iter().take(sent) {
                        account.written.fetch_add(1, Relaxed);
                    }
                    from += sent;
                }
                Err(error) if no_room(&error) && !*congested && began.elapsed() < PATIENCE => {
                    thread::sleep(PAUSE);
                }
                Err(error) => {
                    *congested |= no_room(&error);
                    notes.refused(|| refused(&error));
                    rest[0].1.unwritten.fetch_add(1, Relaxed);
                    from += 1;
                }
            }
        }
        self.waiting.clear();
        self.bytes.clear();
    }
}

fn no_room(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || datagrams::is_full(error)
}

/// An answer that nobody is there takes the place of a send: that packet stays here.
fn refused(error: &io::Error) -> String {
    let what = match error.kind() {
        ErrorKind::ConnectionRefused => "nobody takes VXLAN there".to_owned(),
        _ => format!("cannot send: {error}"),
    };
    format!("{what}; receiving goes on, packets that it is said of are counted as not written")
}

impl Drain for Vxlan {
    fn begin(&mut self, begin: Begin) {
        self.streams.insert(begin.stream, Known::new(begin, &mut self.notes));
    }

    fn packet(&mut self, stream: u32, record: &Record<'_>) {
        let Some(known) = self.streams.get(&stream) else { return };
        let notes = &mut self.notes;
        let Some(frame) = known.framing.and_then(|framing| framing.frame(record.data)) else {
            notes.count(Cause::NoFrame);
            known.account.unwritten.fetch_add(1, Relaxed);
            return;
        };
        let len = HEADER + frame.len();
        if len > DATAGRAM {
            notes.count(Cause::TooLong);
            notes.warn(Cause::TooLong, || {
                format!(
                    "a packet of {} bytes is longer than a datagram: such packets are counted as \
                     not written",
                    frame.len()
                )
            });
            known.account.unwritten.fetch_add(1, Relaxed);
            return;
        }
        if len > self.path {
            notes.count(Cause::Fragmented);
            notes.info(Cause::Fragmented, || {
                format!(
                    "packets are longer than the {} bytes that fit into a datagram on the way \
                     there, and go in IP fragments: an MTU of 50 more than the agents' (70 for \
                     IPv6) avoids that",
                    self.path - HEADER
                )
            });
        }
        if record.len as usize > record.data.len() {
            notes.count(Cause::Cut);
            notes.info(Cause::Cut, || super::CUT.to_owned());
        }
        let Some(port) = self.ports.get_mut(frame.conversation() as usize % PORTS) else { return };
        port.bytes.extend_from_slice(&self.header);
        frame.copy_to(&mut port.bytes);
        port.waiting.push((port.bytes.len(), Arc::clone(&known.account)));
        if port.waiting.len() >= TOGETHER || port.bytes.len() >= FULL {
            port.flush(notes, &mut self.congested);
        }
    }

    fn summary(&mut self, _: u32, _: Summary) {}

    fn end(&mut self, stream: u32) {
        // It begins again before more of it comes.
        self.streams.remove(&stream);
    }

    fn tick(&mut self, journal: &Journal) {
        self.pause(journal);
    }

    fn pause(&mut self, journal: &Journal) {
        self.flush();
        if self.looked.elapsed() > LOOK {
            self.look();
        }
        self.notes.tell(journal);
    }

    fn finish(&mut self, journal: &Journal) {
        self.flush();
        self.notes.finish(journal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Meta;

    fn begin(drain: &mut Vxlan, stream: u32, linktype: u32) -> Arc<Account> {
        let account = Arc::new(Account::default());
        let meta = Meta { linktype, ..Meta::default() };
        let (label, begun) = (String::new(), Arc::clone(&account));
        drain.begin(Begin { stream, label, meta, account: begun });
        account
    }

    fn record(data: &[u8]) -> Record<'_> {
        Record { secs: 1, nanos: 0, len: data.len() as u32, data, ..Record::default() }
    }

    fn journal() -> Journal {
        let journal = Journal::default();
        journal.hold();
        journal
    }

    #[test]
    fn frames_arrive_behind_a_header() {
        for ip in ["127.0.0.1", "::1"] {
            let receiver = UdpSocket::bind((ip, 0)).unwrap();
            let to = receiver.local_addr().unwrap().to_string();
            let mut drain = Vxlan::open(&to, 0x01_02_03).unwrap();
            let (ethernet, raw) = (begin(&mut drain, 1, 1), begin(&mut drain, 2, 101));
            let other = begin(&mut drain, 3, 105);
            drain.packet(1, &record(&[7; 60]));
            drain.packet(2, &record(b"\x45rest"));
            drain.packet(3, &record(&[7; 60]));
            drain.packet(1, &record(&vec![7; DATAGRAM]));
            drain.pause(&journal());
            let mut got = Vec::new();
            for _ in 0..2 {
                let mut buffer = [0; 100];
                let n = receiver.recv(&mut buffer).unwrap();
                got.push(buffer[..n].to_vec());
            }
            got.sort_by_key(Vec::len);
            let header = [8, 0, 0, 0, 1, 2, 3, 0];
            assert_eq!(got[0], [&header[..], &[0; 12], b"\x08\0\x45rest"].concat());
            assert_eq!(got[1], [&header[..], &[7; 60]].concat());
            let counts = |a: &Account| (a.written.load(Relaxed), a.unwritten.load(Relaxed));
            assert_eq!((counts(&ethernet), counts(&raw), counts(&other)), ((1, 1), (1, 0), (0, 1)));
        }
    }

    #[test]
    fn a_host_where_nobody_listens_is_told_of_once_and_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap().to_string();
        drop(receiver);
        let mut drain = Vxlan::open(&to, 1).unwrap();
        let account = begin(&mut drain, 1, 1);
        let journal = journal();
        for _ in 0..50 {
            drain.packet(1, &record(&[7; 60]));
            drain.pause(&journal);
        }
        assert_eq!(account.settled(), 50);
        assert!(account.unwritten.load(Relaxed) > 0);
        let lines = journal.newest(99);
        let told = lines.iter().filter(|l| l.contains("nobody takes VXLAN there"));
        assert_eq!((told.count(), lines.len()), (1, 1), "{lines:?}");
    }

    #[test]
    fn places_are_found() {
        assert_eq!(address("192.0.2.1").unwrap(), ([192, 0, 2, 1], PORT).into());
        assert_eq!(address("2001:db8::1").unwrap().to_string(), "[2001:db8::1]:4789");
        assert_eq!(address("[::1]:5").unwrap().to_string(), "[::1]:5");
        assert!(address("localhost").unwrap().ip().is_loopback());
        assert_eq!(address("localhost:7").unwrap().port(), 7);
        assert!(address("localhost:x").is_err());
    }
}
