//! The command line: the one definition of every option.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rpcap::output::Destination;
use rpcap::repair::Repair;
use rpcap::tls::Fingerprint;
use rpcap::url::Url;
use rpcap::values;
use rpcap_proto::wire::{SNAPLEN_MAX, Sampling};

/// Capture packets where they are, through an RPCAP daemon such as rpcapd.
#[derive(Debug, Parser)]
#[command(name = "rpcap", version, max_term_width = 100, after_help = crate::exit::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Devices(Devices),
    Capture(Capture),
    Listen(Listen),
    Demo(Demo),
    Extcap(Extcap),
    Read(Read),
    Merge(Merge),
}

/// List the devices of a daemon
#[derive(Debug, Args)]
#[command(after_help = crate::exit::HELP)]
pub(crate) struct Devices {
    /// The daemon: a name or an address, IPv6 in brackets; also as rpcap://HOST[:PORT]/, or as
    /// rpcaps://HOST[:PORT]/ with TLS
    #[arg(value_name = "HOST[:PORT]", value_parser = daemon)]
    pub(crate) daemon: Url,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// Capture from a device of a daemon
///
/// Without -w, one line is printed for every packet.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::HELP)]
pub(crate) struct Capture {
    /// The device, named as `rpcap devices` does, with rpcaps:// for TLS; % in its name is written
    /// %25
    #[arg(value_name = "rpcap://HOST[:PORT]/DEVICE")]
    pub(crate) url: Url,

    /// Which packets, in tcpdump's language (see pcap-filter(7)); needs libpcap
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,

    /// Which packets, as bytecode: what `tcpdump -ddd` prints, or @ and a file that holds it
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with = "filter")]
    pub(crate) filter_bytecode: Option<String>,

    /// Write packets to a file: pcapng, or pcap if it is called .pcap; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,

    /// Give packets to others while they come: interface:NAME (a virtual interface),
    /// pcap-over-ip:ADDRESS:PORT (whoever connects there), pcap-over-ip-connect:HOST:PORT, pipe:PATH,
    /// exec:COMMAND (its standard input), vxlan:HOST[,vni=N], directory:DIR; may be repeated
    #[arg(long, value_name = "KIND:PLACE")]
    pub(crate) to: Vec<Destination>,

    /// Make packets what they are on the wire: checksums that the sender left to its card, segments
    /// of those that are larger than the MTU [default: none, and checksums,segments for --to
    /// interface:NAME]
    #[arg(long, value_name = "checksums,segments[=MTU]")]
    pub(crate) repair: Option<Repair>,

    /// Most bytes of a packet
    #[arg(short, long, value_name = "BYTES", default_value_t = SNAPLEN_MAX,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SNAPLEN_MAX)))]
    pub(crate) snaplen: u32,

    /// End after this many packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// End after this time: seconds, or with a unit, such as 500ms, 10s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) duration: Option<Duration>,

    /// Have packets sent by UDP: loss on the way instead of waiting, and counted
    #[arg(long)]
    pub(crate) udp: bool,

    /// Take only packets that are meant for the daemon's host
    #[arg(long)]
    pub(crate) no_promisc: bool,

    /// Take one packet of N, or the first in every so many milliseconds
    #[arg(long, value_name = "1/N|TIME", value_parser = values::sampling)]
    pub(crate) sample: Option<Sampling>,

    /// Take only packets that come into the daemon's host
    #[arg(long, conflicts_with = "outbound")]
    pub(crate) inbound: bool,

    /// Take only packets that leave the daemon's host
    #[arg(long)]
    pub(crate) outbound: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// Collect packets from daemons that connect by themselves (active mode)
///
/// The policy says who may, what is captured, and where it goes. SIGHUP has it read again; SIGTERM
/// and SIGINT end all captures and finish all files, a second one ends at once.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::HELP)]
pub(crate) struct Listen {
    /// The policy: a TOML file
    #[arg(value_name = "FILE", required_unless_present = "example")]
    pub(crate) policy: Option<PathBuf>,

    /// Print a policy that has everything that can be said, with explanations, and end
    #[arg(long)]
    pub(crate) example: bool,

    /// Read the policy, say what is wrong with it, and end
    #[arg(long)]
    pub(crate) check: bool,

