//! Where the headers of a packet are.

use rpcap_proto::wire::Checksum;

use super::checksum::Sum;
use crate::file::Record;

/// Most VLAN tags, and most IPv6 extension headers, that are looked behind.
const MOST: usize = 8;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// A protocol that has the Internet checksum, over its own bytes and a pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// A whole packet of TCP or UDP over IP. Every place is within the packet's bytes, but for `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Where the IP header begins.
    pub(super) ip: usize,
    pub(super) version: u8,
    pub(super) protocol: Protocol,
    /// Where the header of TCP or UDP begins.
    pub(super) transport: usize,
    /// Where the IP packet ends, perhaps behind what was captured of it.
    pub(super) end: usize,
}

impl Layout {
    /// The layout of a packet; `None` if it is something else, a fragment, or too short to tell.
    pub(super) fn of(linktype: u32, data: &[u8]) -> Option<Self> {
        match linktype {
            1 => tagged(data, 12),
            113 => tagged(data, 14),
            276 => ip(data, word(data, 0)?, 20),
            // DLT_RAW, as systems number it, and LINKTYPE_RAW.
            12 | 14 | 101 => match data.first()? >> 4 {
                4 => ip(data, IPV4, 0),
                6 => ip(data, IPV6, 0),
                _ => None,
            },
            _ => None,
        }
    }

    /// Bytes of the IP packet.
    pub(super) fn ip_length(&self) -> usize {
        self.end - self.ip
    }

    /// Whether all of the IP packet was captured.
    pub(super) fn is_complete(&self, record: &Record<'_>) -> bool {
        self.end <= record.data.len()
    }

    /// Where the checksum of TCP or UDP is.
    fn checksum_at(&self) -> usize {
        self.transport + if self.protocol == Protocol::Tcp { 16 } else { 6 }
    }

    /// The checksum that the packet has.
    fn stored(&self, data: &[u8]) -> Option<u16> {
        word(data, self.checksum_at())
    }

    /// The sum of the addresses, the protocol and the length.
    fn pseudo_header(&self, data: &[u8]) -> Option<Sum> {
        let (from, bytes) = if self.version == 4 { (12, 8) } else { (8, 32) };
        let addresses = data.get(self.ip + from..self.ip + from + bytes)?;
        let number = if self.protocol == Protocol::Tcp { 6 } else { 17 };
        Some(
            Sum::default().add(addresses).number(number).number((self.end - self.transport) as u64),
        )
    }

    /// Whether the sender left the checksum to its card.
    ///
    /// The kernel then puts the sum of the pseudo-header where the checksum is to be. One of 65,536
    /// checksums looks like that by chance, which is right as it is: the packet is then left alone
    /// only if it is known to be ready. That it is not ready may concern a packet inside of this one.
    pub(super) fn wants_checksum(&self, record: &Record<'_>) -> bool {
        let stored = self.stored(record.data);
        record.checksum != Checksum::Ready
            && stored.is_some()
            && stored == self.pseudo_header(record.data).map(Sum::folded)
    }

    /// Whether the packet's checksum is what it should be. A datagram may have none.
    pub(super) fn is_sound(&self, data: &[u8]) -> bool {
        let sum = || Some(self.pseudo_header(data)?.add(data.get(self.transport..self.end)?));
        sum().is_some_and(|sum| sum.folded() == 0xffff)
            || (self.protocol == Protocol::Udp && self.version == 4 && self.stored(data) == Some(0))
    }

    /// Computes the checksums of a complete packet.
    pub(super) fn fill(&self, data: &mut [u8]) {
        if self.version == 4 {
            fill_ipv4(data, self.ip, self.transport);
        }
        put(data, self.checksum_at(), 0);
        let Some(pseudo) = self.pseudo_header(data) else { return };
        let Some(bytes) = data.get(self.transport..self.end) else { return };
        let mut checksum = pseudo.add(bytes).checksum();
        // 0 says that there is none (RFC 768).
        if checksum == 0 && self.protocol == Protocol::Udp {
            checksum = 0xffff;
        }
        put(data, self.checksum_at(), checksum);
    }
}

/// Computes the checksum of an IPv4 header.
pub(super) fn fill_ipv4(data: &mut [u8], from: usize, to: usize) {
    put(data, from + 10, 0);
    if let Some(header) = data.get(from..to) {
        let checksum = Sum::default().add(header).checksum();
        put(data, from + 10, checksum);
    }
}

/// Two bytes, most significant first.
pub(super) fn word(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]))
}

/// Puts two bytes, most significant first.
pub(super) fn put(data: &mut [u8], at: usize, value: u16) {
    if let Some(place) = data.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Behind an EtherType, and VLAN tags.
fn tagged(data: &[u8], mut at: usize) -> Option<Layout> {
    for _ in 0..MOST {
        match word(data, at)? {
            0x8100 | 0x88a8 | 0x9100 => at += 4,
            kind => return ip(data, kind, at + 2),
        }
    }
    None
}

fn ip(data: &[u8], kind: u16, at: usize) -> Option<Layout> {
    let layout = match kind {
        IPV4 => ipv4(data, at)?,
        IPV6 => ipv6(data, at)?,
        _ => return None,
    };
    let header = if layout.protocol == Protocol::Tcp { 20 } else { 8 };
    // The fixed header is there, and within the packet.
    let within = layout.transport + header <= layout.end.min(data.len());
    within.then_some(layout)
}

fn protocol(number: u8) -> Option<Protocol> {
    match number {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    }
}

fn ipv4(data: &[u8], at: usize) -> Option<Layout> {
    let first = *data.get(at)?;
    let transport = at + usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || transport < at + 20 || word(data, at + 6)? & 0x3fff != 0 {
        return None;
    }
    let end = at + usize::from(word(data, at + 2)?);
    Some(Layout { ip: at, version: 4, protocol: protocol(*data.get(at + 9)?)?, transport, end })
}

fn ipv6(data: &[u8], at: usize) -> Option<Layout> {
    const HOP_BY_HOP: u8 = 0;
    const DESTINATION: u8 = 60;
    if *data.get(at)? >> 4 != 6 {
        return None;
    }
    let end = at + IPV6_HEADER + usize::from(word(data, at + 4)?);
    let (mut next, mut transport) = (*data.get(at + 6)?, at + IPV6_HEADER);
    for _ in 0..MOST {
        match next {
            // A routing header would change the address that is summed up; fragments are no whole.
            HOP_BY_HOP | DESTINATION => {
                next = *data.get(transport)?;
                transport += (usize::from(*data.get(transport + 1)?) + 1) * 8;
            }
            _ => {
                let protocol = protocol(next)?;
                return Some(Layout { ip: at, version: 6, protocol, transport, end });
            }
        }
    }
    None
}
