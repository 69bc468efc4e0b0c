//! The command line: the one definition of every option.

mod help;
mod values;

#[cfg(test)]
pub(crate) mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::allow::AllowList;
#[cfg(target_os = "linux")]
use crate::auth::HelperArgs;
use crate::auth::{Names, UserCommand};
use crate::devices::{Backend, Rules};
use crate::limits::cpu::Percent;
use crate::limits::rate::Rate;
use crate::logging::{Facility, Format, Level, Logging, Target};
use crate::peers::{Peer, PeerList};
use crate::preselect::Preselect;
use crate::sandbox::Mode;
#[cfg(windows)]
use crate::service::ServiceCommand;
use crate::tls::InitArgs;
use crate::transport::{Options, Threads};
use help::AFTER_HELP;
use values::{milliseconds, nice, preselect, rate, seconds, service, threads, udpstr_mtu, user};

pub use values::Replay;
pub(crate) use values::filter;

/// Capture packets on this host and forward them to clients over RPCAP.
///
/// Short options mean what they mean to ExtraHop's rpcapd.
#[derive(Clone, Debug, Parser)]
#[command(name = "rpcapd", version, max_term_width = 100, after_long_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// What the daemon is to do.
    #[command(flatten)]
    pub cli: Cli,
    /// Whether this is the process in the background that -d starts.
    #[arg(long, hide = true)]
    pub detached: bool,
    /// What to do instead of being the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does besides being the daemon.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Check a configuration file, and what it asks of this host
    CheckConfig {
        /// The file, as -f would read it
        file: PathBuf,
    },
    /// Print the settings that these options and their file make, and where each is from, as a toml
    /// file; with -s save them as well
    PrintConfig(Box<Cli>),
    /// Make what TLS needs
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Manage those who may log in with a password
    #[command(subcommand)]
    User(UserCommand),
    /// Show what the daemon does: collectors, sessions, captures, devices, and every count
    #[cfg(unix)]
    Status(StatusArgs),
    /// Have the daemon read its configuration again, and say what changed
    #[cfg(unix)]
    Reload(SocketArgs),
    /// Install, remove, start and stop the daemon as a service of Windows
    #[cfg(windows)]
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Answer the daemon that started this process
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    PamHelper(HelperArgs),
}

/// What TLS needs.
#[derive(Clone, Debug, Subcommand)]
pub enum TlsCommand {
    /// Make a key, and a certificate that vouches for itself, and print its fingerprint
    Init(InitArgs),
}

/// Options of `rpcapd status`.
#[cfg(unix)]
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Which daemon is asked.
    #[command(flatten)]
    pub socket: SocketArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which daemon is asked.
#[cfg(unix)]
#[derive(Clone, Debug, Args)]
pub struct SocketArgs {
    /// Its local socket [default: /run/rpcapd/rpcapd.sock for root, rpcapd.sock in
    /// $XDG_RUNTIME_DIR for others]
    #[arg(long, value_name = "PATH")]
    pub status_socket: Option<PathBuf>,
}

