use core::net::{Ipv4Addr, Ipv6Addr};

use super::{DEVICE_NAME_MAX, Malformed, MessageType, Reader, write_message};

/// Ends the description of the only device that may be opened, where the operator has chosen one
/// (docs/protocol.md, "Preselected interfaces").
pub const PRESELECTED: &[u8] = b";preselected";

/// Bytes of one address on the wire.
const BLOCK: usize = 128;
/// Bytes of one record before its name.
const RECORD_HEAD: usize = 12;

const AF_INET: u16 = 2;
/// Linux's number, which ExtraHop's daemon sends and libpcap's clients take for what it is.
const AF_INET6: u16 = 10;
const AF_PACKET: u16 = 17;

/// A capture device as FINDALLIF tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// The name that OPEN takes: any bytes.
    pub name: Vec<u8>,
    /// What people call it; may be empty.
    pub description: Vec<u8>,
    /// libpcap's `PCAP_IF_` bits.
    pub flags: u32,
    /// Its addresses, in order.
    pub addresses: Vec<Address>,
}

/// One address of a device and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub addr: Option<SockAddr>,
    /// Its netmask.
    pub netmask: Option<SockAddr>,
    /// The broadcast address of its network.
    pub broadcast: Option<SockAddr>,
    /// The other end of a point-to-point link.
    pub peer: Option<SockAddr>,
}

/// An address of a family that the protocol carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SockAddr {
    /// IPv4.
    V4(Ipv4Addr),
    /// IPv6.
    V6 {
        /// The address.
        addr: Ipv6Addr,
        /// Flow information, mostly 0.
        flow_info: u32,
        /// The interface that a link-local address belongs to.
        scope_id: u32,
    },
    /// A hardware address, which ExtraHop's sensors look for.
    Mac {
        /// The interface's index on the daemon's host.
        if_index: u32,
        /// ARP hardware type, 1 for Ethernet.
        hardware_type: u16,
        /// How many bytes of `addr` count, at most 8.
        len: u8,
        /// The address, from the front.
        addr: [u8; 8],
    },
}

impl SockAddr {
    /// Reads one block; `None` for an absent address or a family that has no meaning here.
    fn read(r: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        let mut r = r.sub(BLOCK)?;
        let family = r.u16()?;
        Ok(match family {
            // The native numbers of Linux, Windows and the BSDs, the latter with their length byte.
            AF_INET | 0x1000 | 0x1002 => {
                let _port = r.u16()?;
                Some(Self::V4(r.array::<4>()?.into()))
            }
            AF_INET6 | 22 | 23 | 24 | 26 | 0x1c00 | 0x1c18 | 0x1c1c | 0x1c1e => {
                let _port = r.u16()?;
                let flow_info = r.u32()?;
                let addr = r.array::<16>()?.into();
                Some(Self::V6 { addr, flow_info, scope_id: r.u32()? })
            }
            AF_PACKET => {
                let _protocol = r.u16()?;
                // In the daemon's own byte order, which FINDALLIF does not tell: Linux on a
                // big-endian host is not expected.
                let if_index = u32::from_le_bytes(r.array()?);
                let hardware_type = u16::from_le_bytes(r.array()?);
                let _packet_type = r.u8()?;
                let len = r.u8()?.min(8);
                Some(Self::Mac { if_index, hardware_type, len, addr: r.array()? })
            }
            _ => None,
        })
    }

    fn write(address: Option<&Self>, out: &mut Vec<u8>) {
        let end = out.len() + BLOCK;
        match address {
            None => {}
            Some(Self::V4(addr)) => {
                out.extend_from_slice(&AF_INET.to_be_bytes());
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(&addr.octets());
            }
            Some(Self::V6 { addr, flow_info, scope_id }) => {
                out.extend_from_slice(&AF_INET6.to_be_bytes());
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(&flow_info.to_be_bytes());
                out.extend_from_slice(&addr.octets());
                out.extend_from_slice(&scope_id.to_be_bytes());
            }
            Some(Self::Mac { if_index, hardware_type, len, addr }) => {
                out.extend_from_slice(&AF_PACKET.to_be_bytes());
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(&if_index.to_le_bytes());
                out.extend_from_slice(&hardware_type.to_le_bytes());
                out.extend_from_slice(&[0, (*len).min(8)]);
                out.extend_from_slice(addr);
            }
        }
        out.resize(end, 0);
    }
}

