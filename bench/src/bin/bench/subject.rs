//! What is measured: a daemon that runs, and a receiver that captures from it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::{Drained, Sent, Workload, pin};
use clap::ValueEnum;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cipher::Certificate;
use crate::cpu::{KernelThread, Meter, group_members, stolen};
use crate::link::{Traffic, fragments, listens};
use crate::place::{CAPTURED, Place, SENDING};

/// How long after the last packet a daemon is given to come to rest.
const REST: Duration = Duration::from_secs(10);

/// Bytes of the headers of IP, UDP and PACKET in front of a packet that has a datagram for itself.
const CLASSIC_HEADERS: usize = 20 + 8 + 28;

/// A daemon to measure.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// What tables call it.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) program: PathBuf,
    /// Whether it knows `-t`, can send udpstr, and cuts packets rather than send IP fragments.
    /// libpcap's does none of it.
    pub(crate) udpstr: bool,
    /// Whether it knows `--tls` as ours does.
    pub(crate) tls: bool,
    /// Whether it is told to capture and count, but to send no packets.
    pub(crate) dry_run: bool,
}

/// The way of packets from daemon to receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Data {
    /// PACKET messages on a stream.
    Tcp,
    /// A PACKET message in each datagram.
    Classic,
    /// Packets that share datagrams.
    Udpstr,
    /// PACKET messages on a stream that is encrypted.
    Tls,
    /// Datagrams of packets that share them, encrypted.
    Sealed,
}

impl Data {
    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Classic => "UDP",
            Self::Udpstr => "udpstr",
            Self::Tls => "TLS",
            Self::Sealed => "sealed udpstr",
        }
    }
}

impl Data {
    /// Whether packets are encrypted.
    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Sealed)
    }

    /// The same way without that.
    pub(crate) fn plain(self) -> Self {
        match self {
            Self::Tls => Self::Tcp,
            Self::Sealed => Self::Udpstr,
            plain => plain,
        }
    }
}

impl Subject {
    /// Whether it can forward so.
    pub(crate) fn can(&self, data: Data) -> bool {
        match data {
            Data::Tcp | Data::Classic => true,
            Data::Udpstr => self.udpstr,
            Data::Tls | Data::Sealed => self.tls,
        }
    }
}

/// How a daemon is measured.
pub(crate) struct Bench {
    /// Where packets go.
    pub(crate) place: Place,
    /// The directory of the other programs of this package.
    pub(crate) tools: PathBuf,
    /// For the sender.
    pub(crate) sender_core: usize,
    /// For the receiver.
    pub(crate) receiver_core: usize,
    /// For the daemon alone.
    pub(crate) daemon_core: usize,
    /// How often the receiver looks for packets, in microseconds; 0: when it is woken.
    pub(crate) poll: u64,
    /// Most bytes of a packet, as the client asks.
    pub(crate) snaplen: u32,
    /// Of daemons that encrypt.
    pub(crate) certificate: Certificate,
    /// The port of the next daemon: each has its own, so that none waits for the last one's.
    pub(crate) next_port: u16,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// How it is forwarded.
    pub(crate) data: Data,
    /// Sizes.
    pub(crate) workload: Workload,
    /// Packets per second; 0 is as fast as it goes.
    pub(crate) rate: u64,
    /// Packets.
    pub(crate) count: u64,
    /// Whether it is asked how long they take.
    pub(crate) latency: bool,
    /// The read timeout that the client asks for, in milliseconds.
    pub(crate) read_timeout: u32,
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// As the sender says.
    pub(crate) sent: Sent,
    /// As the receiver says.
    pub(crate) drained: Drained,
    /// Bytes of packets that are to arrive.
    pub(crate) expected_bytes: u64,
    /// The daemon's CPU time, from before the first packet until it rested.
    pub(crate) cpu: Duration,
    /// The CPU time of the kernel's own thread for network work on the daemon's core, at the same
    /// time: what that did for the daemon is not in `cpu`.
    pub(crate) softirq: Duration,
    /// For how long the hypervisor took the daemon's core away at the same time.
    pub(crate) stolen: Duration,
    /// How the CPU time was measured.
    pub(crate) method: &'static str,
    /// What left the daemon's host on the interface that RPCAP takes.
    pub(crate) wire: Traffic,
    /// Fragments that the daemon's host made.
    pub(crate) fragments: u64,
    /// The most memory of the daemon's largest process, in KiB: before the capture, and at its end.
    pub(crate) memory: [u64; 2],
}

impl Sample {
    /// Packets that did not arrive.
    pub(crate) fn lost(&self) -> u64 {
        self.sent.packets.saturating_sub(self.drained.packets)
    }