/// Everything that can be set; a configuration file has the same names.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Cli {
    /// Read settings from a file too: toml if its name ends in .toml (rpcapd.toml(5)), otherwise
    /// the ini of ExtraHop's and libpcap's rpcapd. What the command line says wins; SIGHUP reads
    /// the file again
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Save the settings to a file that loads back to the same, toml or ini by its name, and go on
    #[arg(short = 's', long, value_name = "FILE")]
    pub save: Option<PathBuf>,

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

    /// Encrypt connections (TLS 1.2 and 1.3), and refuse clients that do not
    #[arg(long)]
    pub tls: bool,

    /// The certificate that clients are shown (PEM), with those that vouch for it behind it
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's key (PEM). Only its owner and group may be able to read it
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Let in only clients that have a certificate which one in this file (PEM) vouches for
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// Let in those that this file names, with their passwords, or with certificates that
    /// --tls-client-ca takes (rpcapd user add). Only its owner may be able to read it, or, if that is
    /// root, the daemon's group
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,

    /// Let in accounts of this host, with their passwords (PAM). Names that the file of users has
    /// are let in as it says only. Linux only
    #[arg(long)]
    #[cfg_attr(windows, arg(hide = true))]
    pub pam: bool,

    /// Accounts that --pam lets in, separated by commas. Root has to be named
    #[arg(long, value_name = "NAMES")]
    #[cfg_attr(windows, arg(hide = true))]
    pub pam_users: Option<Names>,

    /// Groups whose members --pam lets in, separated by commas
    #[arg(long, value_name = "NAMES")]
    #[cfg_attr(windows, arg(hide = true))]
    pub pam_groups: Option<Names>,

    /// The service of --pam: a file in /etc/pam.d
    #[arg(long, value_name = "NAME", value_parser = service, default_value = "rpcapd")]
    #[cfg_attr(windows, arg(hide = true))]
    pub pam_service: String,

    /// Accounts of Windows to let in, with their passwords, separated by commas: NAME or DOMAIN\NAME.
    /// The built-in administrator has to be named. Names that the file of users has are let in as it
    /// says only. Windows only
    #[arg(long, value_name = "NAMES")]
    pub windows_users: Option<Names>,

    /// Local groups of Windows whose members are let in the same way, separated by commas. Windows
    /// only
    #[arg(long, value_name = "NAMES")]
    pub windows_groups: Option<Names>,

    /// Take passwords over connections that are not encrypted, where others can read them
    #[arg(long)]
    pub allow_cleartext_passwords: bool,

    /// Collectors to call: HOST,PORT,ifname=NAME,ifaddr=PREFIX and so on with the next one. Without
    /// a port it is 2003; ifname and ifaddr, which may be left out, choose the interface that this
    /// collector may open. May be repeated
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

    /// By what means packets are captured. libpcap also has devices that are no network interfaces,
    /// such as nflog, usbmon and bluetooth, as far as this host has them
    #[arg(long, value_name = "BACKEND", value_enum, default_value_t)]
    pub backend: Backend,

    /// A filter (pcap-filter(7)) that packets must pass besides the client's own
    #[arg(long, value_name = "FILTER", value_parser = filter)]
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

    /// Most captures at a time; a client that asks for one more is told so [default: one for each
    /// session]
    #[arg(long, value_name = "N")]
    pub max_captures: Option<usize>,

    /// Most bytes for packets of all captures together: their buffers (--buffer) and what waits to
    /// be sent. A capture that would take more is refused [default: no limit]
    #[arg(long, value_name = "BYTES")]
    pub max_memory: Option<u64>,

    /// Most that all captures together send: bits a second (bit, kbit, Mbit, Gbit), frames a second
    /// (pps, kpps, Mpps), or both, such as 100Mbit,20kpps; headers from Ethernet's on count. Packets
    /// beyond it are left out and counted [default: no limit]
    #[arg(long, value_name = "RATE[,RATE]", value_parser = rate)]
    pub max_rate: Option<Rate>,

    /// Most CPU time of all threads that capture and send, in percent of one core, such as 25%. When
    /// it is used up, only one of 2, 4, 8 and so on flows is forwarded, and in the end nothing for
    /// the rest of a tenth of a second; packets left out are counted [default: no limit]
    #[arg(long, value_name = "PERCENT")]
    pub max_cpu: Option<Percent>,

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

    /// The user to run as once everything is open; CAP_NET_RAW is kept, and nothing else. root: stay
    /// root, which is dangerous [default: if root starts it rpcapd, or nobody if there is no such
    /// user; otherwise who starts it]
    #[arg(long, value_name = "NAME", value_parser = user)]
    #[cfg_attr(windows, arg(hide = true))]
    pub user: Option<String>,

    /// What becomes of files and system calls that the daemon has no need of, once it is open
    #[arg(long, value_name = "MODE", default_value = "enforce")]
    #[cfg_attr(windows, arg(hide = true))]
    pub sandbox: Mode,

    /// The local socket that "rpcapd status" and "rpcapd reload" ask; "none": none [default:
    /// /run/rpcapd/rpcapd.sock for root, rpcapd.sock in $XDG_RUNTIME_DIR for others]
    #[arg(long, value_name = "PATH")]
    #[cfg_attr(windows, arg(hide = true))]
    pub status_socket: Option<PathBuf>,

    /// Serve metrics for Prometheus at http://ADDRESS:PORT/metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,

    /// Run in the background, once everything that can fail has not. On Windows: be the service that
    /// the service manager starts
    #[arg(short = 'd', long)]
    pub daemon: bool,

    /// Serve the one client whose connection is standard input, as inetd starts it, then end
    #[arg(long, conflicts_with_all = ["active", "active_only", "daemon", "metrics", "pid_file"])]
    #[cfg_attr(windows, arg(hide = true))]
    pub inetd: bool,

    /// A file for the daemon's process number; a second daemon with the same file does not start
    /// [default: with -d /run/rpcapd.pid for root, rpcapd.pid in $XDG_RUNTIME_DIR for others]
    #[arg(long, value_name = "PATH")]
    #[cfg_attr(windows, arg(hide = true))]
    pub pid_file: Option<PathBuf>,

    /// Where the log goes: stderr; journald; syslog, or the name of one of its facilities, such as
    /// local0 (in the foreground to standard error as well). -L alone: syslog, which on Windows is
    /// the event log [default: stderr; with -d syslog, and with --inetd where standard error is the
    /// client's connection]
    #[arg(short = 'L', long, value_name = "TARGET", num_args = 0..=1, require_equals = true,
          default_missing_value = "syslog")]
    pub log: Option<Target>,

    /// How much is logged
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: Level,

    /// What a line of the log looks like
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: Format,

    /// Log what only a developer wants to know: --log-level debug
    #[arg(long)]
    pub debug: bool,

    /// Collectors that a file describes in more words than --active has
    #[arg(skip)]
    pub peers: Vec<Peer>,
}

