//! What libpcap itself says, through its own functions.
#![allow(dead_code, reason = "each test binary uses its part of this")]
#![allow(unsafe_code, reason = "a C library, loaded at run time")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    net::{Ipv4Addr, Ipv6Addr},
    ptr, slice,
};

use capture::{
    Instruction,
    devices::{Address, Device, Flags, Sockaddr},
};
use libloading::Library;

/// libpcap, or `None` and a line that says why not.
pub(crate) fn load() -> Option<Library> {
    // SAFETY: libpcap runs nothing of consequence when it is loaded.
    let named = |name| unsafe { Library::new(name) };
    match named("libpcap.so.0.8").or_else(|_| named("libpcap.so.1")) {
        Ok(library) => Some(library),
        Err(error) => {
            super::skip(&format!(
                "compares with libpcap, which is missing (install libpcap0.8): {error}"
            ));
            None
        }
    }
}

/// `bpf_filter` on the whole of `packet`. The program must be valid, or it is undefined.
pub(crate) fn bpf_filter(
    library: &Library,
    program: &[Instruction],
    packet: &[u8],
    len: u32,
) -> u32 {
    type Filter = unsafe extern "C" fn(*const Instruction, *const u8, c_uint, c_uint) -> c_uint;
    // SAFETY: that is its type in pcap/bpf.h.
    let filter = unsafe { library.get::<Filter>(c"bpf_filter") }.unwrap();
    // SAFETY: the packet is valid for its length, and the caller vouches for the program.
    unsafe { filter(program.as_ptr(), packet.as_ptr(), len, packet.len() as c_uint) }
}

#[repr(C)]
struct PcapHeader {
    ts: libc::timeval,
    caplen: u32,
    len: u32,
}

/// A capture of libpcap's own.
pub(crate) struct Pcap<'a> {
    library: &'a Library,
    pcap: *mut c_void,
}

impl<'a> Pcap<'a> {
    /// `pcap_open_live`, not promiscuous; `Err` with its words.
    pub(crate) fn open(library: &'a Library, device: &str, snaplen: u32) -> Result<Self, String> {
        type Open =
            unsafe extern "C" fn(*const c_char, c_int, c_int, c_int, *mut c_char) -> *mut c_void;
        // SAFETY: that is its type in pcap/pcap.h.
        let open = unsafe { library.get::<Open>(c"pcap_open_live") }.unwrap();
        let device = CString::new(device).unwrap();
        let mut message = [0; 256];
        // SAFETY: the name ends in a zero byte; the message has PCAP_ERRBUF_SIZE bytes.
        let pcap = unsafe { open(device.as_ptr(), snaplen as c_int, 0, 10, message.as_mut_ptr()) };
        if pcap.is_null() {
            return Err(text(message.as_ptr()).unwrap());
        }
        type Nonblock = unsafe extern "C" fn(*mut c_void, c_int, *mut c_char) -> c_int;
        // SAFETY: that is its type in pcap/pcap.h.
        let set_nonblock = unsafe { library.get::<Nonblock>(c"pcap_setnonblock") }.unwrap();
        // Its read timeout does not limit how long it waits for a first packet.
        // SAFETY: the capture is open; the message as above.
        let status = unsafe { set_nonblock(pcap, 1, message.as_mut_ptr()) };
        assert_eq!(status, 0);
        Ok(Self { library, pcap })
    }

    /// `pcap_datalink`.
    pub(crate) fn linktype(&self) -> u32 {
        type Datalink = unsafe extern "C" fn(*mut c_void) -> c_int;
        // SAFETY: that is its type in pcap/pcap.h.
        let datalink = unsafe { self.library.get::<Datalink>(c"pcap_datalink") }.unwrap();
        // SAFETY: the capture is open.
        unsafe { datalink(self.pcap) as u32 }
    }

    /// `pcap_next_ex`: wire length and bytes of one packet, `None` if none is there.
    pub(crate) fn next(&mut self) -> Option<(u32, Vec<u8>)> {
        type Next =
            unsafe extern "C" fn(*mut c_void, *mut *const PcapHeader, *mut *const u8) -> c_int;
        // SAFETY: that is its type in pcap/pcap.h.
        let next = unsafe { self.library.get::<Next>(c"pcap_next_ex") }.unwrap();
        let mut header = ptr::null();
        let mut data = ptr::null();
        // SAFETY: the capture is open, both pointers are valid for writes.
        if unsafe { next(self.pcap, &raw mut header, &raw mut data) } != 1 {
            return None;
        }
        // SAFETY: after 1, it points to a header that is valid until the next call.
        let header = unsafe { header.as_ref() }.unwrap();
        // SAFETY: after 1, there are `caplen` bytes, valid until the next call.
        let data = unsafe { slice::from_raw_parts(data, header.caplen as usize) };
        Some((header.len, data.to_vec()))
    }
}

