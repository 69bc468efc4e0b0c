//! Which of an agent's devices are captured from.

use std::collections::HashSet;
use std::net::IpAddr;

use capture::devices::Flags;
use rpcap_proto::wire::{Device, PRESELECTED, SockAddr};

use super::policy::Wanted;

/// The device that the agent was told to offer, if it was.
pub fn preselected(devices: &[Device]) -> Option<&str> {
    let first = devices.first()?;
    first.description.ends_with(PRESELECTED).then(|| name(first)).flatten()
}

/// The devices that are wanted, in the order in which they are.
pub fn candidates<'a>(wanted: &[Wanted], devices: &'a [Device]) -> Vec<&'a str> {
    let preselected = preselected(devices);
    // An agent with a preselected device refuses all others.
    let devices = if preselected.is_some() { &devices[..1] } else { devices };
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for wanted in wanted {
        let matching = devices.iter().filter(|d| is_wanted(wanted, d, preselected.is_some()));
        for name in matching.filter_map(name) {
            // A list has up to 65,535 devices.
            if seen.insert(name) {
                names.push(name);
            }
        }
    }
    names
}

fn is_wanted(wanted: &Wanted, device: &Device, preselected: bool) -> bool {
    match wanted {
        Wanted::Preselected => preselected,
        // "any" would show the packets of all the others again.
        Wanted::Up => {
            device.flags & (Flags::UP | Flags::LOOPBACK) == Flags::UP && device.name != b"any"
        }
        Wanted::Name(pattern) => name(device).is_some_and(|name| pattern.matches(name)),
        Wanted::Address(prefix) => {
            let addresses = device.addresses.iter().filter_map(|a| a.addr.as_ref());
            addresses.filter_map(ip).any(|ip| prefix.contains(ip))
        }
    }
}

/// A name that can be asked for.
fn name(device: &Device) -> Option<&str> {
    str::from_utf8(&device.name).ok().filter(|name| !name.is_empty())
}

fn ip(address: &SockAddr) -> Option<IpAddr> {
    match address {
        SockAddr::V4(addr) => Some((*addr).into()),
        SockAddr::V6 { addr, .. } => Some((*addr).into()),
        SockAddr::Mac { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpcap_proto::wire::Address;

    fn device(name: &str, flags: u32, addresses: &[&str]) -> Device {
        let address = |a: &&str| Address {
            addr: Some(match a.parse().unwrap() {
                IpAddr::V4(addr) => SockAddr::V4(addr),
                IpAddr::V6(addr) => SockAddr::V6 { addr, flow_info: 0, scope_id: 0 },
            }),
            ..Address::default()
        };
        Device {
            name: name.as_bytes().to_vec(),
            flags,
            addresses: addresses.iter().map(address).collect(),
            ..Device::default()
        }
    }

    fn host() -> Vec<Device> {
        vec![
            device("any", Flags::UP, &[]),
            device("lo", Flags::UP | Flags::LOOPBACK, &["127.0.0.1"]),
            device("eth0", Flags::UP, &["10.0.0.1", "2001:db8::1"]),
            device("eth1", Flags::UP, &["192.0.2.1"]),
            device("eth2", 0, &[]),
            Device { name: b"\xff".to_vec(), flags: Flags::UP, ..Device::default() },
        ]
    }

    fn chosen<'a>(wanted: &[&str], devices: &'a [Device]) -> Vec<&'a str> {
        let wanted: Vec<Wanted> = wanted.iter().map(|w| w.parse().unwrap()).collect();
        candidates(&wanted, devices)
    }

    #[test]
    fn by_name_by_address_and_by_state() {
        let host = host();
        assert_eq!(chosen(&["up"], &host), ["eth0", "eth1"]);
        assert_eq!(chosen(&["192.0.2.0/24", "up"], &host), ["eth1", "eth0"]);
        assert_eq!(chosen(&["2001:db8::/32"], &host), ["eth0"]);
        assert_eq!(chosen(&["eth*"], &host), ["eth0", "eth1", "eth2"]);
        assert_eq!(chosen(&["any", "lo"], &host), ["any", "lo"]);
        assert!(chosen(&["preselected", "wlan0"], &host).is_empty());
    }

    #[test]
    fn the_longest_list_of_devices() {
        // Comparing each with all before it took 12 s here.
        let host: Vec<Device> = (0..u16::MAX).map(|n| device(&format!("tun{n}"), 0, &[])).collect();
        let names = chosen(&["tun7", "tun*", "*"], &host);
        assert_eq!((names.len(), &names[..3]), (65_535, &["tun7", "tun0", "tun1"][..]));
    }

    #[test]
    fn a_preselected_device_is_the_only_one() {
        let mut host = host();
        host.swap(0, 3);
        host[0].description = b"Uplink ;preselected".to_vec();
        assert_eq!(preselected(&host), Some("eth1"));
        assert_eq!(chosen(&["preselected", "up"], &host), ["eth1"]);
        assert_eq!(chosen(&["eth*"], &host), ["eth1"]);
        assert!(chosen(&["eth0"], &host).is_empty());
        // Only the first device's description says so.
        host.swap(0, 1);
        assert_eq!(preselected(&host), None);
    }
}
