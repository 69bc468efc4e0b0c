//! What a daemon does to the other programs of its host: iperf3 across the interface that is
//! captured, with a daemon that captures and forwards all of it, and without one.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::pin;
use serde_json::Value;

use crate::link::listens;
use crate::place::CAPTURED_ADDRESSES;
use crate::subject::{Bench, Load, Subject, rest};

/// Where iperf3's server listens.
const PORT: u16 = 5201;

/// How much longer than its traffic an iperf3 may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Traffic between a program of the host that is captured on and one of another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// As much as goes, into the host.
    TcpIn,
    /// As much as goes, out of the host.
    TcpOut,
    /// As much as a card of 1 Gbit/s takes, into the host.
    TcpPaced,
    /// Packets of 64 bytes of payload, as many as go, into the host.
    UdpSmall,
}

impl Flow {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::TcpIn, Self::TcpOut, Self::TcpPaced, Self::UdpSmall];

    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TcpIn => "TCP, in",
            Self::TcpOut => "TCP, out",
            Self::TcpPaced => "TCP, in, 1 Gbit/s",
            Self::UdpSmall => "UDP, in, 64 bytes",
        }
    }

    /// What its throughput is told in.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::UdpSmall => "kpackets/s",
            _ => "Gbit/s",
        }
    }

    /// A throughput, in bits or packets per second, in that unit.
    pub(crate) fn in_units(self, throughput: f64) -> f64 {
        match self {
            Self::UdpSmall => throughput / 1e3,
            _ => throughput / 1e9,
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::TcpIn => &[],
            Self::TcpOut => &["--reverse"],
            Self::TcpPaced => &["--bitrate", "1G"],
            Self::UdpSmall => &["--udp", "--bitrate", "0", "--length", "64"],
        }
    }

    /// What arrived, in bits or packets per second, of the report that iperf3's client prints.
    fn throughput(self, report: &Value) -> Option<f64> {
        let end = report.get("end")?;
        match self {
            Self::UdpSmall => {
                let sum = end.get("sum")?;
                let of = |name: &str| sum.get(name)?.as_f64();
                Some((of("packets")? - of("lost_packets")?) / of("seconds")?)
            }
            _ => end.get("sum_received")?.get("bits_per_second")?.as_f64(),
        }
    }
}

/// All rounds of one kind of traffic with one daemon, or none.
pub(crate) struct ImpactRow {
    /// The traffic.
    pub(crate) flow: Flow,
    /// Who captures it, and how it is forwarded.
    pub(crate) daemon: Option<(Subject, Load)>,
    /// One for each round.
    pub(crate) samples: Vec<Impact>,
}

