//! The command line: the one definition of every option.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use rpcap_proto::udpstr::{MTU_MAX, MTU_MIN};

use crate::allow::AllowList;
use crate::devices::Rules;
use crate::peers::PeerList;
use crate::preselect::Preselect;
use crate::transport::{Core, Options, Threads, place};

const AFTER_HELP: &str = "\
SIGNALS
  SIGTERM and SIGINT end all sessions and captures, then the daemon; a second one ends it at once.

EXIT CODES
  0  ended by a signal
  1  could not start, for the reason given on standard error
  2  wrong command line

CAPTURING needs the capability CAP_NET_RAW: run as root, or setcap cap_net_raw+ep on the program.

EXAMPLES
  rpcapd -n -l 192.0.2.10             let one host in, without a password
  rpcapd -n -b 127.0.0.1 -p 2012      on loopback, for a tunnel
  rpcapd -n -v -a collector,2003      call a collector, listen for nobody";

/// Capture packets on this host and forward them to clients over RPCAP.
///
/// Short options mean what they mean to ExtraHop's rpcapd.
#[derive(Clone, Debug, Parser)]
#[command(name = "rpcapd", version, max_term_width = 100, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// Name or address to listen on [default: all addresses, IPv4 and IPv6]
    #[arg(short, long, value_name = "ADDRESS")]
    pub bind: Option<String>,

    /// Port to listen on; 0 lets the system choose
    #[arg(short, long, value_name = "PORT", default_value_t = 2002)]
    pub port: u16,

    /// Use IPv4 only
    #[arg(short = '4', long)]
    pub ipv4_only: bool,

    /// Hosts that may connect: names, addresses and prefixes such as 10.0.0.0/8, separated by
    /// commas, semicolons or spaces [default: everybody]
    #[arg(short = 'l', long, value_name = "LIST")]
    pub allow: Option<AllowList>,

    /// Let clients in that give no name and no password
    #[arg(short = 'n', long)]
    pub null_auth: bool,

    /// Collectors to call: HOST[,PORT][,ifname=NAME][,ifaddr=PREFIX] and so on with the next one;
    /// the port is 2003 if left out; ifname and ifaddr choose the interface that this collector may
    /// open. May be repeated
    #[arg(short = 'a', long, value_name = "HOST,PORT...")]
    pub active: Vec<PeerList>,

    /// Call collectors only, listen for nobody
    #[arg(short = 'v', long)]
    pub active_only: bool,

    /// Call a collector again that closed its session in good order
    #[arg(long)]
    pub reconnect_after_close: bool,

    /// The only interface that clients may open; first in their list, and marked there
    #[arg(short = 'i', long, value_name = "NAME", value_parser = preselect)]
    pub interface: Option<Preselect>,

    /// Devices that there are for clients: patterns with * and ?, separated by commas; ! before a
    /// pattern leaves devices out. "any" has to be named [default: all]
    #[arg(long, value_name = "PATTERNS")]
    pub devices: Option<Rules>,

    /// A filter (pcap-filter(7)) that packets must pass besides the client's own
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,

    /// Most bytes of each packet that a client may have [default: as it asks]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    pub snaplen: Option<u32>,

    /// The interface that connections to clients leave by [default: as the routes say]
    #[arg(long, value_name = "NAME")]
    pub bind_device: Option<String>,

    /// Bytes of the kernel's capture buffer, for each capture
    #[arg(short = 'z', long, value_name = "BYTES", default_value_t = 16 * 1024 * 1024,
          value_parser = clap::value_parser!(u64).range(4096..=1 << 40))]
    pub buffer: u64,

    /// Bytes of a UDP datagram that several packets share (udpstr), 256 to 65000; 0: one packet in
    /// each, as libpcap's clients expect. A datagram is never larger than the path takes [default:
    /// 1472 for collectors that are called and clients that ask for udpstr, 0 for others]
    #[arg(short = 't', long, value_name = "BYTES", value_parser = udpstr_mtu)]
    pub udpstr_mtu: Option<usize>,

    /// Most milliseconds that a packet waits for others on this host
    #[arg(long, value_name = "MS", default_value = "10", value_parser = milliseconds)]
    pub latency: Duration,

    /// Bytes of a UDP data connection's send buffer; below 16384: the default
    #[arg(short = 'u', long, value_name = "BYTES", default_value_t = SEND_BUFFER)]
    pub send_buffer: u32,

    /// Wait for as long as it takes while a UDP data connection's send buffer is full, instead of
    /// giving a datagram up after 100 ms
    #[arg(short = 'g', long)]
    pub blocking_send: bool,

    /// Let packets that do not fit into one datagram travel in fragments of IP, instead of cutting
    /// them off; concerns UDP with one packet in each datagram
    #[arg(long)]
    pub allow_fragments: bool,

    /// Capture and count, but send no packets
    #[arg(short = 'y', long)]
    pub dry_run: bool,

    /// "single": one thread captures and sends; N: the same, on core N; A,B: one captures on core
    /// A, another one sends on core B; -1: on any core
    #[arg(short = 'c', long, value_name = "CORES", default_value = "single",
          value_parser = threads, allow_hyphen_values = true)]
    pub threads: Threads,

    /// Nice values of the thread that captures and of the one that sends, 1000: leave it as it is
    #[arg(short = 'e', long, value_name = "A,B", default_value = "1000,1000",
          value_parser = nice, allow_hyphen_values = true)]
    pub nice: (Option<i32>, Option<i32>),

    /// Millions of bytes between the thread that captures and the one that sends
    #[arg(short = 'm', long, value_name = "MB", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub queue_megabytes: u32,

    /// Packets between the thread that captures and the one that sends; rounded up to a power of
    /// two, and at least a batch
    #[arg(short = 'k', long, value_name = "PACKETS", default_value_t = 65_536,
          value_parser = clap::value_parser!(u32).range(8..=1 << 30))]
    pub queue_packets: u32,

    /// Log the statistics whenever a client asks for them: since it last asked, and in all
    #[arg(short = 'S', long)]
    pub log_statistics: bool,

    /// Port to listen on for data connections, where the client opens them [default: any free one]
    #[arg(long, value_name = "PORT")]
    pub data_port: Option<u16>,

    /// Let captures contain the packets of this daemon's own connections
    #[arg(long)]
    pub capture_own_traffic: bool,

    /// Most sessions at a time; connections beyond it are closed
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_sessions: usize,

    /// Offer the packets of a savefile as a device, at the pace of their timestamps
    #[arg(long, value_name = "NAME=FILE")]
    pub replay: Vec<Replay>,

    /// Seconds that a client may take to authenticate
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "90")]
    pub init_timeout: Duration,

    /// Seconds that a client may stay silent while it captures nothing
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "180")]
    pub idle_timeout: Duration,

    /// Seconds that a message may take from its first byte to its last
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    pub message_timeout: Duration,

    /// Log what only a developer wants to know
    #[arg(long)]
    pub debug: bool,
}

