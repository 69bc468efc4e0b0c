use std::io::IoSlice;

/// Bytes of an Ethernet header.
pub(super) const HEADER: usize = 14;
/// The least that a type field has; below, it is a length (IEEE 802.3).
const LEAST_TYPE: u16 = 0x0600;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// `ETH_P_802_2` of `linux/if_ether.h`: an LLC frame, whose Ethernet header has a length.
const LLC: u16 = 0x0004;

/// What packets of a link type have in front, and so how they become Ethernet frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// They are.
    Ethernet,
    /// Nothing to keep, so many bytes of it, and then IP.
    Ip(usize),
    /// Where the protocol's number, the hardware's type and what goes on in front end.
    Cooked { protocol: usize, hardware: usize, end: usize },
}

/// A frame: a header that was made, if one was, and bytes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    header: Option<[u8; HEADER]>,
    rest: &'a [u8],
}

impl Framing {
    /// For a link type (`DLT_`), if frames can be made of its packets.
    pub(super) fn of(linktype: u32) -> Option<Self> {
        Some(match linktype {
            1 => Self::Ethernet,
            // RAW, IPV4, IPV6.
            12 | 14 | 101 | 228 | 229 => Self::Ip(0),
            // NULL and LOOP: the number of a family, which each system has its own of.
            0 | 108 => Self::Ip(4),
            // LINUX_SLL and LINUX_SLL2.
            113 => Self::Cooked { protocol: 14, hardware: 2, end: 16 },
            276 => Self::Cooked { protocol: 0, hardware: 8, end: 20 },
            _ => return None,
        })
    }

    /// The frame of a packet, if there is one.
    pub(super) fn frame(self, packet: &[u8]) -> Option<Frame<'_>> {
        match self {
            Self::Ethernet => {
                (packet.len() >= HEADER).then_some(Frame { header: None, rest: packet })
            }
            Self::Ip(skip) => {
                let rest = packet.get(skip..)?;
                let kind = match rest.first()? >> 4 {
                    4 => IPV4,
                    6 => IPV6,
                    _ => return None,
                };
                Some(Frame::new(kind, rest))
            }
            Self::Cooked { protocol, hardware, end } => {
                let word = |at: usize| Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?));
                let rest = packet.get(end..)?;
                // Of some hardware the protocol is another kind of number (LINKTYPE_LINUX_SLL).
                let kind = match (word(hardware)?, word(protocol)?) {
                    (770 | 778 | 801..=803 | 824, _) => return None,
                    (_, LLC) => u16::try_from(rest.len()).ok().filter(|n| *n < LEAST_TYPE)?,
                    (_, kind) if kind < LEAST_TYPE => return None,
                    (_, kind) => kind,
                };
                Some(Frame::new(kind, rest))
            }
        }
    }
}

impl<'a> Frame<'a> {
    /// From nobody to nobody.
    fn new(kind: u16, rest: &'a [u8]) -> Self {
        let mut header = [0; HEADER];
        let [.., high, low] = &mut header;
        [*high, *low] = kind.to_be_bytes();
        Self { header: Some(header), rest }
    }

    pub(super) fn len(&self) -> usize {
        self.header.map_or(0, |h| h.len()) + self.rest.len()
    }

    /// Its bytes, one part after the other.
    pub(super) fn parts(&self) -> [IoSlice<'_>; 2] {
        let header = self.header.as_ref().map_or(&[][..], |h| h);
        [IoSlice::new(header), IoSlice::new(self.rest)]
    }

    /// A number that packets of one conversation share, those of both directions.
    pub(super) fn conversation(&self) -> u32 {
        let (header, behind) = match (&self.header, self.rest.split_at_checked(HEADER)) {
            (Some(header), _) => (&header[..], self.rest),
            (None, Some(split)) => split,
            (None, None) => return 0,
        };
        let (stations, kind) = header.split_at(12);
        let kind = kind.first_chunk().map_or(0, |kind| u16::from_be_bytes(*kind));
        of_ip(kind, behind).unwrap_or_else(|| both(&stations[..6], &stations[6..]))
    }

    pub(super) fn copy_to(&self, buffer: &mut Vec<u8>) {
        self.parts().iter().for_each(|part| buffer.extend_from_slice(part));
    }
}

/// What both ends of a conversation are, the same whichever sends.
fn both(a: &[u8], b: &[u8]) -> u32 {
    let hash = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
    };
    hash(a).wrapping_add(hash(b))
}

