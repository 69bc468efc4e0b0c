use anyhow::bail;
use rpcap::tls::{Tls, TlsOptions, Trust};
use rpcap::url::Url;

use crate::cli;
use crate::say::note;

/// What connections to a daemon are encrypted with, if they are to be.
pub(super) fn of(url: &Url, options: &cli::Tls) -> anyhow::Result<Option<Tls>> {
    let cli::Tls { tls_ca, tls_fingerprint, tls_insecure, tls_cert, tls_key } = options;
    if !url.tls {
        let given = tls_ca.is_some() || !tls_fingerprint.is_empty() || *tls_insecure;
        if given || tls_cert.is_some() {
            bail!("options that begin with --tls- are for rpcaps://; this URL has no TLS");
        }
        return Ok(None);
    }
    let trust = match tls_ca {
        Some(path) => Trust::Ca(path.clone()),
        None if !tls_fingerprint.is_empty() => Trust::Fingerprints(tls_fingerprint.clone()),
        None if *tls_insecure => Trust::Anybody,
        None => Trust::System,
    };
    let identity = tls_cert.clone().zip(tls_key.clone());
    let tls = Tls::new(&TlsOptions { trust, identity })?;
    if *tls_insecure {
        note!(
            "rpcap: WARNING: --tls-insecure: nobody knows who {} is. Whoever is on the way can \
             read and change everything, passwords as well.",
            url.endpoint
        );
    }
    Ok(Some(tls))
}