    /// CPU time per packet that arrived, in microseconds.
    pub(crate) fn micros_per_packet(&self) -> f64 {
        self.per_packet(self.cpu)
    }

    /// The same of what the kernel's own thread did, for whomever.
    pub(crate) fn softirq_micros_per_packet(&self) -> f64 {
        self.per_packet(self.softirq)
    }

    fn per_packet(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.drained.packets.max(1) as f64
    }

    /// Whether everything that was sent came, as long as it could be, and nothing else.
    pub(crate) fn is_exact(&self) -> bool {
        let d = &self.drained;
        (d.packets, d.bytes, d.gaps) == (self.sent.packets, self.expected_bytes, 0)
    }

    /// Whether some of it was to arrive shorter than it was.
    pub(crate) fn is_cut(&self) -> bool {
        self.expected_bytes < self.sent.bytes
    }

    /// The share of the time of sending for which the daemon had its core, in percent.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.sent.seconds * 100.0
    }
}

impl Bench {
    /// One measurement of a fresh daemon.
    pub(crate) fn measure(&mut self, subject: &Subject, load: &Load) -> anyhow::Result<Sample> {
        self.measure_with(subject, load, |_| Ok(()), |()| Ok(())).map(|(sample, ())| sample)
    }

    /// The same, with something of the caller's before the first and after the last packet; it is
    /// given the daemon's process group.
    pub(crate) fn measure_with<A, B>(
        &mut self,
        subject: &Subject,
        load: &Load,
        before: impl FnOnce(u32) -> anyhow::Result<A>,
        after: impl FnOnce(A) -> anyhow::Result<B>,
    ) -> anyhow::Result<(Sample, B)> {
        let daemon = self.start(subject, load.data)?;
        let idle = daemon.idle_memory()?;
        let drain = self.drain(&daemon, load).with_context(|| format!("{}:", subject.name))?;
        let context = before(daemon.process.id())?;
        let stolen_start = stolen(self.daemon_core);
        let softirqd = KernelThread::softirqd(self.daemon_core);
        let (fragments_start, wire_start) = (fragments()?, Traffic::out_of(self.place.way())?);
        let (start, softirq_start) = (daemon.meter.read()?, softirqd.read());
        let sent = self.blast(load)?;
        let end = rest(&daemon.meter, load.read_timeout)?;
        let softirq = softirqd.read() - softirq_start;
        let stolen = stolen(self.daemon_core) - stolen_start;
        let wire = Traffic::out_of(self.place.way())?.since(wire_start);
        let context = after(context)?;
        let peak = peak_memory(daemon.process.id());
        let drained = drain.finish()?;
        let longest = self.longest(subject, load.data);
        let sample = Sample {
            expected_bytes: load.workload.bytes_cut(sent.packets, longest),
            sent,
            drained,
            cpu: end - start,
            softirq,
            stolen,
            method: daemon.meter.method(),
            wire,
            fragments: fragments()? - fragments_start,
            memory: [idle, peak],
        };
        Ok((sample, context))
    }

    /// The most bytes of a packet that arrive.
    fn longest(&self, subject: &Subject, data: Data) -> usize {
        let fits = match data {
            // At least a datagram's worth of what the path takes, unless it goes in fragments.
            Data::Classic if subject.udpstr => self.place.mtu() as usize - CLASSIC_HEADERS,
            _ => usize::MAX,
        };
        fits.min(self.snaplen as usize)
    }

    /// Starts a daemon on its core.
    pub(crate) fn start(&mut self, subject: &Subject, data: Data) -> anyhow::Result<Daemon> {
        let port = self.next_port;
        self.next_port += 1;
        // What is started inherits this thread's core.
        pin(self.daemon_core)?;
        // setpriv: if this process is killed, the daemon is too.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&subject.program)
            .args(["-4", "-n", "-b", self.place.server, "-p", &port.to_string()])
            // Only ours knows of such a thing, and is measured without.
            .args(subject.udpstr.then_some(["--status-socket", "none"]).into_iter().flatten())
            .args(match data {
                _ if !subject.udpstr => &[][..],
                Data::Tcp | Data::Tls => &[],
                Data::Classic => &["-t", "0"],
                Data::Udpstr | Data::Sealed => &["-t", "1472"],
            })
            .args(subject.dry_run.then_some("-y"))
            .args(if data.is_encrypted() { self.certificate.options() } else { Vec::new() })
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", subject.program.display()));
        pin(self.sender_core)?;
        let process = process?;
        let meter = Meter::new(process.id());
        Ok(Daemon { process, meter, port })
    }

