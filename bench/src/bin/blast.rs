//! Sends packets out of an interface at a steady rate.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::{Sent, Workload, pin, set_number};
use clap::Parser;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, send as send_one,
    sendmmsg, socket,
};

/// Most packets in one system call.
const BATCH: usize = 128;

/// Over which time numbered packets are spread.
const SPREAD: Duration = Duration::from_millis(10);

/// Send packets out of an interface at a steady rate; say in one line of JSON how that went.
#[derive(Debug, Parser)]
#[command(name = "blast")]
struct Cli {
    /// Interface to send from; its peer's neighbours will see the packets
    interface: String,

    /// Sizes of the packets, in turn: "imix" or numbers separated by commas
    #[arg(long, default_value = "64")]
    workload: Workload,

    /// How many
    #[arg(long, default_value_t = 100_000)]
    count: u64,

    /// Packets per second; 0 is as fast as it goes
    #[arg(long, default_value_t = 0)]
    rate: u64,

    /// Packets that go out together when there is a rate [default: a millisecond's, at most 32]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=BATCH as u64))]
    burst: Option<u64>,

    /// Write its number, from 1, into each packet, and send each up to 10 ms later than its turn:
    /// a ring that is given out by a clock would otherwise always meet the sender at the same
    /// moment, and one moment says nothing about how long packets wait
    #[arg(long, requires = "rate")]
    number: bool,

    /// Core to run on
    #[arg(long)]
    core: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(core) = cli.core {
        pin(core)?;
    }
    let socket = open(&cli.interface)?;
    let sent = if cli.number { send_numbered(&cli, &socket)? } else { send(&cli, &socket)? };
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}

/// A socket that sends what it is given as it is, and receives nothing: it has no protocol.
fn open(interface: &str) -> anyhow::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .context("opening a packet socket (it needs CAP_NET_RAW)")?;
    let address: LinkAddr = getifaddrs()?
        .filter(|a| a.interface_name == interface)
        .find_map(|a| a.address?.as_link_addr().copied())
        .with_context(|| format!("there is no interface {interface}"))?;
    bind(socket.as_raw_fd(), &address).with_context(|| format!("using {interface}"))?;
    Ok(socket)
}

fn send(cli: &Cli, socket: &OwnedFd) -> anyhow::Result<Sent> {
    let frames = cli.workload.frames();
    let turn = frames.len();
    // One turn more than a batch, so that a batch can start anywhere in a turn.
    let packets: Vec<[IoSlice<'_>; 1]> =
        frames.iter().cycle().take(turn + BATCH).map(|f| [IoSlice::new(f)]).collect();
    let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
    let addresses = [None; BATCH];
    let fd = socket.as_raw_fd();

    let mut done = Sent::default();
    let start = Instant::now();
    while done.packets < cli.count {
        let left = cli.count - done.packets;
        let wanted = match due(cli, done.packets, start.elapsed(), &mut done.late_ms) {
            Due::Now(n) => n.min(left) as usize,
            Due::Later(wait) => {
                std::thread::sleep(wait);
                continue;
            }
        };
        let from = (done.packets % turn as u64) as usize;
        let batch = &packets[from..from + wanted];
        match sendmmsg(fd, &mut headers, batch, &addresses[..wanted], [], MsgFlags::empty()) {
            Ok(results) => done.packets += results.count() as u64,
            Err(Errno::EINTR) => {}
            Err(Errno::ENOBUFS | Errno::EAGAIN) => {
                done.retries += 1;
                std::thread::sleep(Duration::from_micros(50));
            }
            Err(e) => return Err(e).context("sending"),
        }
    }
    done.seconds = start.elapsed().as_secs_f64();
    done.bytes = cli.workload.bytes(done.packets);
    done.rate = done.packets as f64 / done.seconds;
    Ok(done)
}

/// Sends packets one by one, each with its number.
fn send_numbered(cli: &Cli, socket: &OwnedFd) -> anyhow::Result<Sent> {
    let mut frames = cli.workload.frames();
    let turn = frames.len() as u64;
    let mut done = Sent::default();
    let start = Instant::now();
    while done.packets < cli.count {
        let at = numbered_at(done.packets, cli.rate.max(1));
        std::thread::sleep(at.saturating_sub(start.elapsed()));
        done.late_ms = done.late_ms.max(start.elapsed().saturating_sub(at).as_secs_f64() * 1e3);
        let frame = &mut frames[(done.packets % turn) as usize];
        done.packets += 1;
        set_number(frame, done.packets);
        send_one(socket.as_raw_fd(), frame, MsgFlags::empty()).context("sending")?;
    }
    done.seconds = start.elapsed().as_secs_f64();
    done.bytes = cli.workload.bytes(done.packets);
    done.rate = done.packets as f64 / done.seconds;
    Ok(done)
}

/// When a numbered packet is due.
fn numbered_at(packet: u64, rate: u64) -> Duration {
    // Multiples of the golden ratio, without their whole part, are spread as evenly as can be.
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let spread = (packet as f64 * GOLDEN).fract() * SPREAD.as_secs_f64();
    Duration::from_secs_f64(packet as f64 / rate as f64 + spread)
}

enum Due {
    Now(u64),
    Later(Duration),
}

/// What to send after `sent` packets and `elapsed` time.
fn due(cli: &Cli, sent: u64, elapsed: Duration, late_ms: &mut f64) -> Due {
    if cli.rate == 0 {
        return Due::Now(BATCH as u64);
    }
    let rate = cli.rate as f64;
    let burst = cli.burst.unwrap_or((cli.rate / 1000).clamp(1, 32)).min(cli.count - sent);
    // The time at which the whole burst is due.
    let at = (sent + burst) as f64 / rate;
    let now = elapsed.as_secs_f64();
    if now < at {
        return Due::Later(Duration::from_secs_f64(at - now));
    }
    *late_ms = late_ms.max((now - at) * 1e3);
    Due::Now(((now * rate) as u64 - sent).clamp(burst, BATCH as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_packets_are_spread_and_keep_their_rate() {
        let mut tenths = [0; 10];
        for n in 0..400 {
            let late = numbered_at(n, 20) - Duration::from_millis(50 * n);
            assert!(late < SPREAD);
            tenths[(late.as_micros() / 1000) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (38..=42).contains(n)), "{tenths:?}");
    }
}
