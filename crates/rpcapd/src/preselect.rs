//! The one interface that a client may open, where the operator has chosen it.

use std::fmt;
use std::net::IpAddr;

use capture::devices::{Device, Sockaddr};
use rpcap_proto::wire::PRESELECTED;

use rpcap_proto::prefix::Prefix;

/// Most bytes of a description that stay in front of the mark.
const DESCRIPTION_MAX: usize = 240;

/// How the operator names an interface. What it stands for is looked up whenever it is needed: an
/// address may move, and an interface may appear later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preselect {
    /// By its name.
    pub name: Option<String>,
    /// By one of its addresses; with a name, both must match.
    pub address: Option<Prefix>,
}

impl Preselect {
    /// The interface with this name.
    pub fn named(name: &str) -> Self {
        Self { name: Some(name.to_owned()), address: None }
    }

    /// Whether `name` with these `addresses` is the one.
    pub fn matches(&self, name: &str, addresses: impl Iterator<Item = IpAddr>) -> bool {
        let mut addresses = addresses;
        self.name.as_ref().is_none_or(|n| n == name)
            && self.address.as_ref().is_none_or(|prefix| addresses.any(|a| prefix.contains(a)))
    }

    /// Whether this device is the one.
    pub fn matches_device(&self, device: &Device) -> bool {
        self.matches(&device.name, device.addresses.iter().filter_map(|a| ip(a.addr)))
    }
}

/// As configuration files have it.
impl fmt::Display for Preselect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.address) {
            (Some(name), Some(prefix)) => write!(f, "ifname={name},ifaddr={prefix}"),
            (Some(name), None) => write!(f, "ifname={name}"),
            (None, Some(prefix)) => write!(f, "ifaddr={prefix}"),
            (None, None) => Ok(()),
        }
    }
}

/// The description of the chosen device.
pub fn marked(description: &[u8]) -> Vec<u8> {
    let mut marked = description[..description.len().min(DESCRIPTION_MAX)].to_vec();
    if !marked.is_empty() {
        marked.push(b' ');
    }
    marked.extend_from_slice(PRESELECTED);
    marked
}

fn ip(address: Sockaddr) -> Option<IpAddr> {
    match address {
        Sockaddr::V4(a) => Some(a.into()),
        Sockaddr::V6 { addr, .. } => Some(addr.into()),
        Sockaddr::Mac { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_a_name_and_an_address_must_match() {
        let addresses = || ["10.1.2.3".parse().unwrap(), "fe80::1".parse().unwrap()].into_iter();
        let by = |name: Option<&str>, prefix: Option<&str>| Preselect {
            name: name.map(str::to_owned),
            address: prefix.map(|p| p.parse().unwrap()),
        };
        assert!(by(Some("eth0"), None).matches("eth0", addresses()));
        assert!(!by(Some("eth0"), None).matches("eth01", addresses()));
        assert!(by(None, Some("10.0.0.0/8")).matches("eth0", addresses()));
        assert!(by(None, Some("fe80::/10")).matches("eth0", addresses()));
        assert!(!by(None, Some("10.1.2.4")).matches("eth0", addresses()));
        assert!(by(Some("eth0"), Some("10.1.2.3")).matches("eth0", addresses()));
        assert!(!by(Some("eth0"), Some("10.1.2.4")).matches("eth0", addresses()));
        assert!(!by(Some("eth1"), Some("10.1.2.3")).matches("eth1", [].into_iter()));
    }

    #[test]
    fn the_mark_follows_what_fits_of_the_description() {
        assert_eq!(marked(b""), b";preselected");
        assert_eq!(marked(b"Uplink"), b"Uplink ;preselected");
        assert_eq!(marked(&[b'x'; 300]).len(), 240 + 13);
    }
}
