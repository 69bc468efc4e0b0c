//! Whom the daemon calls in active mode.

use std::fmt;
use std::str::FromStr;

use crate::preselect::Preselect;

/// Where collectors listen, unless told otherwise.
pub const DEFAULT_PORT: u16 = 2003;

/// Most collectors. Each has a thread, and connections of its own to be kept out of captures.
pub const PEERS_MAX: usize = 64;

/// A collector to call, and what it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name or address. A name is looked up at every attempt.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The interface that it may open; `None`: what `--interface` says.
    pub preselect: Option<Preselect>,
    /// A filter (pcap-filter(7)) that packets must pass besides the collector's own.
    pub filter: Option<String>,
    /// Most bytes of each packet that it may have.
    pub snaplen: Option<u32>,
    /// Bytes of a udpstr datagram, 0 for one packet in each; `None`: what `--udpstr-mtu` says.
    pub udpstr_mtu: Option<usize>,
    /// The interface that its connections leave by; `None`: what `--bind-device` says.
    pub bind_device: Option<String>,
    /// Whether its connections are encrypted; `None`: as `--tls` says.
    pub tls: Option<bool>,
}

impl Peer {
    /// The collector at this place, with nothing said about what it may have.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            preselect: None,
            filter: None,
            snaplen: None,
            udpstr_mtu: None,
            bind_device: None,
            tls: None,
        }
    }

    /// Sets `host`, `port`, `ifname`, `ifaddr` or `tls`. An error says what is expected.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "host" => {
                if value.is_empty() || value.contains(|c| SEPARATORS.contains(&c) || c == '=') {
                    return Err("expected a name or an address".to_owned());
                }
                self.host = value.to_owned();
            }
            "port" => self.port = port(value)?,
            "ifname" if !value.is_empty() => {
                self.preselect.get_or_insert_default().name = Some(value.to_owned());
            }
            "ifaddr" => self.preselect.get_or_insert_default().address = Some(value.parse()?),
            "tls" => {
                let word = value.parse().map_err(|_| "expected true or false".to_owned())?;
                self.tls = Some(word);
            }
            _ => return Err("expected ifname=NAME or ifaddr=ADDRESS[/LENGTH]".to_owned()),
        }
        Ok(())
    }
}

/// The place, as the log shows it.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, preselect, .. } = self;
        match host.contains(':') {
            true => write!(f, "[{}]:{port}", host.escape_debug())?,
            false => write!(f, "{}:{port}", host.escape_debug())?,
        }
        match preselect {
            Some(p) => write!(f, " ({})", p.to_string().escape_debug()),
            None => Ok(()),
        }
    }
}

/// Collectors as `-a` names them: `HOST[,PORT][,ifname=NAME][,ifaddr=PREFIX]`, and so on with the
/// next one. `DEFAULT` is a port too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerList(pub Vec<Peer>);

/// What separates the parts of a list of hosts, in options and in files.
pub const SEPARATORS: [char; 5] = [' ', ',', ';', '\r', '\n'];

impl FromStr for PeerList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut tokens = text.split(SEPARATORS).filter(|t| !t.is_empty()).peekable();
        let mut peers = Vec::new();
        while let Some(host) = tokens.next() {
            let mut peer = Peer::new("", DEFAULT_PORT);
            let mut set =
                |key, value| peer.set(key, value).map_err(|e| format!("{key} {value:?}: {e}"));
            set("host", host)?;
            if let Some(token) = tokens.next_if(|t| !t.contains('=')) {
                set("port", token)?;
            }
            while let Some((key, value)) = tokens.peek().and_then(|t| t.split_once('=')) {
                if !["ifname", "ifaddr"].contains(&key) {
                    return Err(format!(
                        "{key:?}: expected ifname=NAME or ifaddr=ADDRESS[/LENGTH]"
                    ));
                }
                set(key, value)?;
                tokens.next();
            }
            peers.push(peer);
        }
        if peers.is_empty() {
            return Err("expected HOST or HOST,PORT".to_owned());
        }
        Ok(Self(peers))
    }
}

fn port(token: &str) -> Result<u16, String> {
    match token {
        "DEFAULT" => Ok(DEFAULT_PORT),
        n => n
            .parse()
            .ok()
            .filter(|p| *p > 0)
            .ok_or_else(|| "expected a number from 1 to 65535, or DEFAULT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Result<Vec<String>, String> {
        Ok(text.parse::<PeerList>()?.0.iter().map(Peer::to_string).collect())
    }

    #[test]
    fn lists_of_collectors() {
        assert_eq!(places("a").unwrap(), ["a:2003"]);
        assert_eq!(places("a,DEFAULT;b 7").unwrap(), ["a:2003", "b:7"]);
        assert_eq!(places("fd00::1,2004").unwrap(), ["[fd00::1]:2004"]);
        assert_eq!(
            places("a,2003,ifname=eth0,b,9,ifaddr=10.0.0.0/8").unwrap(),
            ["a:2003 (ifname=eth0)", "b:9 (ifaddr=10.0.0.0/8)"]
        );
    }

    #[test]
    fn d9_118_wrong_lists_are_refused() {
        for text in [
            "",
            ",",
            "a,0",
            "a,65536",
            "a,b",
            "ifname=eth0",
            "a,1,ifname=",
            "a,1,ifaddr=10.0.0.0/33",
            "a,1,ifaddr=::1/129",
            "a,1,ifaddr=x",
            "a,1,ifmac=x",
        ] {
            assert!(places(text).is_err(), "{text}");
        }
    }
}
