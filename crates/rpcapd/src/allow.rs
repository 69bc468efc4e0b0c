//! Who may connect.

use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;

/// The hosts that may connect. A list that names nobody who exists allows nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Prefix(IpAddr, u8),
    /// Resolved anew for every connection, so that a host may move.
    Name(String),
}

impl AllowList {
    /// Whether a peer with this address may connect. May wait for the name service.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|entry| match entry {
            Entry::Prefix(network, len) => in_prefix(peer, *network, *len),
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

fn in_prefix(address: IpAddr, network: IpAddr, len: u8) -> bool {
    let (bits, address, network) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (32, u128::from(a.to_bits()), u128::from(n.to_bits())),
        (IpAddr::V6(a), IpAddr::V6(n)) => (128, a.to_bits(), n.to_bits()),
        _ => return false,
    };
    // A shift by the whole width is no shift in Rust: the prefix of length 0 holds everything.
    len == 0 || (address ^ network) >> (bits - u32::from(len)) == 0
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
    let Some((network, len)) = token.split_once('/') else {
        return Ok(match token.parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                Entry::Prefix(address, if address.is_ipv4() { 32 } else { 128 })
            }
            Err(_) => Entry::Name(token.to_owned()),
        });
    };
    let wrong = || format!("{token:?} is not a prefix such as 10.0.0.0/8 or fd00::/8");
    let network: IpAddr = network.parse().map_err(|_| wrong())?;
    let len: u8 = len.parse().map_err(|_| wrong())?;
    if len > if network.is_ipv4() { 32 } else { 128 } {
        return Err(wrong());
    }
    Ok(Entry::Prefix(network, len))
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
