//! The page of `rpcap listen --http`, and the API that it uses: what goes on, over HTTP.
//!
//! ```text
//!   server ─▶ guard ─▶ routes ─┬─ view, history    what is known
//!                              ├─ events           the same, each second
//!                              ├─ download         packets, from a tap of an output
//!                              └─ login, assets
//! ```
//!
//! * `server`: connections, their number and time. `guard`: who may ask for what, and from where.
//! * `history`: what is remembered of the last hour.
//! * [`Access`]: the certificate and the password, where not only this host can connect.
//!
//! It sees what the collector shares with everybody and nothing else of it. `web/openapi.json`
//! describes the API.

mod access;
mod assets;
mod download;
mod events;
mod guard;
mod history;
mod login;
mod patient;
mod routes;
mod server;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, watch};

pub use self::access::{Access, AccessError};
use self::events::Listeners;
use self::history::Histories;
use self::login::Login;
pub use self::server::{ServeError, serve};
use crate::collector::shared::{Remembered, Shared};

/// Downloads at a time.
const DOWNLOADS: usize = 8;

/// Where the page is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// By TCP.
    Tcp(SocketAddr),
    /// At a local socket, for those whom its mode lets.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: wants the path of a socket".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "an address and a port are wanted, such as 127.0.0.1:8080, or unix:PATH".to_owned()
            }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What all requests share.
#[derive(Debug)]
struct Web {
    shared: Arc<Shared>,
    histories: Mutex<Histories>,
    login: Login,
    /// Addresses that a wrong password came from lately.
    told: Remembered,
    downloads: Arc<Semaphore>,
    listeners: Listeners,
    /// Told each second.
    ticks: watch::Sender<u64>,
}

impl Web {
    fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            histories: Mutex::default(),
            login: Login::default(),
            told: Remembered::default(),
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            listeners: Listeners::default(),
            ticks: watch::Sender::new(0),
        })
    }
}