    /// Address to listen on; may be repeated [default: all, IPv4 and IPv6]
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) bind: Vec<IpAddr>,

    /// TCP port that daemons connect to; 0 for any free one
    #[arg(short, long, value_name = "PORT", default_value_t = 2003)]
    pub(crate) port: u16,

    /// UDP port that all daemons send packets to; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 2003)]
    pub(crate) data_port: u16,

    /// Threads that receive datagrams; more than one on Linux only [default: one for each core, at
    /// most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) receivers: Option<u8>,

    /// Most daemons at a time; further ones are turned away
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) max_agents: usize,

    /// Serve the status as JSON on a local socket: whoever connects is given it
    #[cfg(unix)]
    #[arg(long, value_name = "PATH")]
    pub(crate) status: Option<PathBuf>,

    /// Serve OpenMetrics over HTTP at this address, such as 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Serve a page that shows all of it, and its API, at this address, such as 127.0.0.1:8080, or at
    /// unix:PATH, a local socket; what others can reach needs [http] in the policy
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http: Option<rpcap::web::Address>,

    /// Show no table of agents, even on a terminal
    #[arg(long)]
    pub(crate) no_table: bool,

    /// How long a daemon may take for an answer
    #[arg(long, value_name = "TIME", value_parser = values::time, default_value = "10s")]
    pub(crate) timeout: Duration,
}

/// How to get to a daemon.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// How long to wait for a connection and for every answer
    #[arg(long, value_name = "TIME", value_parser = values::time, default_value = "10s")]
    pub(crate) timeout: Duration,

    /// Authenticate as this user; the password comes from RPCAP_PASSWORD, --password-file, or the
    /// terminal, and goes over the network unencrypted without TLS
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// A file whose first line is the password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) tls: Tls,
}

/// Which daemons are trusted, for rpcaps://. The system's certificates say so if nothing else does.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Trust daemons whose certificate is for the name in the URL and was made by a CA whose own is
    /// in this file (PEM), instead of those that the system trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Trust the daemon whose certificate has this fingerprint, as `rpcapd tls init` printed it,
    /// whatever else the certificate says; may be repeated
    #[arg(long, value_name = "SHA256", conflicts_with = "tls_ca")]
    pub(crate) tls_fingerprint: Vec<Fingerprint>,

    /// Trust whoever answers: what is encrypted may be encrypted for somebody else
    #[arg(long, conflicts_with_all = ["tls_ca", "tls_fingerprint"])]
    pub(crate) tls_insecure: bool,

    /// A certificate (PEM) to show to a daemon that wants one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The key (PEM) of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// Show that it works: start rpcapd on this host, capture real packets through it
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where to put the packets
    #[arg(short, long, value_name = "FILE", default_value = "demo.pcapng")]
    pub(crate) output: PathBuf,

    /// Serve the shipped capture file, even where real traffic could be made
    #[arg(long)]
    pub(crate) replay: bool,

    /// What the demonstration starts itself again as
    #[arg(long, hide = true, value_name = "PART")]
    pub(crate) part: Option<DemoPart>,

    /// The daemon's program
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) rpcapd: Option<PathBuf>,
}

/// Capture from within Wireshark and tshark
///
/// Once installed, they list "Remote capture (RPCAP)" and the devices of the hosts in
/// ~/.config/rpcap/hosts.toml as interfaces. They call the program themselves.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::HELP)]
pub(crate) struct Extcap {
    #[command(subcommand)]
    pub(crate) command: ExtcapCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExtcapCommand {
    /// Put a link to this program where Wireshark looks for capture programs
    Install(ExtcapFolder),
    /// Take it away again
    Uninstall(ExtcapFolder),
    /// Ask the known hosts for their devices now
    ///
    /// It also happens in the background whenever Wireshark lists interfaces.
    Refresh {
        /// Say nothing
        #[arg(short, long)]
        quiet: bool,
    },
}

/// Where Wireshark looks.
#[derive(Debug, Args)]
pub(crate) struct ExtcapFolder {
    /// For all users of this host, instead of for oneself
    #[arg(long)]
    pub(crate) system: bool,

    /// In this folder, instead of the one that `tshark -G folders` names
    #[arg(long, value_name = "DIR", conflicts_with = "system")]
    pub(crate) directory: Option<PathBuf>,
}

/// Find packets in files again
///
/// Files are read one after another, and a line is printed for every packet, or it is written with -w. Files
/// that `rpcap listen` has finished have an index: an hour out of a day is found without reading the day.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::HELP)]
pub(crate) struct Read {
    #[command(flatten)]
    pub(crate) find: Find,
}

/// Put packets of several files in the order of their times
///
/// Timestamps are corrected by what is known of the clocks of whoever captured, where `rpcap` has noted that in
/// the file. Without -w, a line is printed for every packet.
#[derive(Debug, Args)]
#[command(after_help = crate::exit::HELP)]
pub(crate) struct Merge {
    #[command(flatten)]
    pub(crate) find: Find,

    /// Leave timestamps as they are
    #[arg(long)]
    pub(crate) no_clock: bool,

    /// How much later than others a packet may stand in its file and still be put in order
    #[arg(long, value_name = "TIME", value_parser = values::time, default_value = "1s")]
    pub(crate) window: Duration,
}

/// Which packets of which files, and where they go.
#[derive(Debug, Args)]
pub(crate) struct Find {
    /// Savefiles (pcapng and pcap, also compressed with zstd), or directories of them; - for standard input
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Which packets, in tcpdump's language (see pcap-filter(7)); needs libpcap
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,

