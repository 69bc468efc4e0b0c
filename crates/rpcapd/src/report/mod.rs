//! What the daemon does at this moment: for `rpcapd status`, its JSON, and the metrics.

mod table;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::active::{Progress, Stage};
use crate::devices::View;
use crate::ledger::Ledger;
use crate::pump::Gauge;
use crate::sandbox::Sandbox;
use crate::session::Shared;
use crate::sessions::{Entry, Seen};
use crate::transport::Framing;

/// Where a report is taken.
#[derive(Clone, Debug)]
pub struct Observer {
    shared: Arc<Shared>,
    began: Instant,
    since: u64,
}

/// Everything there is to know. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it began.
    pub since: u64,
    /// For how many seconds it runs.
    pub uptime: u64,
    /// What the daemon keeps itself from.
    pub sandbox: Sandbox,
    /// The collectors that are called.
    pub collectors: Vec<Collector>,
    /// The sessions, the oldest first.
    pub sessions: Vec<Session>,
    /// What all captures together take of the host.
    pub limits: Limits,
    /// The devices that clients may know of.
    pub devices: Vec<Device>,
    /// What became of all packets since the daemon began.
    pub totals: Vec<Total>,
}

/// A collector that is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collector {
    /// Its name or address and port, and its interface if one is chosen for it.
    pub collector: String,
    /// How far the calls are.
    pub stage: Stage,
    /// Since when.
    pub since: u64,
    /// Why the last call that is over failed or ended.
    pub reason: Option<String>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its number.
    pub id: u64,
    /// The client's address and port.
    pub client: String,
    /// The daemon's.
    pub local: String,
    /// The collector that was called; `None` if the client called.
    pub collector: Option<String>,
    /// When it began.
    pub since: u64,
    /// Whether the client was accepted.
    pub authenticated: bool,
    /// The name under which it was, if it gave one.
    pub user: Option<String>,
    /// How it proved that: password, certificate or pam.
    pub by: Option<String>,
    /// The capture that runs.
    pub capture: Option<Capture>,
}

/// A capture that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// The device.
    pub device: String,
    /// When it began.
    pub since: u64,
    /// What its packets begin with: a number of libpcap's `DLT_` list.
    pub linktype: u32,
    /// Instructions of the client's filter.
    pub filter: usize,
    /// Bytes of its ring.
    pub ring: usize,
    /// How packets travel.
    pub transport: Transport,
    /// Most bytes in a datagram; 0 for a stream.
    pub datagram_limit: usize,
    /// Whether the kernel takes many datagrams at a time (`UDP_SEGMENT`).
    pub segmentation: bool,
    /// What became of its packets so far; `None` if the kernel does not tell.
    pub ledger: Option<Ledger>,
}

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One after another in a stream.
    Tcp,
    /// One in each datagram.
    Udp,
    /// Several in each datagram.
    Udpstr,
    /// udpstr, encrypted.
    Sealed,
}

/// What all captures together take of the host, and what the limits made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes for packets.
    pub memory: u64,
    /// Captures that were refused because there were enough or for their memory.
    pub refused: u64,
    /// How far `--max-cpu` has gone: one of 2^n flows is forwarded.
    pub cpu_level: u8,
}

/// A device that clients may know of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// What it is, in words.
    pub description: String,
    /// Whether it is up.
    pub up: bool,
    /// Most bytes of a packet behind the link-layer header, where that is known.
    pub mtu: Option<u32>,
}

/// What became of the packets of one device for one client, in all captures together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Total {
    /// The device.
    pub device: String,
    /// The client's address.
    pub peer: String,
    /// The sum.
    pub ledger: Ledger,
}

