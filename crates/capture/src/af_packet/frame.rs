//! From a frame in the ring to a packet as libpcap would give it: cooked header, VLAN tag, snaplen. All in place.

use std::mem::offset_of;

use libc::tpacket3_hdr as Hdr;

use super::linktype::Kind;
use crate::{
    Checksum, Instruction, Packet, Timestamp,
    filter::{Aux, run},
};

/// Bytes of `struct tpacket3_hdr` and the `struct sockaddr_ll` after it (`TPACKET3_HDRLEN`): nothing of a packet may
/// begin before.
const FRAME_HEAD: usize = SLL + size_of::<libc::sockaddr_ll>();
/// Where the address begins: `TPACKET_ALIGN(sizeof(struct tpacket3_hdr))`.
const SLL: usize = size_of::<Hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
/// Bytes of a VLAN tag.
pub(super) const VLAN_LEN: usize = 4;
/// Bytes of a `DLT_LINUX_SLL` header.
const COOKED_LEN: usize = 16;
/// `ETH_P_8021Q`.
const DOT1Q: u16 = 0x8100;
/// `ETH_P_CANFD`, as a cooked header has it.
const CAN_FD: u16 = 0x000d;
/// The bit in a CAN frame's flags that says CAN FD, and all that are defined.
const CAN_FD_FLAG: u8 = 0x04;
const CAN_FD_FLAGS: u8 = 0x07;

const _: () = {
    assert!(SLL == 48 && FRAME_HEAD == 68);
    assert!(offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci) == 4);
    assert!(offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tpid) == 8);
};

/// What a capture does to each packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) kind: Kind,
    pub(super) snaplen: usize,
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// The user-space filter refused it.
    Refused,
    /// Its offsets point outside of it: not something a kernel does.
    Malformed,
}

/// How far the next frame is from the beginning of this one, in bytes; 0 in the last one of a block. `None` if `rest`
/// does not even hold a frame's head.
#[inline]
pub(super) fn next_offset(rest: &[u8]) -> Option<usize> {
    (rest.len() >= FRAME_HEAD).then(|| u32_at(rest, offset_of!(Hdr, tp_next_offset)) as usize)
}

/// Makes a packet of `frame`, which reaches from a frame's head to the next one's.
///
/// Small enough to be part of the hot loop: what is not to be had as it lies there is made elsewhere.
#[inline(always)]
pub(super) fn finish<'a>(
    frame: &'a mut [u8],
    format: &Format,
    program: Option<&[Instruction]>,
) -> Outcome<'a> {
    if frame.len() < FRAME_HEAD {
        return Outcome::Malformed;
    }
    let Kind { cooked, can, .. } = format.kind;
    if cooked || can || program.is_some() || vlan(frame).is_some() {
        return rework(frame, format, program);
    }
    let start = usize::from(u16_at(frame, offset_of!(Hdr, tp_mac)));
    // No overflow: both come from 32 bits at most.
    let end = start.saturating_add(u32_at(frame, offset_of!(Hdr, tp_snaplen)) as usize);
    if start < FRAME_HEAD + VLAN_LEN || end > frame.len() {
        return Outcome::Malformed;
    }
    let ts = Timestamp {
        secs: u32_at(frame, offset_of!(Hdr, tp_sec)),
        nanos: u32_at(frame, offset_of!(Hdr, tp_nsec)),
    };
    let len = u32_at(frame, offset_of!(Hdr, tp_len));
    let checksum = checksum(frame);
    Outcome::Packet(Packet {
        ts,
        len,
        checksum,
        data: &frame[start..end.min(start + format.snaplen)],
    })
}

