//! Who may connect.

use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;

use rpcap_proto::prefix::Prefix;

/// The hosts that may connect. A list that names nobody who exists allows nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Prefix(Prefix),
    /// Resolved anew for every connection, so that a host may move.
    Name(String),
}

impl AllowList {
    /// Whether a peer with this address may connect. May wait for the name service.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|entry| match entry {
            Entry::Prefix(prefix) => prefix.contains(peer),
            Entry::Name(name) => match (name.as_str(), 0).to_socket_addrs() {
                Ok(mut found) => found.any(|a| a.ip().to_canonical() == peer),
                Err(e) => {
                    tracing::warn!(host = %name.escape_debug(), "allowed host not resolved: {e}");
                    false
                }
            },
        })
    }
}

impl FromStr for AllowList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let entries: Vec<_> = text
            .split([' ', ',', ';', '\r', '\n'])
            .filter(|token| !token.is_empty())
            .map(entry)
            .collect::<Result<_, _>>()?;
        if entries.is_empty() {
            return Err("the list of allowed hosts is empty: leave it out to allow all".to_owned());
        }
        Ok(Self(entries))
    }
}

fn entry(token: &str) -> Result<Entry, String> {
    match token.parse() {
        Ok(prefix) => Ok(Entry::Prefix(prefix)),
        Err(reason) if token.contains('/') => Err(reason),
        Err(_) => Ok(Entry::Name(token.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, peer: &str) -> bool {
        list.parse::<AllowList>().unwrap().allows(peer.parse().unwrap())
    }

    #[test]
    fn addresses_and_prefixes() {
        assert!(allows("10.0.0.0/8;fd00::/8", "10.200.0.1"));
        assert!(allows("10.0.0.0/8;fd00::/8", "fd12::1"));
        assert!(!allows("10.0.0.0/8 fd00::/8", "11.0.0.1"));
        assert!(allows("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!allows("192.0.2.1/32", "192.0.2.2"));
        assert!(allows("0.0.0.0/0", "8.8.8.8"));
        assert!(!allows("0.0.0.0/0", "::1"));
        assert!(allows("::/0", "::1"));
        assert!(allows("localhost", "127.0.0.1"));
    }

    #[test]
    fn d1_015_a_list_of_unknown_names_allows_nobody() {
        assert!(!allows("no-such-host.invalid", "127.0.0.1"));
    }

    #[test]
    fn wrong_entries_are_refused() {
        for list in ["", " ,;", "10.0.0.0/33", "::1/129", "host/8", "10.0.0.0/x", "10.0.0.0/"] {
            assert!(list.parse::<AllowList>().is_err(), "{list:?}");
        }
    }
}