/// Appends the reply that lists `devices`.
///
/// Names and descriptions beyond what clients accept are cut, devices beyond 65,535 and addresses
/// beyond 65,535 of one device are left out: the counts are 16 bits wide.
pub fn write_devices(out: &mut Vec<u8>, devices: &[Device]) {
    let devices = &devices[..devices.len().min(u16::MAX.into())];
    write_message(out, MessageType::FindAllIfReply, devices.len() as u16, |b| {
        for device in devices {
            let name = &device.name[..device.name.len().min(DEVICE_NAME_MAX)];
            let description = &device.description[..device.description.len().min(DEVICE_NAME_MAX)];
            let addresses = &device.addresses[..device.addresses.len().min(u16::MAX.into())];
            b.extend_from_slice(&(name.len() as u16).to_be_bytes());
            b.extend_from_slice(&(description.len() as u16).to_be_bytes());
            b.extend_from_slice(&device.flags.to_be_bytes());
            b.extend_from_slice(&(addresses.len() as u16).to_be_bytes());
            b.extend_from_slice(&[0; 2]);
            b.extend_from_slice(name);
            b.extend_from_slice(description);
            for a in addresses {
                for block in [&a.addr, &a.netmask, &a.broadcast, &a.peer] {
                    SockAddr::write(block.as_ref(), b);
                }
            }
        }
    });
}

/// Reads the reply's payload; `count` is the header's value.
///
/// Addresses of families without a meaning are dropped, and entries of which nothing is left. Room
/// is made for what is there, never for what is claimed.
pub fn read_devices(payload: &[u8], count: u16) -> Result<Vec<Device>, Malformed> {
    let mut r = Reader::new(payload);
    let mut devices = Vec::with_capacity(usize::from(count).min(payload.len() / RECORD_HEAD));
    for _ in 0..count {
        let name_len = usize::from(r.u16()?);
        let description_len = usize::from(r.u16()?);
        let flags = r.u32()?;
        let address_count = r.u16()?;
        let _unused = r.u16()?;
        if name_len > DEVICE_NAME_MAX || description_len > DEVICE_NAME_MAX {
            return Err(Malformed::Value("device name or description is longer than 1024 bytes"));
        }
        let name = r.take(name_len)?.to_vec();
        let description = r.take(description_len)?.to_vec();
        let mut blocks = r.sub(usize::from(address_count) * 4 * BLOCK)?;
        let mut addresses = Vec::with_capacity(address_count.into());
        while blocks.remaining() > 0 {
            let address = Address {
                addr: SockAddr::read(&mut blocks)?,
                netmask: SockAddr::read(&mut blocks)?,
                broadcast: SockAddr::read(&mut blocks)?,
                peer: SockAddr::read(&mut blocks)?,
            };
            if address != Address::default() {
                addresses.push(address);
            }
        }
        devices.push(Device { name, description, flags, addresses });
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_110_claims_beyond_the_payload_are_refused() {
        assert_eq!(read_devices(&[], 65_535), Err(Malformed::Short));
        let mut head = vec![0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        head.extend_from_slice(b"eth0");
        assert_eq!(read_devices(&head, 1), Err(Malformed::Short));
        let many = [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
        assert_eq!(read_devices(&many, 1), Err(Malformed::Short));
    }

    #[test]
    fn d8_111_families_of_every_system_are_understood() {
        for (family, expected) in [
            (2u16, true),
            (10, true),
            (17, true),
            (23, true),
            (0x1000, true),
            (0x1c1e, true),
            (0xffff, false),
        ] {
            let mut payload = vec![0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, b'x'];
            payload.extend_from_slice(&family.to_be_bytes());
            payload.resize(13 + 512, 0);
            let devices = read_devices(&payload, 1).unwrap();
            assert_eq!(devices[0].addresses.len(), usize::from(expected), "{family:#x}");
        }
    }

    #[test]
    fn the_documented_example() {
        let lo = Device {
            name: b"lo".to_vec(),
            flags: 0x37,
            addresses: vec![Address {
                addr: Some(SockAddr::V4(Ipv4Addr::LOCALHOST)),
                netmask: Some(SockAddr::V4(Ipv4Addr::new(255, 0, 0, 0))),
                ..Address::default()
            }],
            ..Device::default()
        };
        let mut out = Vec::new();
        write_devices(&mut out, core::slice::from_ref(&lo));
        assert_eq!(out[..8], [0, 0x82, 0, 1, 0, 0, 2, 0x0e]);
        assert_eq!(out[20..30], [b'l', b'o', 0, 2, 0, 0, 127, 0, 0, 1]);
        assert_eq!(read_devices(&out[8..], 1).unwrap(), [lo]);
    }
}