/// The same for packets that get a header, a tag or a filter.
#[inline(never)]
fn rework<'a>(
    frame: &'a mut [u8],
    format: &Format,
    program: Option<&[Instruction]>,
) -> Outcome<'a> {
    let ts = Timestamp {
        secs: u32_at(frame, offset_of!(Hdr, tp_sec)),
        nanos: u32_at(frame, offset_of!(Hdr, tp_nsec)),
    };
    let wire_len = u32_at(frame, offset_of!(Hdr, tp_len));
    let mac = usize::from(u16_at(frame, offset_of!(Hdr, tp_mac)));
    let net = usize::from(u16_at(frame, offset_of!(Hdr, tp_net)));
    let vlan = vlan(frame);

    let mut start = mac;
    // No overflow: both come from 32 bits at most.
    let mut end = mac.saturating_add(u32_at(frame, offset_of!(Hdr, tp_snaplen)) as usize);
    let room = if format.kind.cooked { COOKED_LEN + VLAN_LEN } else { VLAN_LEN };
    if mac < FRAME_HEAD + room || end > frame.len() {
        return Outcome::Malformed;
    }

    let mut len = wire_len;
    if format.kind.cooked {
        start -= COOKED_LEN;
        len = len.saturating_add(COOKED_LEN as u32);
        put_cooked_header(frame, start);
    } else if format.kind.can {
        fix_can(frame, start, end);
    }

    if let Some(program) = program {
        let aux = Aux {
            protocol: Some(u16_be_at(frame, SLL + offset_of!(libc::sockaddr_ll, sll_protocol))),
            pkttype: Some(frame[SLL + offset_of!(libc::sockaddr_ll, sll_pkttype)]),
            ifindex: Some(u32_at(frame, SLL + offset_of!(libc::sockaddr_ll, sll_ifindex))),
            hatype: Some(u16_at(frame, SLL + offset_of!(libc::sockaddr_ll, sll_hatype))),
            vlan,
            network: net.checked_sub(start),
        };
        // The length without cooked header, and before the tag goes in: what the kernel's own machine would work with.
        let keep = run(program, &frame[start..end], wire_len, &aux) as usize;
        if keep == 0 {
            return Outcome::Refused;
        }
        // The kernel counts what to keep from where its packet begins.
        end = end.min(mac.saturating_add(keep));
    }

    // Compared without the cooked header, as libpcap does.
    if let (Some((tci, tpid)), Some(offset)) = (vlan, format.kind.vlan_offset)
        && end - mac >= offset
    {
        frame.copy_within(start..start + offset, start - VLAN_LEN);
        start -= VLAN_LEN;
        let tag = start + offset;
        frame[tag..tag + 2].copy_from_slice(&tpid.to_be_bytes());
        frame[tag + 2..tag + 4].copy_from_slice(&tci.to_be_bytes());
        len = len.saturating_add(VLAN_LEN as u32);
    }
    let end = end.min(start + format.snaplen);
    Outcome::Packet(Packet { ts, len, checksum: checksum(frame), data: &frame[start..end] })
}

/// What the kernel says of the checksum: it always knows of those that are left to a card.
#[inline]
fn checksum(frame: &[u8]) -> Checksum {
    match u32_at(frame, offset_of!(Hdr, tp_status)) & libc::TP_STATUS_CSUMNOTREADY {
        0 => Checksum::Ready,
        _ => Checksum::NotReady,
    }
}

/// The tag that the kernel took off, and its EtherType.
#[inline]
fn vlan(frame: &[u8]) -> Option<(u16, u16)> {
    let status = u32_at(frame, offset_of!(Hdr, tp_status));
    let hv1 = offset_of!(Hdr, hv1);
    let tci = u32_at(frame, hv1 + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci)) as u16;
    let tpid = u16_at(frame, hv1 + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tpid));
    if tci == 0 && status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    // Kernels before 3.14 do not say which.
    let known = tpid != 0 || status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    Some((tci, if known { tpid } else { DOT1Q }))
}

/// Writes a `DLT_LINUX_SLL` header at `at`: packet type, hardware type, address length, address (8 bytes), protocol; all
/// big-endian.
fn put_cooked_header(frame: &mut [u8], at: usize) {
    let pkttype = frame[SLL + offset_of!(libc::sockaddr_ll, sll_pkttype)];
    let halen = frame[SLL + offset_of!(libc::sockaddr_ll, sll_halen)];
    let hatype = u16_at(frame, SLL + offset_of!(libc::sockaddr_ll, sll_hatype));
    let address = SLL + offset_of!(libc::sockaddr_ll, sll_addr);
    let protocol = SLL + offset_of!(libc::sockaddr_ll, sll_protocol);
    frame[at..at + 2].copy_from_slice(&u16::from(pkttype).to_be_bytes());
    frame[at + 2..at + 4].copy_from_slice(&hatype.to_be_bytes());
    frame[at + 4..at + 6].copy_from_slice(&u16::from(halen).to_be_bytes());
    frame.copy_within(address..address + 8, at + 6);
    // Big-endian already.
    frame.copy_within(protocol..protocol + 2, at + 14);
}

/// `DLT_CAN_SOCKETCAN` has the identifier big-endian, where the kernel has it in host order, and says in the flags
/// whether the frame is CAN FD, where the kernel says it in the protocol.
fn fix_can(frame: &mut [u8], start: usize, end: usize) {
    let protocol = u16_be_at(frame, SLL + offset_of!(libc::sockaddr_ll, sll_protocol));
    let Some(can) = frame.get_mut(start..end) else {
        return;
    };
    if let Some(id) = can.first_chunk_mut::<4>() {
        *id = u32::from_ne_bytes(*id).to_be_bytes();
    }
    if let Some([flags, reserved @ ..]) = can.get_mut(5..8) {
        if protocol == CAN_FD {
            *flags = (*flags | CAN_FD_FLAG) & CAN_FD_FLAGS;
            reserved.fill(0);
        } else {
            *flags &= !CAN_FD_FLAG;
        }
    }
}

// The callers have checked that the frame's head is there.

#[inline]
fn u32_at(frame: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&frame[at..at + 4]);
    u32::from_ne_bytes(bytes)
}

#[inline]
fn u16_at(frame: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([frame[at], frame[at + 1]])
}

#[inline]
fn u16_be_at(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

#[cfg(test)]
mod tests;
