//! The command line: the one definition of every option.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::allow::AllowList;

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
  rpcapd -n -b 127.0.0.1 -p 2012      on loopback, for a tunnel";

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

    /// Bytes of the kernel's capture buffer, for each capture
    #[arg(short = 'z', long, value_name = "BYTES", default_value_t = 16 * 1024 * 1024,
          value_parser = clap::value_parser!(u64).range(4096..=1 << 40))]
    pub buffer: u64,

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
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }
}
