//! What the program does.

pub(crate) mod capture;
pub(crate) mod demo;
pub(crate) mod devices;
pub(crate) mod listen;
mod password;
mod progress;

use rpcap::client::Client;
use rpcap::url::Endpoint;

use crate::cli::Connect;

/// A session that the daemon has let in.
fn connect(endpoint: &Endpoint, options: &Connect) -> anyhow::Result<Client> {
    // Asked for first: a person may take longer than a daemon waits.
    let credentials = password::credentials(options)?;
    let mut client = Client::connect(endpoint, options.timeout)?;
    client.authenticate(&credentials)?;
    Ok(client)
}
