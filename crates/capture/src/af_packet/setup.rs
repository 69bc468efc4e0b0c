//! From a name to a running ring.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{
    Source,
    control::Shared,
    frame::{Format, VLAN_LEN},
    linktype::{Kind, kind},
    ring::Ring,
    sys::{self, EVERY_PROTOCOL},
};
use crate::{
    Error, LinkType, MAX_SNAPLEN, Options, filter::kernel::Target, ioctl::Asker, slot::Seen,
};

/// The pseudo-device that captures on all interfaces.
pub(crate) const ANY: &str = "any";

/// Bytes of a block, at least and at most: the smallest power of two in between that holds a packet
/// of the snaplen, with its headers. A block is the least memory that a packet can occupy alone, when
/// traffic is so thin that time and not space closes it; smaller ones let a ring of the same size
/// outlast a longer pause of its reader.
const SMALL_BLOCK: usize = 128 << 10;
const LARGE_BLOCK: usize = 512 << 10;
/// More than a frame has besides its packet.
const HEADERS: usize = 4096;
const _: () = assert!(LARGE_BLOCK >= MAX_SNAPLEN as usize + HEADERS);
/// From how many large blocks on they are made twice as large.
const MANY_BLOCKS: usize = 128;
/// The unit in which the kernel wants a ring described. `TPACKET_V3` does not use it.
const FRAME: usize = 2048;

/// The link type that a capture on `device` would have. Needs no privilege.
pub(crate) fn linktype(device: &str) -> Result<LinkType, Error> {
    Ok(Device::find(device)?.kind.linktype)
}

/// What has to be known of an interface.
struct Device {
    kind: Kind,
    /// 0 for `any`.
    ifindex: i32,
    loopback: bool,
    lo_ifindex: Option<u32>,
}

impl Device {
    fn find(device: &str) -> Result<Self, Error> {
        let asker = Asker::new().map_err(|error| Error::call("socket", device, error))?;
        let lo = asker.index("lo").ok();
        let lo_ifindex = lo.and_then(|index| u32::try_from(index).ok());
        if device == ANY {
            return Ok(Self { kind: Kind::ANY, ifindex: 0, loopback: false, lo_ifindex });
        }
        let failed = |call| {
            move |error: io::Error| match error.raw_os_error() {
                Some(libc::ENODEV | libc::ENXIO) => {
                    Error::NoSuchDevice { device: device.to_owned() }
                }
                _ => Error::call(call, device, error),
            }
        };
        let hardware = asker.hardware_type(device).map_err(failed("SIOCGIFHWADDR"))?;
        let ifindex = asker.index(device).map_err(failed("SIOCGIFINDEX"))?;
        Ok(Self {
            kind: kind(device, hardware),
            ifindex,
            loopback: lo == Some(ifindex),
            lo_ifindex,
        })
    }
}

/// The order is the point: the socket is born deaf (protocol 0) and hears nothing before filter and ring are in place.
pub(super) fn open(name: &str, options: &Options) -> Result<Source, Error> {
    let device = Device::find(name)?;
    let any = device.ifindex == 0;
    let promisc = options.promisc && !any;
    let socket_type = if device.kind.cooked { Type::DGRAM } else { Type::RAW };
    let socket = Socket::new(Domain::PACKET, socket_type, None).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Error::PermissionDenied {
                call: "socket(AF_PACKET)",
                device: name.to_owned(),
                source,
            },
            _ => Error::call("socket(AF_PACKET)", name, source),
        }
    })?;
    let socket = Arc::new(socket);

    let target = Target {
        cooked: device.kind.cooked,
        any,
        loopback: device.loopback,
        can: device.kind.can,
        lo_ifindex: device.lo_ifindex,
        direction: options.direction,
        snaplen: options.effective_snaplen(),
    };
    let shared = Shared::new(name, &socket, device.ifindex, target, promisc)?;
    shared.install(Some(&options.guard), Some(&options.filter))?;

    let block_timeout = options.block_timeout.max(Duration::from_millis(1));
    let ring = make_ring(&socket, name, options, block_timeout)?;
    if promisc {
        sys::join_promisc(socket.as_fd(), device.ifindex)
            .map_err(|error| Error::call("PACKET_ADD_MEMBERSHIP", name, error))?;
    }
    listen(&socket, name, device.ifindex)?;

    Ok(Source {
        ring,
        socket,
        shared: Arc::new(shared),
        format: Format { kind: device.kind, snaplen: target.snaplen as usize },
        index: 0,
        taken: 0,
        seen: Seen::default(),
        requested: options.ring_bytes,
        block_timeout,
        failed: None,
        give_up: None,
        idle: 0,
    })
}