impl ImpactRow {
    /// What tables call the daemon, and the way of its packets, if it sends any.
    pub(crate) fn who(&self) -> [&'static str; 2] {
        match &self.daemon {
            None => ["none", "–"],
            Some((subject, _)) if subject.dry_run => [subject.name, "–"],
            Some((subject, load)) => [subject.name, load.data.name()],
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Impact {
    /// Bits or packets per second that arrived at iperf3.
    pub(crate) throughput: f64,
    /// Packets that the daemon's filter saw.
    pub(crate) received: u64,
    /// Those of them that did not come to the receiver; of a daemon that sends nothing, those that
    /// were not captured.
    pub(crate) lost: u64,
    /// The daemon's CPU time, in percent of the time of the traffic.
    pub(crate) busy: f64,
}

/// Measures every daemon with every kind of traffic, in turn.
pub(crate) fn measure(
    bench: &mut Bench,
    subjects: &[Subject],
    loads: &[Load],
    rounds: usize,
    seconds: f64,
    application_core: usize,
) -> anyhow::Result<Vec<ImpactRow>> {
    bench.place.address_captured()?;
    let _server = Server::start(bench, application_core)?;
    let mut daemons = vec![None];
    // What capturing costs without a receiver, which has to share a core with the other programs.
    if let (Some(ours), Some(load)) = (subjects.first(), loads.first()) {
        let subject = Subject { name: "ours, sending nothing", dry_run: true, ..ours.clone() };
        daemons.push(Some((subject, load.clone())));
    }
    for subject in subjects {
        let can = loads.iter().filter(|load| subject.can(load.data));
        daemons.extend(can.map(|load| Some((subject.clone(), load.clone()))));
    }
    let mut rows = Vec::new();
    for flow in Flow::ALL {
        let first = rows.len();
        rows.extend(daemons.iter().map(|daemon| ImpactRow {
            flow,
            daemon: daemon.clone(),
            samples: Vec::new(),
        }));
        // What is measured first after a pause is slower, whatever it is.
        iperf(bench, flow, 1.0)?;
        let rows = &mut rows[first..];
        for round in 0..rounds {
            for turn in 0..rows.len() {
                let at = (turn + round) % rows.len();
                let row = &mut rows[at];
                let sample = match &row.daemon {
                    None => Impact {
                        throughput: iperf(bench, flow, seconds)?,
                        received: 0,
                        lost: 0,
                        busy: 0.0,
                    },
                    Some((subject, load)) => captured(bench, subject, load, flow, seconds)?,
                };
                eprintln!(
                    "{}, {}, round {}: {:.2} {}, {} lost of {}",
                    flow.name(),
                    row.who().join(" by "),
                    round + 1,
                    flow.in_units(sample.throughput),
                    flow.unit(),
                    sample.lost,
                    sample.received,
                );
                row.samples.push(sample);
            }
        }
    }
    Ok(rows)
}

fn captured(
    bench: &mut Bench,
    subject: &Subject,
    load: &Load,
    flow: Flow,
    seconds: f64,
) -> anyhow::Result<Impact> {
    let daemon = bench.start(subject, load.data)?;
    let drain = bench.drain(&daemon, load).with_context(|| format!("{}:", subject.name))?;
    let start = daemon.meter.read()?;
    let throughput = iperf(bench, flow, seconds)?;
    let cpu = rest(&daemon.meter, load.read_timeout)? - start;
    let drained = drain.finish()?;
    let received = u64::from(drained.stats.received);
    let lost = match subject.dry_run {
        true => drained.stats.kernel_dropped.into(),
        false => received.saturating_sub(drained.packets),
    };
    Ok(Impact { throughput, received, lost, busy: cpu.as_secs_f64() / seconds * 100.0 })
}

/// Runs iperf3's client on the other host; what arrived, in bits or packets per second.
fn iperf(bench: &Bench, flow: Flow, seconds: f64) -> anyhow::Result<f64> {
    let mut command = Command::new("timeout");
    command
        .arg((seconds + PATIENCE.as_secs_f64()).to_string())
        .args(["iperf3", "-4", "--json", "--client", CAPTURED_ADDRESSES[0]])
        .args(["--port", &PORT.to_string()])
        .args(["--connect-timeout", "5000"])
        .args(["--time", &seconds.ceil().to_string()])
        .args(flow.arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let output = bench.place.spawn_sender(&mut command)?.wait_with_output()?;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match flow.throughput(&report) {
        Some(throughput) if output.status.success() => Ok(throughput),
        _ => bail!("iperf3: {}", report.get("error").unwrap_or(&Value::Null)),
    }
}

/// iperf3's server, on the host that is captured on.
struct Server(Child);

impl Server {
    fn start(bench: &Bench, core: usize) -> anyhow::Result<Self> {
        pin(core)?;
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "iperf3", "-4", "--server"])
            .args(["--bind", CAPTURED_ADDRESSES[0], "--port", &PORT.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        pin(bench.sender_core)?;
        let server = Self(process.context("starting iperf3's server")?);
        let start = Instant::now();
        while !listens(PORT) {
            if start.elapsed() > PATIENCE {
                bail!("iperf3's server does not listen (Debian: iperf3)");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::Flow;
    use serde_json::json;

    #[test]
    fn what_arrived_is_read_from_iperf3s_report() {
        let tcp = json!({ "end": { "sum_sent": { "bits_per_second": 9e9 },
                                   "sum_received": { "bits_per_second": 8e9 } } });
        let udp = json!({ "end": { "sum": { "packets": 1100, "lost_packets": 100,
                                            "seconds": 0.5 } } });
        assert_eq!(Flow::TcpOut.throughput(&tcp), Some(8e9));
        assert_eq!(Flow::UdpSmall.throughput(&udp), Some(2000.0));
        assert_eq!(Flow::UdpSmall.throughput(&tcp), None);
        assert_eq!(Flow::TcpIn.throughput(&json!({ "error": "no route" })), None);
    }
}