/// Bytes of a UDP data connection's send buffer: a ring's worth may come in one go.
const SEND_BUFFER: u32 = 8 * 1024 * 1024;

impl Cli {
    /// How packets are sent. An error is something that this host cannot do.
    pub fn transport(&self) -> Result<Options, String> {
        let cores = match self.threads {
            Threads::One(core) => [core, None],
            Threads::Two(capture, send) => [capture, send],
        };
        for core in cores.into_iter().flatten() {
            place::check(core).map_err(|e| format!("--threads: {e}"))?;
        }
        let send_buffer = if self.send_buffer < 16_384 { SEND_BUFFER } else { self.send_buffer };
        Ok(Options {
            send_buffer: send_buffer as usize,
            blocking: self.blocking_send,
            dry_run: self.dry_run,
            fragments: self.allow_fragments,
            threads: self.threads,
            nice: self.nice,
            queue_bytes: self.queue_megabytes as usize * 1_000_000,
            queue_packets: self.queue_packets.next_power_of_two() as usize,
        })
    }
}

fn preselect(name: &str) -> Result<Preselect, String> {
    match name {
        "" => Err("expected the name of an interface".to_owned()),
        name => Ok(Preselect::named(name)),
    }
}

fn udpstr_mtu(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(mtu) if mtu == 0 || (MTU_MIN..=MTU_MAX).contains(&mtu) => Ok(mtu),
        _ => Err(format!("expected 0 or a number from {MTU_MIN} to {MTU_MAX}")),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 1..=60_000) => Ok(Duration::from_millis(ms)),
        _ => Err("expected a number of milliseconds from 1 to 60000".to_owned()),
    }
}

