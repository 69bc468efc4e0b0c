//! What the operator wants, as sessions use it.

use std::sync::{Arc, Mutex};

use rpcap_proto::session::Start;
use rpcap_proto::wire::StartFlags;

use crate::auth::{Owner, Rights, Users};
use crate::cli::Cli;
use crate::devices::{Backend, View};
use crate::locked::lock;
use crate::peers::{PEERS_MAX, Peer};
use crate::preselect::Preselect;
#[cfg(target_os = "linux")]
use crate::privileges::Role;
use crate::tls::Tls;
use crate::transport::{Framing, Options};

/// Bytes of a udpstr datagram where nobody chose: what Ethernet carries.
const UDPSTR_MTU: usize = 1472;

/// Everything that can be set, checked. It never changes: a reload makes another one.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The options, from the command line and the configuration file.
    pub cli: Cli,
    /// How packets are sent.
    pub transport: Options,
    /// What connections are encrypted with.
    pub tls: Option<Tls>,
    /// Those who may log in with a password.
    pub users: Users,
    /// Whom to call.
    pub peers: Vec<Arc<Peer>>,
}

impl Settings {
    /// Checks what options cannot say by themselves. An error is something that this host cannot
    /// do, or that makes no sense together.
    pub fn new(cli: Cli) -> Result<Self, String> {
        let transport = cli.transport();
        let peers = cli.active.iter().flat_map(|list| &list.0).chain(&cli.peers);
        let peers: Vec<_> = peers.cloned().map(Arc::new).collect();
        if peers.len() > PEERS_MAX {
            return Err(format!("{} collectors to call: {PEERS_MAX} are the most", peers.len()));
        }
        #[cfg(windows)]
        not_on_windows(&cli)?;
        if cli.max_cpu.is_some() && !cfg!(any(target_os = "linux", windows)) {
            return Err("--max-cpu is there on Linux and Windows only".to_owned());
        }
        // Whoever offers savefiles only can do so anywhere.
        if cli.backend == Backend::Libpcap && cli.replay.is_empty() {
            capture::libpcap::load().map_err(|e| e.to_string())?;
        }
        if cli.active_only && peers.is_empty() {
            return Err("--active-only, but there is nobody to call: name a collector with \
                        --active"
                .to_owned());
        }
        if let Some(pair) = peers.iter().enumerate().find(|(n, p)| peers[..*n].contains(p)) {
            return Err(format!("{} is to be called twice", pair.1));
        }
        let named = cli.pam_users.is_some() || cli.pam_groups.is_some();
        if cli.pam && !cfg!(target_os = "linux") {
            return Err("--pam is there on Linux only".to_owned());
        }
        if cli.accounts() && !cli.pam && !cfg!(windows) {
            return Err("--windows-users and --windows-groups are there on Windows only".to_owned());
        }
        if cli.pam != named {
            return Err(match cli.pam {
                true => {
                    "--pam lets nobody in: name accounts with --pam-users, or groups of them \
                         with --pam-groups"
                }
                false => "--pam-users and --pam-groups are for --pam, which is not given",
            }
            .to_owned());
        }
        let users = match &cli.users {
            Some(path) => {
                Users::read(path, |owner| is_servant(&cli, owner)).map_err(|e| e.to_string())?
            }
            None => Users::default(),
        };
        let tls = match (&cli.tls_cert, &cli.tls_key) {
            _ if !cli.tls => None,
            (Some(cert), Some(key)) => Some(Tls::load(cert, key, cli.tls_client_ca.as_deref())?),
            _ => return Err("--tls needs --tls-cert and --tls-key: see rpcapd tls init".to_owned()),
        };
        if let Some(peer) = peers.iter().find(|p| p.tls == Some(true) && tls.is_none()) {
            return Err(format!("[[peer]] {peer}: tls = true needs --tls and its certificate"));
        }
        Ok(Self { cli, transport, tls, users, peers })
    }
}

/// Options that Windows has no use for, with what there is instead.
#[cfg(windows)]
fn not_on_windows(cli: &Cli) -> Result<(), String> {
    let socket = cli.status_socket.as_deref();
    let given = [
        (cli.pid_file.is_some(), "--pid-file", "the service manager knows its processes"),
        (cli.user.is_some(), "--user", "rpcapd service install --account says whom it runs as"),
        (socket.is_some_and(|s| s != "none"), "--status-socket", "--metrics tells how it goes"),
        (
            cli.bind_device.is_some(),
            "--bind-device",
            "routes say how packets leave; -b the address",
        ),
    ];
    match given.into_iter().find(|(given, ..)| *given) {
        Some((_, option, instead)) => Err(format!("{option} is not there on Windows: {instead}")),
        None => Ok(()),
    }
}

