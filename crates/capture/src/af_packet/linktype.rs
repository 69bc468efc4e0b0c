//! From the kernel's hardware type of an interface to the link type of its packets, as libpcap decides it.

use std::{fs, path::Path};

use crate::LinkType;

/// How packets of an interface are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// What the first byte means.
    pub(crate) linktype: LinkType,
    /// Whether the kernel takes the link header off and we put a `DLT_LINUX_SLL` one there.
    pub(crate) cooked: bool,
    /// Where a VLAN tag goes back in: the offset of the EtherType, in bytes. `None` if the link type has no place for it.
    pub(crate) vlan_offset: Option<usize>,
    /// Whether packets are CAN frames, of which one field has to change its byte order.
    pub(crate) can: bool,
}

impl Kind {
    /// The pseudo-device `any`.
    pub(crate) const ANY: Self = Self::of(LinkType::LINUX_SLL, true);

    const fn of(linktype: LinkType, cooked: bool) -> Self {
        let vlan_offset = match linktype {
            LinkType::ETHERNET => Some(12),
            LinkType::LINUX_SLL => Some(14),
            _ => None,
        };
        Self { linktype, cooked, vlan_offset, can: linktype.0 == 227 }
    }
}

const ARPHRD_CAN: u16 = 280;
const ARPHRD_LAPD: u16 = 8445;
const ARPHRD_NETLINK: u16 = 824;
const ARPHRD_VSOCKMON: u16 = 826;

/// How libpcap captures from `device`, whose `ARPHRD_` type is `hardware`: the table of `map_arphrd_to_dlt()` in its
/// `pcap-linux.c`, without the variants a caller can only choose by hand.
pub(crate) fn kind(device: &str, hardware: u16) -> Kind {
    let raw = |dlt| Kind::of(LinkType(dlt), false);
    let cooked = |dlt| Kind::of(LinkType(dlt), true);
    match hardware {
        libc::ARPHRD_ETHER if device.starts_with("cdma_rmnet") => Kind::of(LinkType::RAW, false),
        libc::ARPHRD_ETHER => match dsa_tag(device) {
            Some(dlt) => raw(dlt),
            None => ethernet(device),
        },
        libc::ARPHRD_METRICOM | libc::ARPHRD_LOOPBACK => ethernet(device),
        libc::ARPHRD_EETHER => raw(2),
        libc::ARPHRD_AX25 => raw(202),
        libc::ARPHRD_PRONET => raw(4),
        libc::ARPHRD_CHAOS => raw(5),
        ARPHRD_CAN => raw(227),
        libc::ARPHRD_IEEE802_TR | libc::ARPHRD_IEEE802 => raw(6),
        libc::ARPHRD_ARCNET => raw(129),
        libc::ARPHRD_FDDI => raw(10),
        libc::ARPHRD_IEEE80211 => raw(105),
        libc::ARPHRD_IEEE80211_PRISM => raw(119),
        libc::ARPHRD_IEEE80211_RADIOTAP => raw(127),
        libc::ARPHRD_CISCO => raw(104),
        libc::ARPHRD_TUNNEL
        | libc::ARPHRD_SIT
        | libc::ARPHRD_CSLIP
        | libc::ARPHRD_SLIP6
        | libc::ARPHRD_CSLIP6
        | libc::ARPHRD_ADAPT
        | libc::ARPHRD_SLIP
        | libc::ARPHRD_RAWHDLC
        | libc::ARPHRD_DLCI
        | libc::ARPHRD_NONE => Kind::of(LinkType::RAW, false),
        libc::ARPHRD_FRAD => raw(107),
        libc::ARPHRD_LOCALTLK => raw(114),
        // RFC 2625 IP over Fibre Channel, which linux/if_arp.h has no name for.
        18 => raw(122),
        libc::ARPHRD_FCPP | libc::ARPHRD_FCAL | libc::ARPHRD_FCPL | libc::ARPHRD_FCFABRIC => {
            raw(224)
        }
        libc::ARPHRD_IEEE802154 => raw(230),
        ARPHRD_VSOCKMON => raw(271),
        // Their link types are the cooked header under names of their own.
        libc::ARPHRD_IRDA => cooked(144),
        ARPHRD_LAPD => cooked(177),
        ARPHRD_NETLINK => cooked(253),
        // PPP and ATM differ too much between drivers; of the rest nothing is known.
        _ => Kind::ANY,
    }
}

fn ethernet(device: &str) -> Kind {
    // ISDN calls itself Ethernet and is not.
    if device.starts_with("isdn") || device.starts_with("isdY") {
        return Kind::ANY;
    }
    Kind::of(LinkType::ETHERNET, false)
}

/// The link type of a switch's internal port, which has a tag of the switch's own in the Ethernet header.
fn dsa_tag(device: &str) -> Option<u32> {
    let class = Path::new("/sys/class/net").join(device);
    if class.join("wireless").exists() {
        return None;
    }
    match fs::read_to_string(class.join("dsa/tagging")).ok()?.trim_end() {
        "brcm" => Some(281),
        "brcm-prepend" => Some(282),
        "dsa" => Some(284),
        "edsa" => Some(285),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_interfaces() {
        let check = |device, hardware, dlt, cooked, vlan_offset| {
            let kind = kind(device, hardware);
            assert_eq!(
                (kind.linktype.0, kind.cooked, kind.vlan_offset),
                (dlt, cooked, vlan_offset),
                "{device}, {hardware}"
            );
        };
        check("no-such-eth", 1, 1, false, Some(12));
        check("lo", 772, 1, false, Some(12));
        check("tun0", 0xfffe, 12, false, None);
        check("sit0", 776, 12, false, None);
        check("ppp0", 512, 113, true, Some(14));
        check("gre0", 778, 113, true, Some(14));
        check("can0", 280, 227, false, None);
        check("nlmon0", 824, 253, true, None);
        check("isdn0", 1, 113, true, Some(14));
    }
}
