//! The file of known hosts.
//!
//! ```
//! let hosts = rpcap::extcap::hosts::parse(
//!     r#"
//!     [[host]]
//!     url = "rpcaps://server.example"
//!     name = "web"                     # otherwise the host's own name
//!     user = "alice"
//!     password-file = "/home/alice/.rpcap-password"
//!     tls-ca = "/etc/ssl/lab.pem"      # or tls-fingerprint = ["3F:..."], or tls-insecure = true
//!     devices = ["eth*"]               # otherwise all that are up
//!     "#,
//! )?;
//! assert_eq!(hosts[0].url.endpoint.port, 2002);
//! # Ok::<(), String>(())
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use wildmatch::WildMatch;

use crate::tls::{Fingerprint, TlsOptions, Trust};
use crate::url::Url;

/// A host that the user knows.
#[derive(Clone, Debug)]
pub struct Host {
    /// What it is called.
    pub name: String,
    /// Where it is; names no device.
    pub url: Url,
    /// Who the user is there.
    pub user: Option<String>,
    /// A file whose first line is that user's password.
    pub password_file: Option<PathBuf>,
    /// Which certificates are trusted, and which is shown.
    pub tls: TlsOptions,
    /// Names of the devices to show, with `*` and `?`; empty for all that are up.
    pub devices: Vec<String>,
}

impl Host {
    /// Its key in the cache.
    pub fn key(&self) -> String {
        key(&self.url)
    }

    /// Whether a device is to be shown.
    pub fn shows(&self, device: &str, up: bool) -> bool {
        match self.devices.as_slice() {
            [] => up,
            patterns => patterns.iter().any(|p| WildMatch::new(p).matches(device)),
        }
    }
}

/// The key of a daemon in the cache.
pub fn key(url: &Url) -> String {
    format!("{}://{}", if url.tls { "rpcaps" } else { "rpcap" }, url.endpoint)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    host: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    url: String,
    name: Option<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    #[serde(default)]
    tls_fingerprint: Vec<String>,
    #[serde(default)]
    tls_insecure: bool,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    #[serde(default)]
    devices: Vec<String>,
}

/// Reads the file. The error is one sentence that says where.
pub fn parse(text: &str) -> Result<Vec<Host>, String> {
    let file: File = toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(String::new(), |span| at(text, span.start));
        format!("{line}{}", e.message())
    })?;
    let mut hosts: Vec<Host> = Vec::new();
    for entry in file.host {
        let start = entry.span().start;
        let host = host(entry.into_inner()).map_err(|why| format!("{}{why}", at(text, start)))?;
        if hosts.iter().any(|h| h.name == host.name) {
            let place = at(text, start);
            return Err(format!("{place}there are two hosts called `{}`; set `name`", host.name));
        }
        hosts.push(host);
    }
    Ok(hosts)
}

/// Reads the file at `path`; without a file there are no hosts.
pub fn read(path: &Path) -> Result<Vec<Host>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|why| format!("{}: {why}", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    }
}

fn at(text: &str, offset: usize) -> String {
    let lines = text.get(..offset).map_or(0, |before| before.matches('\n').count());
    format!("line {}: ", lines + 1)
}

fn host(entry: Entry) -> Result<Host, String> {
    let url: Url = entry.url.parse().map_err(|e| format!("url: {e}"))?;
    if url.device.is_some() {
        return Err("url: names a device; devices = [...] does that".to_owned());
    }
    let chosen = [entry.tls_ca.is_some(), !entry.tls_fingerprint.is_empty(), entry.tls_insecure];
    if chosen.iter().filter(|c| **c).count() > 1 {
        return Err("one of tls-ca, tls-fingerprint and tls-insecure is enough".to_owned());
    }
    if !url.tls && (chosen.contains(&true) || entry.tls_cert.is_some()) {
        return Err("keys that begin with tls- are for rpcaps://".to_owned());
    }
    let identity = match (entry.tls_cert, entry.tls_key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err("tls-cert and tls-key go together".to_owned()),
    };
    let fingerprints: Result<Vec<Fingerprint>, _> =
        entry.tls_fingerprint.iter().map(|text| text.parse()).collect();
    let fingerprints = fingerprints.map_err(|e| format!("tls-fingerprint: {e}"))?;
    let trust = match entry.tls_ca {
        Some(path) => Trust::Ca(path),
        None if !fingerprints.is_empty() => Trust::Fingerprints(fingerprints),
        None if entry.tls_insecure => Trust::Anybody,
        None => Trust::System,
    };
    if entry.password_file.is_some() && entry.user.is_none() {
        return Err("password-file is for a user; set `user`".to_owned());
    }
    Ok(Host {
        name: entry.name.unwrap_or_else(|| url.endpoint.host.clone()),
        url,
        user: entry.user,
        password_file: entry.password_file,
        tls: TlsOptions { trust, identity },
        devices: entry.devices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_everything_and_with_nothing() {
        let hosts = parse(
            "[[host]]\nurl = 'rpcaps://[::1]:99'\nname = 'a'\nuser = 'u'\npassword-file = '/p'\n\
             tls-ca = '/ca'\ntls-cert = '/c'\ntls-key = '/k'\ndevices = ['eth*']\n\
             [[host]]\nurl = 'h'\n",
        )
        .unwrap();
        assert_eq!((hosts[0].name.as_str(), hosts[0].url.endpoint.port), ("a", 99));
        assert_eq!(hosts[0].key(), "rpcaps://[::1]:99");
        assert_eq!(hosts[0].tls.trust, Trust::Ca("/ca".into()));
        assert_eq!(hosts[0].tls.identity, Some(("/c".into(), "/k".into())));
        assert!(hosts[0].shows("eth0", false) && !hosts[0].shows("lo", true));
        assert_eq!((hosts[1].name.as_str(), hosts[1].url.tls), ("h", false));
        assert!(hosts[1].shows("lo", true) && !hosts[1].shows("lo", false));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, says) in [
            ("[[host]]\nurl = ''", "line 1: url: no host"),
            ("\n[[host]]\nurl = 'h/eth0'", "line 2: url: names a device"),
            ("[[host]]\nurl = 'h'\ncolour = 1", "line 3: unknown field `colour`"),
            ("[[host]]\nurl = 'h'\n[[host]]\nurl = 'h:1'", "line 3: there are two hosts"),
            ("[[host]]\nurl = 'h'\ntls-ca = 'x'", "rpcaps://"),
            ("[[host]]\nurl = 'rpcaps://h'\ntls-ca = 'x'\ntls-insecure = true", "is enough"),
            ("[[host]]\nurl = 'rpcaps://h'\ntls-cert = 'x'", "go together"),
            ("[[host]]\nurl = 'rpcaps://h'\ntls-fingerprint = ['zz']", "tls-fingerprint: "),
            ("[[host]]\nurl = 'h'\npassword-file = 'x'", "set `user`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
