//! Networks: an address and how many of its bits count.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address with its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    network: IpAddr,
    /// 0 to 32 for IPv4, to 128 for IPv6.
    len: u8,
}

impl Prefix {
    /// The network that is one address.
    pub fn host(address: IpAddr) -> Self {
        let network = address.to_canonical();
        Self { network, len: bits(network) }
    }

    /// Whether the address is in the network; IPv4 in IPv6's clothes is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (address, network) = match (address.to_canonical(), self.network) {
            (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits())),
            (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits()),
            _ => return false,
        };
        // A shift by the whole width is no shift in Rust: the prefix of length 0 holds everything.
        self.len == 0 || (address ^ network) >> (bits(self.network) - self.len) == 0
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not an address or a prefix such as 10.0.0.0/8 or fd00::/8");
        let Some((network, len)) = text.split_once('/') else {
            return text.parse().map(Self::host).map_err(|_| wrong());
        };
        let network: IpAddr = network.parse().map_err(|_| wrong())?;
        let len: u8 = len.parse().map_err(|_| wrong())?;
        if len > bits(network) {
            return Err(wrong());
        }
        // IPv4 in IPv6's clothes, as addresses are compared.
        match (network, network.to_canonical()) {
            (IpAddr::V6(_), network @ IpAddr::V4(_)) if len >= 96 => {
                Ok(Self { network, len: len - 96 })
            }
            _ => Ok(Self { network, len }),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len == bits(self.network) {
            true => write!(f, "{}", self.network),
            false => write!(f, "{}/{}", self.network, self.len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let contains = |prefix: &str, address: &str| {
            prefix.parse::<Prefix>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.200.0.1"));
        assert!(contains("10.1.2.3/8", "10.200.0.1"));
        assert!(contains("fd00::/8", "fd12::1"));
        assert!(contains("0.0.0.0/0", "8.8.8.8"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "::1"));
        assert!(contains("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!contains("192.0.2.1/32", "192.0.2.2"));
        assert!(contains("::ffff:10.0.0.0/104", "10.200.0.1"));
        assert!(contains("::ffff:10.1.2.3/128", "10.1.2.3"));
        assert!(!contains("::ffff:10.0.0.0/104", "11.0.0.1"));
        for wrong in ["10.0.0.0/33", "::1/129", "x", "10.0.0.0/x", "10.0.0.0/", "", "/8"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
        for text in ["10.0.0.0/8", "192.0.2.1", "fe80::/10", "::1"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }
}