    /// Starts a receiver; when this returns, the capture runs and the daemon is at rest.
    pub(crate) fn drain(&self, daemon: &Daemon, load: &Load) -> anyhow::Result<Drain> {
        let mut command = Command::new(self.tools.join("drain"));
        command
            .args([&format!("{}:{}", self.place.server, daemon.port), CAPTURED])
            .args(["--core", &self.receiver_core.to_string()])
            .args(["--poll", &self.poll.to_string()])
            .args(["--snaplen", &self.snaplen.to_string()])
            .args(["--read-timeout", &load.read_timeout.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        match load.data {
            Data::Tcp => &mut command,
            Data::Classic => command.arg("--udp"),
            Data::Udpstr => command.args(["--udp", "--udpstr"]),
            Data::Tls => &mut command,
            Data::Sealed => command.args(["--udp", "--udpstr"]),
        };
        if load.data.is_encrypted() {
            command.arg("--tls").arg(self.certificate.file("cert.pem"));
        }
        if load.latency {
            command.arg("--latency");
        }
        let mut process = self.place.spawn_client(&mut command)?;
        let output = process.stdout.take().context("drain has no output")?;
        let mut drain = Drain { process, output: BufReader::new(output) };
        let mut line = String::new();
        drain.output.read_line(&mut line)?;
        if line != "ready\n" {
            bail!("the receiver did not become ready");
        }
        // The receiver's first reads and the daemon's last words about it are over.
        thread::sleep(Duration::from_millis(200));
        Ok(drain)
    }

    fn blast(&self, load: &Load) -> anyhow::Result<Sent> {
        let mut command = Command::new(self.tools.join("blast"));
        command
            .arg(SENDING)
            .args(["--workload", &load.workload.to_string()])
            .args(["--rate", &load.rate.to_string()])
            .args(["--count", &load.count.to_string()])
            .args(["--core", &self.sender_core.to_string()])
            .stdout(Stdio::piped());
        if load.latency {
            command.arg("--number");
        }
        let output = self.place.spawn_sender(&mut command)?.wait_with_output()?;
        if !output.status.success() {
            bail!("the sender failed");
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Waits until a daemon needs no more CPU time, and says how much it needed.
pub(crate) fn rest(meter: &Meter, read_timeout: u32) -> anyhow::Result<Duration> {
    // Longer than packets may be gathered, or what comes last would be missed.
    let pause = Duration::from_millis(u64::from(read_timeout) * 2 + 100);
    let start = Instant::now();
    let mut last = meter.read()?;
    loop {
        thread::sleep(pause);
        let now = meter.read()?;
        if now - last < pause / 200 {
            return Ok(now);
        }
        if start.elapsed() > REST {
            bail!("the daemon is still busy {REST:?} after the last packet");
        }
        last = now;
    }
}

/// The most memory that any process of a group ever had, in KiB.
fn peak_memory(group: u32) -> u64 {
    let peak = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    group_members(group).into_iter().map(peak).max().unwrap_or(0)
}

/// A daemon that runs.
pub(crate) struct Daemon {
    process: Child,
    /// Of its CPU time.
    pub(crate) meter: Meter,
    port: u16,
}

impl Daemon {
    /// The most memory that it needed until it listens, in KiB.
    fn idle_memory(&self) -> anyhow::Result<u64> {
        let start = Instant::now();
        while !listens(self.port) {
            if start.elapsed() > REST {
                bail!("the daemon does not listen");
            }
            thread::sleep(Duration::from_millis(10));
        }
        // What it does after it began to listen.
        thread::sleep(Duration::from_millis(50));
        Ok(peak_memory(self.process.id()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The whole group: libpcap's daemon has a process for every client. And not SIGTERM, which
        // it passes on to whatever group it is in.
        let _ = killpg(Pid::from_raw(self.process.id() as i32), Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

/// A receiver that runs.
pub(crate) struct Drain {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Drain {
    /// Ends the capture, and says what came.
    pub(crate) fn finish(mut self) -> anyhow::Result<Drained> {
        drop(self.process.stdin.take());
        let mut line = String::new();
        self.output.read_to_string(&mut line)?;
        if !self.process.wait()?.success() {
            bail!("the receiver failed");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        // It is over already, unless something else failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The directory of this program, where the others of the package are.
pub(crate) fn tools() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let tools = program.parent().unwrap_or(Path::new(".")).to_owned();
    for tool in ["blast", "drain"] {
        if !tools.join(tool).exists() {
            bail!("{tool} is not built: use bench/run, or build the whole package");
        }
    }
    Ok(tools)
}
