//! A VLAN interface made of a veth pair and a thread, for kernels that have no VLAN devices.
//!
//! ```text
//!   addresses ─ v0 ──── veth pair ──── v1 ─ thread ─ the cable (tagged)
//! ```
//!
//! What is sent over `v0` leaves by the cable with an 802.1Q tag in its bytes; what comes over the
//! cable for `v0`'s MAC address arrives there without one. A capture on the cable's end sees what it
//! would see below a VLAN device that tags in software.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc::PACKET_OUTGOING;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, sendmsg,
    setsockopt, socket, sockopt,
};

use crate::net::Net;
use crate::process::run;

/// The VLAN's number.
pub const VLAN: u16 = 7;

/// Bytes of both MAC addresses, which the tag comes after.
const ADDRESSES: usize = 12;

/// How long the thread may take to notice that it is to end, in milliseconds.
const TICK: u16 = 20;

/// A VLAN over the cable of a network, with the addresses 10.10.0.1 and fd10::1 in `a`, 10.10.0.2
/// and fd10::2 in `b`. It ends when it is dropped.
#[derive(Debug)]
pub struct Vlan {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Vlan {
    /// A VLAN over this network's cable. Needs `ethtool`.
    #[track_caller]
    pub fn new(net: &Net) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sides = [(&net.a, "a0", 1_u8, 2_u8), (&net.b, "b0", 2, 1)];
        let threads = sides.map(|(namespace, cable, host, other)| {
            // Neighbours that know each other do not ask: what they ask would be captured.
            namespace.ip_batch(&format!(
                "link add v0 mtu 1400 address {} type veth peer name v1 mtu 1400\n\
                 link set v0 addrgenmode none\n\
                 link set v1 addrgenmode none\n\
                 addr add 10.10.0.{host}/24 dev v0\n\
                 addr add fd10::{host}/64 dev v0 nodad\n\
                 link set v0 up\n\
                 link set v1 up\n\
                 neigh replace 10.10.0.{other} lladdr {other_mac} nud permanent dev v0\n\
                 neigh replace fd10::{other} lladdr {other_mac} nud permanent dev v0\n",
                text(mac(host)),
                other_mac = text(mac(other)),
            ));
            // Checksums and segments must be real: nobody completes them after the thread.
            let mut ethtool: Command = namespace.command("ethtool");
            run(ethtool.args(["-K", "v0", "tx", "off"]));
            namespace.wait_for_carrier("v0");
            let (inner, outer) = namespace.enter(|| (End::new("v1"), End::new(cable)));
            let stop = Arc::clone(&stop);
            thread::spawn(move || relay(&inner, &outer, mac(host), &stop))
        });
        Self { stop, threads: threads.into() }
    }
}

impl Drop for Vlan {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // Without its thread nothing comes, which the test says by itself.
            let _ = thread.join();
        }
    }
}

/// The MAC address of `v0` of this host.
fn mac(host: u8) -> [u8; 6] {
    [2, 0, 0, 0, 7, host]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A packet socket on an interface.
#[derive(Debug)]
struct End {
    socket: OwnedFd,
    ifindex: usize,
}

impl End {
    /// In the namespace that the thread is in.
    fn new(device: &str) -> Self {
        let (family, kind) = (AddressFamily::Packet, SockType::Raw);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, kind, flags, SockProtocol::EthAll).expect("a packet socket");
        let address = getifaddrs()
            .expect("the addresses of interfaces")
            .filter(|i| i.interface_name == device)
            .find_map(|i| i.address?.as_link_addr().copied())
            .unwrap_or_else(|| panic!("no interface {device}"));
        // Its protocol is 0, which leaves the socket's as it is.
        bind(socket.as_raw_fd(), &address).expect("binding to an interface");
        setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20)).expect("a receive buffer");
        Self { socket, ifindex: address.ifindex() }
    }

    /// The next frame that came in, if there is one.
    fn receive<'a>(&self, buf: &'a mut [u8]) -> Option<&'a [u8]> {
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buf) {
                Ok((len, Some(from))) => {
                    // Not what goes out, and not what came before the socket was bound.
                    let came_in = from.pkttype() != PACKET_OUTGOING;
                    if came_in && from.ifindex() == self.ifindex {
                        return Some(&buf[..len]);
                    }
                }
                Ok((_, None)) | Err(Errno::EINTR) => {}
                // Nothing more, or the interface is gone.
                Err(_) => return None,
            }
        }
    }

    /// Sends a frame of these parts. One that the interface does not take is lost, as on a cable.
    fn send(&self, parts: &[IoSlice<'_>]) {
        let flags = MsgFlags::empty();
        let _ = sendmsg::<LinkAddr>(self.socket.as_raw_fd(), parts, &[], flags, None);
    }
}

/// Carries frames both ways until it is told to stop.
fn relay(inner: &End, outer: &End, mac: [u8; 6], stop: &AtomicBool) {
    let mut tag = [0x81, 0x00, 0, 0];
    tag[2..].copy_from_slice(&VLAN.to_be_bytes());
    let mut buf = vec![0; 65_536];
    while !stop.load(Relaxed) {
        let mut ends = [
            PollFd::new(inner.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(outer.socket.as_fd(), PollFlags::POLLIN),
        ];
        // If it fails, the sockets are asked in vain, no more.
        let _ = poll(&mut ends, PollTimeout::from(TICK));
        while let Some(frame) = inner.receive(&mut buf) {
            let (addresses, rest) = frame.split_at(ADDRESSES);
            outer.send(&[IoSlice::new(addresses), IoSlice::new(&tag), IoSlice::new(rest)]);
        }
        while let Some(frame) = outer.receive(&mut buf) {
            if frame[..mac.len()] != mac {
                continue;
            }
            let (addresses, rest) = frame.split_at(ADDRESSES);
            // The kernel takes the tag off before packet sockets see the frame. Where it does not,
            // it is still there.
            let rest = rest.strip_prefix(&tag).unwrap_or(rest);
            inner.send(&[IoSlice::new(addresses), IoSlice::new(rest)]);
        }
    }
}