/// Whether this is the user that the daemon is to run as, or its group.
fn is_servant(cli: &Cli, owner: Owner) -> bool {
    #[cfg(target_os = "linux")]
    return Role::of(cli.user.as_deref()).is_ok_and(|role| {
        role.servant().is_some_and(|servant| match owner {
            Owner::User(user) => servant.uid.as_raw() == user,
            Owner::Group(group) => servant.gid.as_raw() == group,
        })
    });
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (cli, owner);
        false
    }
}

/// The settings in force.
#[derive(Debug)]
pub struct Current(Mutex<Arc<Settings>>);

impl Current {
    /// Begins with these.
    pub fn new(settings: Settings) -> Self {
        Self(Mutex::new(Arc::new(settings)))
    }

    /// The settings of now. Who began with them keeps them.
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.0))
    }

    /// Puts others in their place.
    pub fn set(&self, settings: Settings) {
        *lock(&self.0) = Arc::new(settings);
    }
}

/// The terms on which one client is served.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The settings when its session began.
    pub settings: Arc<Settings>,
    /// Whom the daemon called; `None` if the client called.
    pub peer: Option<Arc<Peer>>,
    /// What the client may do by who it is.
    pub rights: Rights,
}

impl Terms {
    /// Whether the daemon called the client.
    pub fn active(&self) -> bool {
        self.peer.is_some()
    }

    /// The devices as this client sees them.
    pub fn devices(&self) -> View<'_> {
        let cli = &self.settings.cli;
        let rules = [cli.devices.as_ref(), self.rights.devices.as_ref()];
        let preselect = self.preselect();
        View { replays: &cli.replay, rules, preselect, backend: cli.backend }
    }

    fn preselect(&self) -> Option<&Preselect> {
        let of_peer = self.peer.as_ref().and_then(|p| p.preselect.as_ref());
        of_peer.or(self.settings.cli.interface.as_ref())
    }

    /// Most bytes of each packet that the client may have.
    pub fn snaplen(&self) -> u32 {
        let of_peer = self.peer.as_ref().and_then(|p| p.snaplen);
        let limits = [of_peer, self.rights.snaplen, self.settings.cli.snaplen];
        limits.into_iter().flatten().min().unwrap_or(u32::MAX)
    }

    /// The filter that packets must pass besides the client's own.
    pub fn filter(&self) -> Option<String> {
        let of_peer = self.peer.as_ref().and_then(|p| p.filter.as_ref());
        let filters = [of_peer, self.rights.filter.as_ref(), self.settings.cli.filter.as_ref()];
        let filters: Vec<_> = filters.into_iter().flatten().map(|f| format!("({f})")).collect();
        (!filters.is_empty()).then(|| filters.join(" and "))
    }

    /// What the client's connections are encrypted with, if they are.
    pub fn tls(&self) -> Option<&Tls> {
        let of_peer = self.peer.as_ref().and_then(|p| p.tls);
        self.settings.tls.as_ref().filter(|_| of_peer != Some(false))
    }

    /// The interface that connections to the client leave by.
    pub fn bind_device(&self) -> Option<&str> {
        let of_peer = self.peer.as_ref().and_then(|p| p.bind_device.as_deref());
        of_peer.or(self.settings.cli.bind_device.as_deref())
    }

    /// What the client's datagrams carry: as the operator says; otherwise as the client asks, and
    /// collectors get what ExtraHop's sensors expect.
    pub fn framing(&self, start: &Start) -> Framing {
        let of_peer = self.peer.as_ref().and_then(|p| p.udpstr_mtu);
        match of_peer.or(self.settings.cli.udpstr_mtu) {
            Some(0) => Framing::Messages,
            Some(mtu) => Framing::UdpStream(mtu),
            None if self.active() || start.flags.contains(StartFlags::UDPSTR) => {
                Framing::UdpStream(UDPSTR_MTU)
            }
            None => Framing::Messages,
        }
    }
}