impl Observer {
    /// Looks at this daemon from now on.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, began: Instant::now(), since: unix(SystemTime::now()) }
    }

    /// Takes a report.
    pub fn report(&self) -> Report {
        let (sessions, mut totals) = self.shared.sessions.look();
        let sessions: Vec<_> = sessions
            .iter()
            .map(|(id, entry, seen)| {
                let session = Session::new(*id, entry, seen);
                if let Some(Capture { device, ledger: Some(ledger), .. }) = &session.capture {
                    totals.add(device, entry.peer.ip(), ledger);
                }
                session
            })
            .collect();
        let totals = totals.iter().map(|(device, peer, ledger)| Total {
            device: device.to_owned(),
            peer: peer.to_owned(),
            ledger: *ledger,
        });
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            uptime: self.began.elapsed().as_secs(),
            sandbox: self.shared.sandbox.get().map(|(sandbox, _)| *sandbox).unwrap_or_default(),
            collectors: self
                .shared
                .callers
                .list()
                .iter()
                .map(|call| Collector::new(call.peer.to_string(), call.progress()))
                .collect(),
            sessions,
            limits: Limits::new(&self.shared.limits),
            devices: self.devices(),
            totals: totals.collect(),
        }
    }

    /// The same in a few words, without a look at the devices.
    pub fn summary(&self) -> String {
        let (sessions, _) = self.shared.sessions.look();
        let captures = sessions.iter().filter(|(_, _, seen)| seen.capture.is_some()).count();
        let calls = self.shared.callers.list();
        let connected = calls.iter().filter(|c| c.progress().stage == Stage::Session).count();
        let s = |n| if n == 1 { "" } else { "s" };
        let n = sessions.len();
        let mut text = format!("{n} session{}, {captures} capture{}", s(n), s(captures));
        if !calls.is_empty() {
            text +=
                &format!(", {connected} of {} collector{} connected", calls.len(), s(calls.len()));
        }
        text
    }

    fn devices(&self) -> Vec<Device> {
        let settings = self.shared.settings.get();
        let (replays, rules) = (&settings.cli.replay, settings.cli.devices.as_ref());
        match (View {
            replays,
            rules: [rules, None],
            preselect: None,
            backend: settings.cli.backend,
        })
        .list()
        {
            Ok(devices) => devices.into_iter().map(Device::new).collect(),
            Err(e) => {
                tracing::warn!("listing devices for a report: {e}");
                Vec::new()
            }
        }
    }
}

impl Report {
    /// The captures that run.
    pub fn captures(&self) -> impl Iterator<Item = (&Session, &Capture)> {
        self.sessions.iter().filter_map(|s| Some((s, s.capture.as_ref()?)))
    }
}

impl Collector {
    fn new(collector: String, progress: Progress) -> Self {
        let Progress { stage, since, reason } = progress;
        Self { collector, stage, since: unix(since), reason }
    }
}

impl Session {
    fn new(id: u64, entry: &Entry, seen: &Seen) -> Self {
        Self {
            id,
            client: entry.peer.to_string(),
            local: entry.local.to_string(),
            collector: entry.called.as_ref().map(|peer| peer.to_string()),
            since: unix(entry.since),
            authenticated: seen.authenticated,
            user: seen.identity.as_ref().map(|(name, _)| name.clone()),
            by: seen.identity.as_ref().map(|(_, by)| by.to_string()),
            capture: seen.capture.as_ref().map(Capture::new),
        }
    }
}

impl Limits {
    fn new(limits: &crate::limits::Limits) -> Self {
        let in_use = limits.captures.in_use();
        let cpu_level = limits.cpu.as_ref().map_or(0, |budget| budget.level());
        Self { memory: in_use.bytes, refused: in_use.refused, cpu_level }
    }
}

impl Capture {
    fn new(gauge: &Gauge) -> Self {
        let way = gauge.way();
        Self {
            device: gauge.device.to_string(),
            since: ago(gauge.since),
            linktype: gauge.linktype.0,
            filter: gauge.filter_length(),
            ring: gauge.ring_bytes,
            transport: match gauge.framing {
                None => Transport::Tcp,
                Some(Framing::Messages) => Transport::Udp,
                Some(Framing::UdpStream(_)) => Transport::Udpstr,
                Some(Framing::Sealed(_)) => Transport::Sealed,
            },
            datagram_limit: way.datagram_limit,
            segmentation: way.segmentation,
            ledger: gauge.ledger().ok(),
        }
    }
}

impl Device {
    fn new(device: rpcap_proto::wire::Device) -> Self {
        let name = String::from_utf8_lossy(&device.name).into_owned();
        // A savefile may have any name; an interface's has no slash.
        let mtu = std::fs::read_to_string(format!("/sys/class/net/{}/mtu", name.replace('/', "")));
        Self {
            description: String::from_utf8_lossy(&device.description).into_owned(),
            up: capture::devices::Flags(device.flags).contains(capture::devices::Flags::UP),
            mtu: mtu.ok().and_then(|text| text.trim().parse().ok()),
            name,
        }
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn ago(instant: Instant) -> u64 {
    SystemTime::now().checked_sub(instant.elapsed()).map_or(0, unix)
}
