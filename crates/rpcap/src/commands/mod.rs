//! What the program does.

pub(crate) mod capture;
pub(crate) mod demo;
pub(crate) mod devices;
pub(crate) mod extcap;
pub(crate) mod find;
pub(crate) mod listen;
mod live;
mod password;
mod progress;
mod tls;

use rpcap::client::Client;
use rpcap::url::Url;

use crate::cli::Connect;
use crate::say::note;

/// A session that the daemon has let in.
fn connect(url: &Url, options: &Connect) -> anyhow::Result<Client> {
    let tls = tls::of(url, &options.tls)?;
    if tls.is_none() && options.user.is_some() {
        note!("rpcap: warning: the password is not encrypted on its way; rpcaps:// encrypts it");
    }
    // Asked for first: a person may take longer than a daemon waits.
    let credentials = password::credentials(options)?;
    let mut client = match &tls {
        Some(tls) => Client::connect_tls(&url.endpoint, tls, options.timeout)?,
        None => Client::connect(&url.endpoint, options.timeout)?,
    };
    client.authenticate(&credentials)?;
    Ok(client)
}