/// The conversation of an IP packet behind this type, and perhaps behind VLAN tags.
fn of_ip(mut kind: u16, mut behind: &[u8]) -> Option<u32> {
    while matches!(kind, 0x8100 | 0x88a8 | 0x9100) {
        kind = u16::from_be_bytes(*behind.get(2..)?.first_chunk()?);
        behind = behind.get(4..)?;
    }
    match kind {
        IPV4 => ipv4(behind),
        IPV6 => ipv6(behind),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<u32> {
    let ends = both(packet.get(12..16)?, packet.get(16..20)?);
    // Only the first fragment has ports, so none of them counts.
    let whole = packet.get(6)? & 0x3f == 0 && packet.get(7)? == &0;
    let header = usize::from(packet.first()? & 0xf) * 4;
    let ports = packet.get(header..header + 4).filter(|_| whole);
    Some(with_ports(ends, *packet.get(9)?, ports))
}

fn ipv6(packet: &[u8]) -> Option<u32> {
    let ends = both(packet.get(8..24)?, packet.get(24..40)?);
    Some(with_ports(ends, *packet.get(6)?, packet.get(40..44)))
}

fn with_ports(ends: u32, protocol: u8, ports: Option<&[u8]>) -> u32 {
    // TCP, UDP, SCTP.
    match ports.filter(|_| matches!(protocol, 6 | 17 | 132)) {
        Some(ports) => ends.rotate_left(7) ^ both(&ports[..2], &ports[2..]) ^ u32::from(protocol),
        None => ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(linktype: u32, packet: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let frame = Framing::of(linktype).expect("a link type that frames are made of");
        let frame = frame.frame(packet)?;
        frame.copy_to(&mut bytes);
        assert_eq!(bytes.len(), frame.len());
        Some(bytes)
    }

    fn made(kind: u16, rest: &[u8]) -> Option<Vec<u8>> {
        Some([&[0; 12][..], &kind.to_be_bytes(), rest].concat())
    }

    #[test]
    fn what_is_ethernet_stays_as_it_is() {
        let frame: Vec<u8> = (0..60).collect();
        assert_eq!(bytes(1, &frame), Some(frame.clone()));
        assert_eq!(bytes(1, &frame[..14]), Some(frame[..14].to_vec()));
        assert_eq!(bytes(1, &frame[..13]), None);
    }

    #[test]
    fn ip_gets_a_header() {
        for linktype in [12, 101, 228, 229] {
            assert_eq!(bytes(linktype, b"\x45rest"), made(0x0800, b"\x45rest"));
            assert_eq!(bytes(linktype, b"\x60rest"), made(0x86dd, b"\x60rest"));
            assert_eq!(bytes(linktype, b"\x50rest"), None);
            assert_eq!(bytes(linktype, b""), None);
        }
        assert_eq!(bytes(0, b"\x1e\0\0\0\x60rest"), made(0x86dd, b"\x60rest"));
        assert_eq!(bytes(108, b"\0\0\0\x02\x45"), made(0x0800, b"\x45"));
        assert_eq!(bytes(0, b"\x02\0\0"), None);
    }

    #[test]
    fn cooked_packets_get_a_header() {
        let sll = |hardware: u16, protocol: u16, rest: &[u8]| {
            let (hardware, protocol) = (hardware.to_be_bytes(), protocol.to_be_bytes());
            [&[0, 4][..], &hardware, &[0, 6, 1, 2, 3, 4, 5, 6, 0, 0], &protocol, rest].concat()
        };
        assert_eq!(bytes(113, &sll(1, 0x0806, b"arp")), made(0x0806, b"arp"));
        assert_eq!(bytes(113, &sll(772, 0x8100, b"\0\x05tag")), made(0x8100, b"\0\x05tag"));
        assert_eq!(bytes(113, &sll(1, 4, b"BBspanning")), made(10, b"BBspanning"));
        assert_eq!(bytes(113, &sll(1, 4, &[0; 1600])), None);
        assert_eq!(bytes(113, &sll(1, 1, b"ipx")), None);
        assert_eq!(bytes(113, &sll(824, 0x0800, b"netlink")), None);
        assert_eq!(bytes(113, &[0; 15]), None);
        let sll2 = [&[0x08, 0, 0, 0, 0, 0, 0, 7, 0, 1][..], &[0; 10], b"\x45rest"].concat();
        assert_eq!(bytes(276, &sll2), made(0x0800, b"\x45rest"));
        assert_eq!(bytes(276, &sll2[..19]), None);
    }

    #[test]
    fn other_link_types_have_no_frames() {
        for linktype in [105, 127, 147, 239, u32::MAX] {
            assert_eq!(Framing::of(linktype), None);
        }
    }

    fn conversation(bytes: &[u8]) -> u32 {
        Framing::Ethernet.frame(bytes).map_or(0, |frame| frame.conversation())
    }

    #[test]
    fn both_directions_are_one_conversation_and_others_are_others() {
        let tcp = |from: [u8; 4], to: [u8; 4], ports: [u8; 4], tag: &[u8], more: u8| {
            let stations: [&[u8]; 2] = match from < to {
                true => [b"aaaaaa", b"bbbbbb"],
                false => [b"bbbbbb", b"aaaaaa"],
            };
            let ip = [0x45, 0, 0, 40, 0, 0, more, 0, 64, 6, 0, 0];
            let parts: [&[u8]; 8] =
                [stations[0], stations[1], tag, b"\x08\0", &ip, &from, &to, &ports];
            conversation(&parts.concat())
        };
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let there = tcp(a, b, [0, 80, 5, 6], b"", 0);
        assert_eq!(there, tcp(b, a, [5, 6, 0, 80], b"", 0));
        assert_eq!(there, tcp(b, a, [5, 6, 0, 80], b"\x81\0\0\x07", 0x40));
        assert_ne!(there, tcp(a, b, [0, 80, 5, 7], b"", 0));
        assert_ne!(there, tcp(a, [10, 0, 0, 3], [0, 80, 5, 6], b"", 0));
        // A fragment has other bytes where ports would be.
        assert_eq!(tcp(a, b, [1; 4], b"", 0x20), tcp(a, b, [2; 4], b"", 0x20));
        let arp = [&b"aaaaaabbbbbb"[..], b"\x08\x06rest"].concat();
        let back = [&b"bbbbbbaaaaaa"[..], b"\x08\x06more"].concat();
        assert_eq!(conversation(&arp), conversation(&back));
        // A header that was made is no matter.
        let ip = [&b"\x45\0\0\x28\0\0\0\0\x40\x06\0\0"[..], &a, &b, &[0, 80, 5, 6]].concat();
        assert_eq!(there, Framing::Ip(0).frame(&ip).expect("a frame").conversation());
        // Whatever it is, and wherever it ends.
        let frame = [&b"aaaaaabbbbbb\x81\0\0\x01\x86\xdd\x60"[..], &[6; 60]].concat();
        for end in 0..frame.len() {
            conversation(&frame[..end]);
        }
    }
}