    /// Packets from this time on: 2026-11-27T10:00:00Z, "2026-11-27 10:00", 2026-11-27, 10:00 (today), or -1h
    /// (before now); in UTC unless another zone is named
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) since: Option<u64>,

    /// Packets before this time
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) until: Option<u64>,

    /// Packets of interfaces whose name, or whose agent's, is like this; * and ? stand for any characters, and it
    /// may be repeated. Files of `rpcap listen` have names such as "192.0.2.7 eth0"
    #[arg(long, value_name = "PATTERN")]
    pub(crate) agent: Vec<String>,

    /// End after this many packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// Write packets to a file: pcapng, or pcap if it is called .pcap; - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,

    /// Begin each line with the date
    #[arg(long, conflicts_with = "write")]
    pub(crate) date: bool,

    /// Put the name of the packet's interface into each line, such as "192.0.2.7 eth0"
    #[arg(long, conflicts_with = "write")]
    pub(crate) names: bool,

    /// Read all of every file, whatever its index says
    #[arg(long)]
    pub(crate) no_index: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

fn moment(text: &str) -> Result<u64, String> {
    rpcap::find::moment(text, jiff::Timestamp::now())
}

/// The processes of a demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DemoPart {
    /// In a network of its own: daemon, client, and one end of the cable.
    Near,
    /// In another: the other end.
    Far,
}

fn daemon(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|e| format!("{e}"))?;
    match url.device {
        None => Ok(url),
        Some(_) => Err("a daemon is wanted here, not a device".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// `RPCAP_BLESS=1` writes what is made of the definition instead of comparing it.
    fn kept(path: &str, made: &[u8]) {
        let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("RPCAP_BLESS").is_some() {
            std::fs::write(path, made).unwrap();
        } else {
            assert!(
                std::fs::read(&path).is_ok_and(|old| old == made),
                "{path} is out of date: run this test with RPCAP_BLESS=1"
            );
        }
    }

    #[test]
    fn the_manual_pages_say_what_help_says() {
        let mut command = Cli::command();
        command.build();
        let source = format!("rpcap {}", env!("CARGO_PKG_VERSION"));
        let mut left = vec![command];
        while let Some(command) = left.pop() {
            left.extend(command.get_subcommands().filter(|c| c.get_name() != "help").cloned());
            let name = command.get_display_name().unwrap_or("rpcap").to_owned();
            let mut page = Vec::new();
            let man = clap_mangen::Man::new(command).title(&name).section("1").source(&source);
            man.render(&mut page).unwrap();
            kept(&format!("docs/man/{name}.1"), &page);
        }
    }

    /// Without what --help does not show, which would be completed as well.
    fn shown(command: &clap::Command) -> clap::Command {
        clap::Command::new(&*command.get_name().to_owned().leak())
            .about(command.get_about().cloned().unwrap_or_default())
            .args(command.get_arguments().filter(|a| !a.is_hide_set()).cloned())
            .subcommands(command.get_subcommands().filter(|c| !c.is_hide_set()).map(shown))
            .version(env!("CARGO_PKG_VERSION"))
    }

    #[test]
    fn shells_complete_what_there_is() {
        use clap_complete::Shell::{Bash, Fish, Zsh};
        for (shell, file) in [(Bash, "rpcap.bash"), (Zsh, "_rpcap"), (Fish, "rpcap.fish")] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut shown(&Cli::command()), "rpcap", &mut script);
            kept(&format!("packaging/completions/{file}"), &script);
        }
    }

    /// The sample, which is what `rpcap listen --example` prints, is also the page about it.
    #[test]
    fn the_manual_page_of_the_policy_is_the_sample() {
        let mut page = roff::Roff::new();
        page.control("TH", ["rpcap-listen.toml", "5"]);
        let mut section = |name: &str, text: &str| {
            page.control("SH", [name]).text([roff::roman(text)]);
        };
        section("NAME", "rpcap-listen.toml - policy of rpcap listen");
        section(
            "DESCRIPTION",
            "Which daemons may send to rpcap listen, what is captured, and where packets go. rpcap \
             listen --check looks for mistakes in a policy. This is one with everything that can be \
             said; keys in comments may be left out.",
        );
        page.control("PP", []).control("nf", []);
        for line in include_str!("../../../docs/rpcap-listen.toml").lines() {
            page.text([roff::roman(line)]);
        }
        page.control("fi", []).control("SH", ["SEE ALSO"]);
        page.text([
            roff::bold("rpcap-listen"),
            roff::roman("(1), "),
            roff::bold("pcap-filter"),
            roff::roman("(7)"),
        ]);
        kept("docs/man/rpcap-listen.toml.5", page.to_roff().as_bytes());
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
