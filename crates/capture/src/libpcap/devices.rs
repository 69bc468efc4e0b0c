//! What `pcap_findalldevs()` lists.
#![allow(unsafe_code, reason = "a C library, loaded at run time, gives linked lists")]

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    ptr,
};

use super::library::{Addresses, Interface, functions, message, text};
use crate::{
    Error,
    devices::{Address, Device, Flags, Sockaddr},
};

#[cfg(unix)]
const AF_INET: u16 = libc::AF_INET as u16;
#[cfg(unix)]
const AF_INET6: u16 = libc::AF_INET6 as u16;
// Of ws2def.h.
#[cfg(windows)]
const AF_INET: u16 = 2;
#[cfg(windows)]
const AF_INET6: u16 = 23;

/// Bytes of the longest address that is understood, `struct sockaddr_in6`.
const LONGEST: usize = 28;

/// The list, in libpcap's order.
pub(crate) fn list() -> Result<Vec<Device>, Error> {
    let functions = functions().map_err(|reason| Error::LibraryMissing { reason })?;
    let mut first = ptr::null();
    let mut buffer = [0; 256];
    // SAFETY: the pointer is valid for writes; the buffer is as long as libpcap wants it.
    let status = unsafe { (functions.findalldevs)(&raw mut first, buffer.as_mut_ptr()) };
    if status != 0 {
        let words = io::Error::other(message(buffer));
        return Err(Error::call("pcap_findalldevs", "the interfaces", words));
    }
    let mut devices = Vec::new();
    let mut next = first;
    // SAFETY: null, or an element of the list, which lives until it is freed.
    while let Some(interface) = unsafe { next.as_ref() } {
        // SAFETY: the element lives, and so does all that it points to.
        devices.push(unsafe { device(interface) });
        next = interface.next;
    }
    // SAFETY: libpcap's own list, of which everything was copied.
    unsafe { (functions.freealldevs)(first) };
    Ok(devices)
}

/// # Safety
///
/// What `interface` points to is as `pcap_findalldevs()` made it.
unsafe fn device(interface: &Interface) -> Device {
    let mut addresses = Vec::new();
    let mut next = interface.addresses;
    // SAFETY: null, or an element of the list.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: the element lives, and so do its addresses.
        addresses.extend(unsafe { address(entry) });
        next = entry.next;
    }
    Device {
        // SAFETY: null, or a text of the list's.
        name: unsafe { text(interface.name) }.unwrap_or_default(),
        // SAFETY: as above.
        description: unsafe { text(interface.description) }.filter(|text| !text.is_empty()),
        flags: Flags(interface.flags),
        addresses,
    }
}

/// # Safety
///
/// What `entry` points to is as `pcap_findalldevs()` made it.
unsafe fn address(entry: &Addresses) -> Option<Address> {
    // SAFETY: null, or an address of the list's.
    let (family, bytes) = unsafe { raw(entry.addr, None) }?;
    let other = |pointer| {
        // A mask may come without a family of its own.
        // SAFETY: as above.
        let (family, bytes) = unsafe { raw(pointer, Some(family)) }?;
        sockaddr(family, &bytes)
    };
    Some(Address {
        addr: sockaddr(family, &bytes)?,
        netmask: other(entry.netmask),
        broadcast: other(entry.broadcast),
        peer: other(entry.peer),
    })
}

/// Family and bytes of an address, with zeroes behind a shorter one.
///
/// # Safety
///
/// `address` is null, or points to a `struct sockaddr` of its family's length; where it has a length of its own, of that.
unsafe fn raw(address: *const u8, family: Option<u16>) -> Option<(u16, [u8; LONGEST])> {
    if address.is_null() {
        return None;
    }
    let mut bytes = [0; LONGEST];
    // SAFETY: every address begins with two bytes that say what it is.
    let head = unsafe { ptr::read_unaligned(address.cast::<[u8; 2]>()) };
    let (own, len) = if cfg!(any(target_os = "linux", windows)) {
        (u16::from_ne_bytes(head), None)
    } else {
        (u16::from(head[1]), Some(usize::from(head[0])))
    };
    let family = if own == 0 { family? } else { own };
    let whole = match family {
        AF_INET => 16,
        AF_INET6 => LONGEST,
        #[cfg(target_os = "linux")]
        AF_PACKET => 20,
        _ => return None,
    };
    let len = len.unwrap_or(whole).min(whole);
    // SAFETY: the address has as many bytes; the array has room for the longest.
    unsafe { ptr::copy_nonoverlapping(address, bytes.as_mut_ptr(), len) };
    Some((family, bytes))
}

#[cfg(target_os = "linux")]
const AF_PACKET: u16 = libc::AF_PACKET as u16;

/// `struct sockaddr_in`, `sockaddr_in6` and, on Linux, `sockaddr_ll`.
fn sockaddr(family: u16, bytes: &[u8; LONGEST]) -> Option<Sockaddr> {
    let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    match family {
        AF_INET => Some(Sockaddr::V4(Ipv4Addr::from(word(4)))),
        AF_INET6 => {
            let mut addr = [0; 16];
            addr.copy_from_slice(&bytes[8..24]);
            Some(Sockaddr::V6 {
                addr: Ipv6Addr::from(addr),
                flowinfo: u32::from_ne_bytes(word(4)),
                scope_id: u32::from_ne_bytes(word(24)),
            })
        }
        #[cfg(target_os = "linux")]
        AF_PACKET => {
            let mut addr = [0; 8];
            addr.copy_from_slice(&bytes[12..20]);
            Some(Sockaddr::Mac {
                ifindex: u32::from_ne_bytes(word(4)),
                hatype: u16::from_ne_bytes([bytes[8], bytes[9]]),
                pkttype: bytes[10],
                len: bytes[11],
                addr,
            })
        }
        _ => None,
    }
}
