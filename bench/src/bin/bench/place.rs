//! Where it happens: two hosts, as network namespaces, and two veth pairs between them.
//!
//! This process moves into a namespace of its own, which the daemons inherit: the host that is
//! captured on. Sender and receiver are started in the other one. One veth pair carries the packets
//! that are captured, the other one RPCAP, so that what is forwarded is not captured. Nothing of it
//! has a name: when the benchmark is gone, however it went, so are they.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::{Child, Command};
use std::thread;

use anyhow::{Context, bail};
use clap::ValueEnum;
use nix::sched::{CloneFlags, setns, unshare};

/// The device that is captured from.
pub(crate) const CAPTURED: &str = "bench-rx";

/// The device that packets are sent out of; its other end is [`CAPTURED`].
pub(crate) const SENDING: &str = "bench-tx";

/// The ends of the pair that RPCAP takes, on the daemon's host and on the other one.
const LINK: [&str; 2] = ["bench-daemon", "bench-client"];

/// Their addresses: of the network that is set aside for measurements.
const ADDRESSES: [&str; 2] = ["198.18.0.1", "198.18.0.2"];

/// The addresses of the captured pair, for traffic between programs: of the host that is captured
/// on, and of the other one.
pub(crate) const CAPTURED_ADDRESSES: [&str; 2] = ["198.18.1.1", "198.18.1.2"];

/// The way of RPCAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// A veth pair of its own, as if between two hosts.
    Veth,
    /// `lo` of the daemon's host, where the receiver then is too.
    Lo,
}

/// The two hosts.
pub(crate) struct Place {
    /// Where daemons listen.
    pub(crate) server: &'static str,
    via: Via,
    mtu: u32,
    outside: File,
}

impl Place {
    /// Makes them. To be called before there is a second thread.
    pub(crate) fn make(via: Via, mtu: u32) -> anyhow::Result<Self> {
        enter_new().context("making a network namespace (it needs root)")?;
        let outside = elsewhere(|| {
            enter_new()?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        })?;
        let server = match via {
            Via::Veth => ADDRESSES[0],
            Via::Lo => "127.0.0.1",
        };
        let place = Self { server, via, mtu, outside };
        // Every Linux has it. Others pace: they send from timers, and nobody is charged with that.
        fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno")
            .context("choosing a congestion control")?;
        ip("link set lo up")?;
        let fd = format!("/proc/{}/fd/{}", std::process::id(), place.outside.as_raw_fd());
        for (inner, outer) in [(CAPTURED, SENDING), (LINK[0], LINK[1])] {
            ip(&format!("link add {inner} mtu {mtu} type veth peer name {outer} mtu {mtu}"))?;
            quiet(inner);
            ip(&format!("link set {outer} netns {fd}"))?;
            place.outside(|| {
                quiet(outer);
                ip(&format!("link set {outer} up"))
            })?;
            ip(&format!("link set {inner} up"))?;
        }
        ip(&format!("addr add {}/30 dev {}", ADDRESSES[0], LINK[0]))?;
        place.outside(|| ip(&format!("addr add {}/30 dev {}", ADDRESSES[1], LINK[1])))?;
        Ok(place)
    }

    /// The interface of the daemon's host that RPCAP takes.
    pub(crate) fn way(&self) -> &'static str {
        match self.via {
            Via::Veth => LINK[0],
            Via::Lo => "lo",
        }
    }

    /// The way of RPCAP.
    pub(crate) fn via(&self) -> Via {
        self.via
    }

    /// The MTU of that way.
    pub(crate) fn mtu(&self) -> u32 {
        match self.via {
            Via::Veth => self.mtu,
            // What the longest datagram needs is less than `lo` takes.
            Via::Lo => 65_535,
        }
    }

    /// Lets programs of the two hosts talk over the captured pair.
    pub(crate) fn address_captured(&self) -> anyhow::Result<()> {
        ip(&format!("addr add {}/30 dev {CAPTURED}", CAPTURED_ADDRESSES[0]))?;
        self.outside(|| ip(&format!("addr add {}/30 dev {SENDING}", CAPTURED_ADDRESSES[1])))
    }

    /// Starts a sender of packets to be captured.
    pub(crate) fn spawn_sender(&self, command: &mut Command) -> anyhow::Result<Child> {
        self.outside(|| spawn(command))
    }

    /// Starts a client of a daemon.
    pub(crate) fn spawn_client(&self, command: &mut Command) -> anyhow::Result<Child> {
        match self.via {
            Via::Veth => self.outside(|| spawn(command)),
            Via::Lo => spawn(command),
        }
    }

    fn outside<T: Send>(&self, f: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        elsewhere(|| {
            setns(&self.outside, CloneFlags::CLONE_NEWNET)?;
            f()
        })
    }
}

fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    command.spawn().with_context(|| format!("starting {:?}", command.get_program()))
}

fn enter_new() -> anyhow::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNET)?)
}

/// Runs something on a thread that may change its namespace.
fn elsewhere<T: Send>(f: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    thread::scope(|s| match s.spawn(f).join() {
        Ok(result) => result,
        Err(_) => bail!("a thread panicked"),
    })
}

/// Keeps the kernel from sending packets of its own, which would be captured and counted.
fn quiet(device: &str) {
    // Where there is no IPv6, there is nothing to switch off.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"), "1");
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .context("running ip (Debian: iproute2)")?;
    if !output.status.success() {
        bail!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
