//! Whom to capture from, out of the options and the known hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use rpcap::client::{Client, Credentials};
use rpcap::extcap::cache::Cache;
use rpcap::extcap::hosts::{self, Host};
use rpcap::extcap::interfaces;
use rpcap::tls::{Tls, TlsOptions};
use rpcap::url::{self, DEFAULT_PORT, Endpoint, Url};

use super::askpass;
use super::call::Call;
use crate::commands::password;
use crate::interrupt::Interrupts;

/// Where daemons that dial in go, unless told otherwise.
const ACTIVE_PORT: u16 = 2003;

/// How long a daemon may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks whether a daemon has dialled in.
const GLANCE: Duration = Duration::from_millis(20);

/// A daemon, and how to get to it.
pub(super) struct Target {
    /// The daemon and the device; the device may be missing.
    pub(super) url: Url,
    /// Whether it dials in. Then the URL's host may be empty, for any, and its port is ours.
    pub(super) waits: bool,
    pub(super) user: Option<String>,
    password_file: Option<PathBuf>,
    tls: TlsOptions,
    timeout: Duration,
}

impl Target {
    /// What a call is about.
    pub(super) fn of(call: &Call, hosts: &[Host]) -> anyhow::Result<Self> {
        match call.extcap_interface.as_deref() {
            None | Some(interfaces::ANY) => Self::of_options(call),
            Some(value) => Self::of_known(value, hosts),
        }
    }

    fn of_known(value: &str, hosts: &[Host]) -> anyhow::Result<Self> {
        let cache = super::cache();
        let all = interfaces::all(hosts, &cache);
        let found = all.into_iter().find(|i| i.value == value).and_then(|i| i.device);
        let Some((host, device)) = found else {
            bail!("no known host has the interface {value} any more; list the interfaces again");
        };
        Ok(Self {
            url: Url { device: Some(device), ..host.url.clone() },
            ..Self::host(host, TIMEOUT)
        })
    }

    /// A known host, without a device.
    pub(super) fn host(host: &Host, timeout: Duration) -> Self {
        Self {
            url: host.url.clone(),
            waits: false,
            user: host.user.clone(),
            password_file: host.password_file.clone(),
            tls: host.tls.clone(),
            timeout,
        }
    }

    fn of_options(call: &Call) -> anyhow::Result<Self> {
        let waits = call.waits();
        let host = call.host.trim();
        if host.is_empty() && !waits {
            bail!("no host is named in the interface's options");
        }
        let port = match call.port.trim() {
            "" if waits => ACTIVE_PORT,
            "" => DEFAULT_PORT,
            text => match text.parse() {
                Ok(port @ 1..) => port,
                _ => bail!("`{text}` is not a port; ports are 1 to 65535"),
            },
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let endpoint = match host {
            "" => Endpoint { host: String::new(), port },
            // The name is judged as anywhere else.
            _ if bare.contains(':') => Endpoint { port, ..format!("[{bare}]").parse()? },
            _ => Endpoint { port, ..host.parse()? },
        };
        let device = Some(call.device.trim()).filter(|name| !name.is_empty());
        let user = Some(call.user.clone()).filter(|name| !name.is_empty());
        Ok(Self {
            url: Url { tls: call.tls(), endpoint, device: device.map(url::unescape).transpose()? },
            waits,
            user,
            password_file: call.password_file(),
            tls: call.tls_options()?,
            timeout: TIMEOUT,
        })
    }

    /// The daemon's key in the cache.
    pub(super) fn key(&self) -> String {
        hosts::key(&self.url)
    }

    /// What proves who the user is, if nobody has to be asked.
    pub(super) fn credentials_at_hand(&self) -> anyhow::Result<Option<Credentials>> {
        let Some(user) = self.user.clone() else {
            return Ok(Some(Credentials::Null));
        };
        let password = match &self.password_file {
            Some(path) => Some(password::of_file(path)?),
            None => password::of_environment()?,
        };
        Ok(password.map(|password| Credentials::Password { user, password }))
    }

    /// A session that the daemon has let in. A person may be asked for a password.
    pub(super) fn connect(&self, interrupts: &Interrupts) -> anyhow::Result<Client> {
        let credentials = match (self.credentials_at_hand()?, &self.user) {
            (Some(credentials), _) => credentials,
            (None, user) => {
                let user = user.clone().unwrap_or_default();
                let at = match self.url.endpoint.host.as_str() {
                    "" => "a daemon that dials in",
                    host => host,
                };
                let password = askpass::ask(&format!("Password of {user} at {at}"), interrupts)?;
                Credentials::Password { user, password }
            }
        };
        let mut client = self.reach(interrupts)?;
        client.authenticate(&credentials)?;
        Ok(client)
    }

    /// A connection, over which nothing was said.
    fn reach(&self, interrupts: &Interrupts) -> anyhow::Result<Client> {
        let tls = self.url.tls.then(|| Tls::new(&self.tls)).transpose()?;
        let Endpoint { host, port } = &self.url.endpoint;
        if self.waits {
            let caller = self.wait(*port, interrupts)?;
            let name = Some(host.as_str()).filter(|host| !host.is_empty());
            return Ok(Client::accept(caller, name, tls.as_ref(), self.timeout)?);
        }
        Ok(match &tls {
            Some(tls) => Client::connect_tls(&self.url.endpoint, tls, self.timeout)?,
            None => Client::connect(&self.url.endpoint, self.timeout)?,
        })
    }

    /// The first daemon that dials in and may.
    fn wait(&self, port: u16, interrupts: &Interrupts) -> anyhow::Result<(TcpStream, SocketAddr)> {
        let host = self.url.endpoint.host.as_str();
        let may: Vec<IpAddr> = match host {
            "" => Vec::new(),
            host => {
                let found = (host, 0).to_socket_addrs();
                let found = found.with_context(|| format!("cannot find host {host}"))?;
                found.map(|address| address.ip().to_canonical()).collect()
            }
        };
        // Both kinds of addresses, or what there is.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
            .with_context(|| format!("cannot wait for a daemon on port {port}"))?;
        listener.set_nonblocking(true)?;
        loop {
            match listener.accept() {
                Ok((socket, peer))
                    if host.is_empty() || may.contains(&peer.ip().to_canonical()) =>
                {
                    socket.set_nonblocking(false)?;
                    return Ok((socket, peer));
                }
                // Others are turned away, and come again by themselves.
                Ok(_) => {}
                Err(_) if interrupts.stop.load(Relaxed) => bail!("no daemon has dialled in"),
                Err(_) => std::thread::sleep(GLANCE),
            }
        }
    }

    /// Notes in the cache what a capture has learned.
    pub(super) fn learn(&self, device: &str, linktype: u32) {
        let key = self.key();
        super::change_cache(|cache: &mut Cache| cache.set_linktype(&key, device, linktype));
    }
}