/// Bytes of a UDP data connection's send buffer: a ring's worth may come in one go.
const SEND_BUFFER: u32 = 8 * 1024 * 1024;

/// The largest that there can be: the kernel doubles it and has an `int` for it.
const SEND_BUFFER_MAX: u32 = i32::MAX as u32 / 2;

impl Cli {
    /// What is logged, where and how.
    ///
    /// `stderr`: whether standard error can be logged to.
    pub fn logging(&self, stderr: bool) -> Logging {
        Logging {
            target: self.log.unwrap_or(match self.daemon || !stderr {
                true => Target::Syslog(Facility::DAEMON),
                false => Target::Stderr,
            }),
            level: if self.debug { Level::Debug } else { self.log_level },
            format: self.log_format,
            stderr,
        }
    }

    /// Whether accounts of the system are let in.
    pub fn accounts(&self) -> bool {
        self.pam || self.windows_users.is_some() || self.windows_groups.is_some()
    }

    /// Whether two mean the same, wherever it is from. Collectors are the same in either form.
    pub fn same_settings(&self, other: &Self) -> bool {
        let normal = |cli: &Self| {
            let described = cli.peers.iter().cloned();
            let peers = cli.active.iter().flat_map(|list| list.0.iter().cloned()).chain(described);
            let (peers, active) = (peers.collect(), Vec::new());
            // How it is started is in no file.
            let (config, save, daemon, inetd) = (None, None, false, false);
            Self { config, save, daemon, inetd, active, peers, ..cli.clone() }
        };
        normal(self) == normal(other)
    }

    /// How packets are sent.
    pub fn transport(&self) -> Options {
        let send_buffer = if self.send_buffer < 16_384 { SEND_BUFFER } else { self.send_buffer };
        let send_buffer = send_buffer.min(SEND_BUFFER_MAX);
        Options {
            send_buffer: send_buffer as usize,
            blocking: self.blocking_send,
            dry_run: self.dry_run,
            fragments: self.allow_fragments,
            threads: self.threads,
            nice: self.nice,
            queue_bytes: self.queue_megabytes as usize * 1_000_000,
            queue_packets: self.queue_packets.next_power_of_two() as usize,
        }
    }
}