/// Begins to receive.
fn listen(socket: &Socket, name: &str, ifindex: i32) -> Result<(), Error> {
    let failed = |call, error: io::Error| match error.raw_os_error() {
        Some(libc::ENETDOWN) => Error::InterfaceDown { device: name.to_owned() },
        Some(libc::ENODEV | libc::ENXIO) => Error::NoSuchDevice { device: name.to_owned() },
        _ => Error::call(call, name, error),
    };
    sys::bind(socket.as_fd(), ifindex, EVERY_PROTOCOL).map_err(|error| failed("bind", error))?;
    // An interface that is down lets itself be bound to, and leaves a note.
    match socket.take_error() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(failed("bind", error)),
        Err(error) => Err(failed("SO_ERROR", error)),
    }
}

/// Bytes of the ring that is asked for.
pub(crate) fn ring_bytes(options: &Options) -> usize {
    let (block, blocks) = geometry(options);
    block * blocks
}

/// Bytes of a block, and how many of them.
fn geometry(options: &Options) -> (usize, usize) {
    let (bytes, snaplen) = (options.ring_bytes, options.effective_snaplen() as usize);
    let block = match (snaplen + HEADERS).next_power_of_two().clamp(SMALL_BLOCK, LARGE_BLOCK) {
        LARGE_BLOCK if bytes / LARGE_BLOCK >= MANY_BLOCKS => 2 * LARGE_BLOCK,
        block => block,
    };
    (block, bytes.div_ceil(block).clamp(2, u32::MAX as usize / (block / FRAME)))
}

/// Asks for a ring, and for half as much as often as memory is short.
fn make_ring(
    socket: &Socket,
    name: &str,
    options: &Options,
    timeout: Duration,
) -> Result<Ring, Error> {
    let failed = |call| move |error: io::Error| Error::call(call, name, error);
    let fd = socket.as_fd();
    let version = libc::tpacket_versions::TPACKET_V3 as u32;
    sys::set_option(fd, libc::PACKET_VERSION, version)
        .map_err(failed("PACKET_VERSION TPACKET_V3"))?;
    // Room in front of each packet for the VLAN tag. A cooked header fits into what the kernel leaves anyway.
    sys::set_option(fd, libc::PACKET_RESERVE, VLAN_LEN as u32).map_err(failed("PACKET_RESERVE"))?;

    let (block, mut blocks) = geometry(options);
    loop {
        let request = libc::tpacket_req3 {
            tp_block_size: block as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: FRAME as u32,
            tp_frame_nr: (blocks * (block / FRAME)) as u32,
            tp_retire_blk_tov: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1),
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        let (call, source) = match set_and_map(fd, &request) {
            Ok(ring) => return Ok(ring),
            Err(error) => error,
        };
        let short = source.raw_os_error() == Some(libc::ENOMEM);
        if !short || blocks == 1 {
            let hint = if short {
                ": not even one block could be had: free memory on this host"
            } else {
                ""
            };
            return Err(Error::Call { call, target: name.to_owned(), source, hint });
        }
        blocks /= 2;
    }
}

fn set_and_map(
    fd: BorrowedFd<'_>,
    request: &libc::tpacket_req3,
) -> Result<Ring, (&'static str, io::Error)> {
    sys::set_ring(fd, request).map_err(|error| ("PACKET_RX_RING", error))?;
    Ring::map(fd, request.tp_block_size as usize, request.tp_block_nr as usize).map_err(|error| {
        // A ring must be gone before the next one is asked for. If that fails, the next one says so.
        let none = libc::tpacket_req3 {
            tp_block_size: 0,
            tp_block_nr: 0,
            tp_frame_size: 0,
            tp_frame_nr: 0,
            tp_retire_blk_tov: 0,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        let _ = sys::set_ring(fd, &none);
        ("mmap of the ring", error)
    })
}