fn threads(text: &str) -> Result<Threads, String> {
    let core = |text: &str| match text.trim() {
        "-1" => Ok(None),
        n => n
            .parse()
            .map(Core::Some)
            .map_err(|_| "expected single, N or A,B, with cores from 0, or -1 for any".to_owned()),
    };
    match text.split_once(',') {
        _ if text == "single" => Ok(Threads::One(None)),
        None => core(text).map(Threads::One),
        Some((capture, send)) => Ok(Threads::Two(core(capture)?, core(send)?)),
    }
}

fn nice(text: &str) -> Result<(Option<i32>, Option<i32>), String> {
    let value = |text: &str| match text.trim().parse() {
        Ok(1000) => Ok(None),
        Ok(n @ -20..=19) => Ok(Some(n)),
        _ => Err("expected A,B, each from -20 to 19, or 1000".to_owned()),
    };
    let (capture, send) = text.split_once(',').unwrap_or((text, "1000"));
    Ok((value(capture)?, value(send)?))
}

/// A savefile that stands in for an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// What clients call it.
    pub name: String,
    /// Where its packets are.
    pub file: PathBuf,
}

impl std::str::FromStr for Replay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err("expected NAME=FILE, such as demo0=/tmp/packets.pcap".to_owned()),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 31_536_000.0 => Ok(Duration::from_secs_f64(s)),
        _ => Err("expected a number of seconds above 0 and up to a year".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// `RPCAP_BLESS=1` writes the page instead of comparing it.
    #[test]
    fn the_manual_page_says_what_help_says() {
        let command = Cli::command();
        let mut page = Vec::new();
        clap_mangen::Man::new(command).section("8").render(&mut page).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/man/rpcapd.8");
        if std::env::var_os("RPCAP_BLESS").is_some() {
            std::fs::write(path, page).unwrap();
        } else {
            let written = std::fs::read_to_string(path).unwrap();
            assert!(
                written == String::from_utf8(page).unwrap(),
                "docs/man/rpcapd.8 is out of date: run this test with RPCAP_BLESS=1"
            );
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for args in [
            ["rpcapd", "--replay", "x"],
            ["rpcapd", "--idle-timeout", "0"],
            ["rpcapd", "--idle-timeout", "NaN"],
            ["rpcapd", "-z", "0"],
            ["rpcapd", "-p", "65536"],
            ["rpcapd", "-l", "10.0.0.0/33"],
            ["rpcapd", "--latency", "0"],
            ["rpcapd", "-c", "two"],
            ["rpcapd", "-c", "0,1,2"],
            ["rpcapd", "-c", "-2"],
            ["rpcapd", "-e", "20,0"],
            ["rpcapd", "-m", "0"],
            ["rpcapd", "-k", "7"],
            ["rpcapd", "-u", "-1"],
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn d7_105_udpstr_limits() {
        let limit = |text| {
            Cli::try_parse_from(["rpcapd", "-t", text]).ok().map(|cli| cli.udpstr_mtu.unwrap())
        };
        for (text, taken) in [("0", 0), ("256", 256), ("1472", 1472), ("65000", 65_000)] {
            assert_eq!(limit(text), Some(taken));
        }
        for text in ["1", "36", "37", "255", "65001", "70000", "-1", "abc", "", "1e3"] {
            assert_eq!(limit(text), None, "{text}");
        }
    }

    #[test]
    fn what_the_options_of_the_data_path_mean() {
        let options = |args: &[&str]| {
            let args = ["rpcapd"].iter().chain(args);
            Cli::try_parse_from(args).unwrap().transport()
        };
        let plain = options(&[]).unwrap();
        assert_eq!((plain.threads, plain.nice), (Threads::One(None), (None, None)));
        assert_eq!((plain.send_buffer, plain.queue_bytes), (8 << 20, 64_000_000));
        let set = options(&["-c", "-1,0", "-e", "-5,1000", "-k", "1000", "-u", "100"]).unwrap();
        assert_eq!((set.threads, set.nice), (Threads::Two(None, Some(0)), (Some(-5), None)));
        assert_eq!((set.queue_packets, set.send_buffer), (1024, 8 << 20));
        assert_eq!(options(&["-c", "0"]).unwrap().threads, Threads::One(Some(0)));
        assert!(options(&["-c", "100000"]).unwrap_err().contains("core 100000"));
    }
}
