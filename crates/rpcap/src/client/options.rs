use std::fmt;
use std::time::Duration;

use rpcap_proto::bpf::Instruction;
use rpcap_proto::wire::{SNAPLEN_MAX, StartFlags};

/// Who the client says it is.
#[derive(Clone)]
pub enum Credentials {
    /// Nobody in particular.
    Null,
    /// A user; both travel in the clear.
    Password {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
}

/// Shows no password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Password { user, .. } => f.debug_tuple("Password").field(user).finish(),
        }
    }
}

/// The way packets travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A stream: nothing is lost on the way, a slow receiver makes the daemon's kernel drop.
    #[default]
    Tcp,
    /// Datagrams: what the network or the receiver cannot take is lost and counted.
    Udp,
}

/// What to capture and how.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// Most bytes of a packet; 0, and more than anybody captures, is as much as can be.
    pub snaplen: u32,
    /// Whether to take packets that are not for the daemon's host.
    pub promisc: bool,
    /// Further flags: direction, extensions.
    pub flags: StartFlags,
    /// How long the daemon may gather packets.
    pub read_timeout: Duration,
    /// The way packets travel.
    pub transport: Transport,
    /// Which packets; empty for all.
    pub filter: Vec<Instruction>,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            snaplen: SNAPLEN_MAX,
            promisc: true,
            flags: StartFlags::default(),
            // What tcpdump makes of its own timeout for remote devices.
            read_timeout: Duration::from_millis(500),
            transport: Transport::Tcp,
            filter: Vec::new(),
        }
    }
}