impl Drop for Pcap<'_> {
    fn drop(&mut self) {
        type Close = unsafe extern "C" fn(*mut c_void);
        // SAFETY: that is its type in pcap/pcap.h.
        let close = unsafe { self.library.get::<Close>(c"pcap_close") }.unwrap();
        // SAFETY: the capture is open, and not used after this.
        unsafe { close(self.pcap) };
    }
}

#[repr(C)]
struct PcapIf {
    next: *const PcapIf,
    name: *const c_char,
    description: *const c_char,
    addresses: *const PcapAddr,
    flags: u32,
}

#[repr(C)]
struct PcapAddr {
    next: *const PcapAddr,
    addr: *const libc::sockaddr,
    netmask: *const libc::sockaddr,
    broadaddr: *const libc::sockaddr,
    dstaddr: *const libc::sockaddr,
}

/// `pcap_findalldevs`, with its pointers followed.
pub(crate) fn findalldevs(library: &Library) -> Vec<Device> {
    type FindAll = unsafe extern "C" fn(*mut *const PcapIf, *mut c_char) -> c_int;
    type FreeAll = unsafe extern "C" fn(*const PcapIf);
    // SAFETY: that is its type in pcap/pcap.h.
    let find_all = unsafe { library.get::<FindAll>(c"pcap_findalldevs") }.unwrap();
    // SAFETY: as above.
    let free_all = unsafe { library.get::<FreeAll>(c"pcap_freealldevs") }.unwrap();
    let mut first = ptr::null();
    let mut message = [0; 256];
    // SAFETY: both are valid for writes; the message has PCAP_ERRBUF_SIZE bytes.
    let status = unsafe { find_all(&raw mut first, message.as_mut_ptr()) };
    assert_eq!(status, 0);
    let mut devices = Vec::new();
    let mut next = first;
    // SAFETY: a list of libpcap's ends in a null pointer, and lives until it is freed.
    while let Some(device) = unsafe { next.as_ref() } {
        devices.push(Device {
            name: text(device.name).unwrap(),
            description: text(device.description),
            flags: Flags(device.flags),
            addresses: addresses(device.addresses),
        });
        next = device.next;
    }
    // SAFETY: it came from pcap_findalldevs, and nothing points into it any more.
    unsafe { free_all(first) };
    devices
}

fn text(text: *const c_char) -> Option<String> {
    // SAFETY: libpcap's texts end in a zero byte.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
}

fn addresses(mut next: *const PcapAddr) -> Vec<Address> {
    let mut out = Vec::new();
    // SAFETY: as for devices.
    while let Some(address) = unsafe { next.as_ref() } {
        next = address.next;
        let Some(addr) = sockaddr(address.addr) else {
            continue;
        };
        out.push(Address {
            addr,
            netmask: sockaddr(address.netmask),
            broadcast: sockaddr(address.broadaddr),
            peer: sockaddr(address.dstaddr),
        });
    }
    out
}

fn sockaddr(address: *const libc::sockaddr) -> Option<Sockaddr> {
    // SAFETY: null, or an address that libpcap copied in full.
    match c_int::from(unsafe { address.as_ref() }?.sa_family) {
        libc::AF_INET => {
            // SAFETY: the family says so.
            let v4 = unsafe { &*address.cast::<libc::sockaddr_in>() };
            Some(Sockaddr::V4(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes())))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says so.
            let v6 = unsafe { &*address.cast::<libc::sockaddr_in6>() };
            let addr = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(Sockaddr::V6 { addr, scope_id: v6.sin6_scope_id, flowinfo: v6.sin6_flowinfo })
        }
        libc::AF_PACKET => {
            // SAFETY: the family says so.
            let ll = unsafe { &*address.cast::<libc::sockaddr_ll>() };
            Some(Sockaddr::Mac {
                ifindex: ll.sll_ifindex as u32,
                hatype: ll.sll_hatype,
                pkttype: ll.sll_pkttype,
                addr: ll.sll_addr,
                len: ll.sll_halen,
            })
        }
        _ => None,
    }
}
