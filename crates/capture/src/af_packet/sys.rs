//! The packet socket's system calls (packet(7)).
#![allow(unsafe_code, reason = "socket options and addresses of AF_PACKET have no safe wrapper")]

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

/// `ETH_P_ALL`: every protocol.
pub(super) const EVERY_PROTOCOL: u16 = 0x0003;
/// An EtherType that is reserved, so that nothing carries it.
pub(super) const NO_PROTOCOL: u16 = 0xffff;

/// What the kernel counted since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Packets that passed the filter, dropped ones included.
    pub(super) packets: u32,
    /// Packets that found the ring full.
    pub(super) drops: u32,
}

/// Turns `name` of `SOL_PACKET` to `value`.
pub(super) fn set_option(fd: BorrowedFd<'_>, name: libc::c_int, value: u32) -> io::Result<()> {
    set(fd, name, &value)
}

/// Asks for a receive ring.
pub(super) fn set_ring(fd: BorrowedFd<'_>, request: &libc::tpacket_req3) -> io::Result<()> {
    set(fd, libc::PACKET_RX_RING, request)
}

/// Makes the interface promiscuous for as long as the socket is open: the kernel counts who wants it, and forgets this
/// one at close.
pub(super) fn join_promisc(fd: BorrowedFd<'_>, ifindex: i32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: ifindex,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(fd, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Binds to `protocol` on `ifindex` (0: every interface). Returns when no packet of the former binding is on its way
/// into the ring any more: the kernel waits for them when the protocol changes (`packet_do_bind`).
pub(super) fn bind(fd: BorrowedFd<'_>, ifindex: i32, protocol: u16) -> io::Result<()> {
    // SAFETY: `struct sockaddr_ll` is integers and an array of them: all zeroes are a value of it.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex;
    let length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is valid for reads of `length` bytes for the time of the call.
    done(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })
}

/// The interface the socket is bound to; -1 once that is gone.
pub(super) fn bound_to(fd: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: `struct sockaddr_ll` is integers and an array of them: all zeroes are a value of it.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is valid for writes of `length` bytes, which is all that the kernel writes.
    done(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) })?;
    Ok(address.sll_ifindex)
}

/// Reads the kernel's counters, which sets them to zero.
pub(super) fn take_counters(fd: BorrowedFd<'_>) -> io::Result<Counters> {
    let mut counters = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
    let mut length = mem::size_of_val(&counters) as libc::socklen_t;
    // SAFETY: the counters are valid for writes of `length` bytes, and every pattern of bits is a value of them.
    done(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut counters).cast(),
            &raw mut length,
        )
    })?;
    Ok(Counters { packets: counters.tp_packets, drops: counters.tp_drops })
}

fn set<T: Copy>(fd: BorrowedFd<'_>, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of its own size for the time of the call; none of the three types above that are
    // set has padding.
    done(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            std::ptr::from_ref(value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    })
}

fn done(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
