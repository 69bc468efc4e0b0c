//! The list, from getifaddrs(3), sysfs and ethtool.

use std::{fs, io, path::Path};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags, sys::socket::SockaddrStorage};

use super::{Address, Device, Flags, Sockaddr, demerit};
use crate::{Error, ioctl::Asker};

/// libpcap's words for the device that is all of them.
const ANY_DESCRIPTION: &str = "Pseudo-device that captures on all interfaces";

pub(super) fn list() -> Result<Vec<Device>, Error> {
    let entries =
        getifaddrs().map_err(|error| Error::call("getifaddrs", "the interfaces", error))?;
    let asker = Asker::new().map_err(|error| Error::call("socket", "the interfaces", error))?;
    let mut devices: Vec<Device> = Vec::new();
    for entry in entries {
        let name = without_alias(&entry.interface_name);
        let index = match devices.iter().position(|device| device.name == name) {
            Some(index) => index,
            None => {
                let flags = flags(&asker, name, entry.flags);
                devices.push(Device {
                    name: name.to_owned(),
                    description: None,
                    flags,
                    addresses: vec![],
                });
                devices.len() - 1
            }
        };
        let Some(addr) = entry.address.as_ref().and_then(sockaddr) else {
            continue;
        };
        // The kernel has one field for both, the interface's flags say what it means.
        let other = entry.broadcast.or(entry.destination).as_ref().and_then(sockaddr);
        devices[index].addresses.push(Address {
            addr,
            netmask: entry.netmask.as_ref().and_then(sockaddr),
            broadcast: other.filter(|_| entry.flags.contains(InterfaceFlags::IFF_BROADCAST)),
            peer: other.filter(|_| entry.flags.contains(InterfaceFlags::IFF_POINTOPOINT)),
        });
    }
    devices.push(Device {
        name: "any".to_owned(),
        description: Some(ANY_DESCRIPTION.to_owned()),
        flags: Flags(Flags::UP | Flags::RUNNING | Flags::NOT_APPLICABLE),
        addresses: vec![],
    });
    // Stable: equals stay in the system's order, as in libpcap.
    devices.sort_by_key(demerit);
    Ok(devices)
}

/// `eth0:1` is a second address of `eth0`.
fn without_alias(name: &str) -> &str {
    match name.split_once(':') {
        Some((name, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    }
}

fn sockaddr(storage: &SockaddrStorage) -> Option<Sockaddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(Sockaddr::V4(v4.ip()));
    }
    if let Some(v6) = storage.as_sockaddr_in6() {
        return Some(Sockaddr::V6 {
            addr: v6.ip(),
            scope_id: v6.scope_id(),
            flowinfo: v6.flowinfo(),
        });
    }
    let link = storage.as_link_addr()?;
    let raw: &libc::sockaddr_ll = link.as_ref();
    Some(Sockaddr::Mac {
        ifindex: u32::try_from(raw.sll_ifindex).ok()?,
        hatype: raw.sll_hatype,
        pkttype: raw.sll_pkttype,
        addr: raw.sll_addr,
        len: raw.sll_halen,
    })
}

fn flags(asker: &Asker, name: &str, system: InterfaceFlags) -> Flags {
    let bits = [
        (InterfaceFlags::IFF_LOOPBACK, Flags::LOOPBACK),
        (InterfaceFlags::IFF_UP, Flags::UP),
        (InterfaceFlags::IFF_RUNNING, Flags::RUNNING),
    ];
    let known: u32 =
        bits.iter().filter(|(bit, _)| system.contains(*bit)).map(|(_, flag)| flag).sum();
    if known & Flags::LOOPBACK != 0 {
        return Flags(known | Flags::NOT_APPLICABLE);
    }
    let medium = match medium(name) {
        // Loopback by type and not by flag: libpcap does not ask further.
        Medium::Loopback => return Flags(known),
        Medium::Wireless => Flags::WIRELESS,
        Medium::Other => 0,
    };
    let status = match asker.has_link(name) {
        Ok(true) => Flags::CONNECTED,
        Ok(false) => Flags::DISCONNECTED,
        Err(error) => no_link_status(&error),
    };
    Flags(known | medium | status)
}

fn no_link_status(error: &io::Error) -> u32 {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::EINVAL) => Flags::NOT_APPLICABLE,
        // Gone since it was listed (ENODEV), or its driver does not tell while it is down (EBUSY) or to
        // us (EPERM): one interface is no reason to have none.
        _ => 0,
    }
}

enum Medium {
    Loopback,
    Wireless,
    Other,
}

fn medium(name: &str) -> Medium {
    let class = Path::new("/sys/class/net").join(name);
    if class.join("wireless").exists() {
        return Medium::Wireless;
    }
    let hardware =
        fs::read_to_string(class.join("type")).ok().and_then(|text| text.trim().parse().ok());
    match hardware {
        Some(libc::ARPHRD_LOOPBACK) => Medium::Loopback,
        Some(
            libc::ARPHRD_IRDA
            | libc::ARPHRD_IEEE80211
            | libc::ARPHRD_IEEE80211_PRISM
            | libc::ARPHRD_IEEE80211_RADIOTAP
            | libc::ARPHRD_IEEE802154
            // IEEE 802.15.4 monitor, 6LoWPAN: not in the libc crate.
            | 805
            | 825,
        ) => Medium::Wireless,
        _ => Medium::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_belong_to_their_interface() {
        assert_eq!(without_alias("eth0"), "eth0");
        assert_eq!(without_alias("eth0:1"), "eth0");
        assert_eq!(without_alias("eth0:"), "eth0");
        assert_eq!(without_alias("eth0:label"), "eth0:label");
    }

    #[test]
    fn loopback_and_any_are_listed() {
        let devices = list().unwrap();
        let lo = devices.iter().find(|device| device.name == "lo").unwrap();
        assert!(lo.flags.contains(Flags::LOOPBACK | Flags::NOT_APPLICABLE));
        let any = devices.iter().find(|device| device.name == "any").unwrap();
        assert_eq!(any.flags, Flags(0x36));
        assert_eq!(any.description.as_deref(), Some(ANY_DESCRIPTION));
    }
}
