//! Packets that can be told from each other and from everything else.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};

use crate::net::{MAC_A, MAC_B, Namespace};
use crate::savefile::Packet;

/// What every packet of ours has in it; four bytes of sequence number follow.
const MARK: &[u8; 8] = b"\x9drpt/e2e";

/// The type of Ethernet frames for experiments within an organisation (IEEE 802).
pub const EXPERIMENT: u16 = 0x88b5;

/// A filter for untagged frames of that type.
pub const EXPERIMENT_FILTER: &str = "ether proto 0x88b5";

/// Where [`send_datagrams`] sends to, to be told from the data of captures.
pub const UDP_PORT: u16 = 4321;

/// The least a frame can be made of, with its number.
pub const SIZE_MIN: usize = 60;

/// A VLAN tag: its type (0x8100 or 0x88a8) and its control information.
pub type Tag = (u16, u16);

/// The frame of this number, from `a0` to `b0`, `size` bytes long with its tags.
pub fn tagged(number: u32, size: usize, tags: &[Tag], kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(size);
    frame.extend_from_slice(&MAC_B);
    frame.extend_from_slice(&MAC_A);
    for (tpid, tci) in tags {
        frame.extend_from_slice(&tpid.to_be_bytes());
        frame.extend_from_slice(&tci.to_be_bytes());
    }
    frame.extend_from_slice(&kind.to_be_bytes());
    let payload = payload(number, size - frame.len());
    frame.extend_from_slice(&payload);
    frame
}

/// The same without tags, of the experimental type.
pub fn frame(number: u32, size: usize) -> Vec<u8> {
    tagged(number, size, &[], EXPERIMENT)
}

/// Frames of 100 bytes with these numbers.
pub fn frames(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(|n| frame(n, 100)).collect()
}

/// Frames of many sizes, from the smallest to the largest of a cable with an MTU of 1500, with
/// these numbers.
pub fn frames_of_many_sizes(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    let size = |n: u32| SIZE_MIN + (n as usize * 97) % (1514 - SIZE_MIN + 1);
    numbers.map(|n| frame(n, size(n))).collect()
}

/// So many bytes with the number in them, different from those of every other number.
pub fn payload(number: u32, size: usize) -> Vec<u8> {
    let mut bytes = MARK.to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    assert!(bytes.len() <= size, "no room for the number in {size} bytes");
    let start = bytes.len();
    bytes.extend((start..size).map(|i| (i as u32).wrapping_mul(number.wrapping_add(31)) as u8));
    bytes
}

/// The number of a packet of ours.
pub fn number(packet: &[u8]) -> Option<u32> {
    let at = packet.windows(MARK.len()).position(|w| w == MARK)? + MARK.len();
    Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?))
}

/// The numbers of those packets that are ours, in order.
pub fn numbers(packets: &[Packet]) -> Vec<u32> {
    packets.iter().filter_map(|p| number(&p.data)).collect()
}

/// Those packets that are ours, by number.
pub fn ours(packets: &[Packet]) -> Vec<(u32, &Packet)> {
    let numbered = packets.iter().filter_map(|p| Some((number(&p.data)?, p)));
    let mut ours: Vec<_> = numbered.collect();
    // They may be received in another order than they were sent in.
    ours.sort_by_key(|(number, _)| *number);
    ours
}

/// Asserts that these are the packets with these bytes and lengths, and no others of ours.
#[track_caller]
pub fn assert_same<'a>(
    what: &str,
    expected: impl IntoIterator<Item = (u32, &'a [u8], u32)>,
    packets: &[Packet],
) {
    let got = ours(packets);
    let expected: Vec<_> = expected.into_iter().collect();
    let list = |numbers: Vec<u32>| format!("{} packets: {numbers:?}", numbers.len());
    let (wanted, had) =
        (list(expected.iter().map(|e| e.0).collect()), list(got.iter().map(|g| g.0).collect()));
    assert_eq!(wanted, had, "{what}: numbers of the packets");
    for ((number, bytes, len), (_, packet)) in expected.iter().zip(&got) {
        assert!(
            *bytes == packet.data,
            "{what}: packet {number}: expected {} bytes\n{}\nbut got {}\n{}",
            bytes.len(),
            hex(bytes),
            packet.data.len(),
            hex(&packet.data)
        );
        assert_eq!(*len, packet.len, "{what}: length of packet {number} on the wire");
    }
}

/// Asserts that these are the frames that were sent, whole, and no others of ours.
#[track_caller]
pub fn assert_frames(what: &str, frames: &[Vec<u8>], packets: &[Packet]) {
    let mut expected: Vec<_> = frames
        .iter()
        .map(|f| (number(f).expect("a frame of ours"), f.as_slice(), f.len() as u32))
        .collect();
    expected.sort_by_key(|e| e.0);
    assert_same(what, expected, packets);
}

fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(64)];
    let lines = shown.chunks(16).map(|line| {
        let line: Vec<_> = line.iter().map(|b| format!("{b:02x}")).collect();
        line.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Sends frames out of an interface, as they are.
#[derive(Debug)]
pub struct Source {
    socket: OwnedFd,
}

impl Source {
    /// For an interface of a namespace.
    #[track_caller]
    pub fn new(namespace: &Namespace, device: &str) -> Self {
        let socket = namespace.enter(|| {
            // Protocol 0: it receives nothing.
            let kind = (AddressFamily::Packet, SockType::Raw);
            let socket =
                socket(kind.0, kind.1, SockFlag::SOCK_CLOEXEC, None).expect("a packet socket");
            let address = getifaddrs()
                .expect("the addresses of interfaces")
                .filter(|i| i.interface_name == device)
                .find_map(|i| i.address?.as_link_addr().copied())
                .unwrap_or_else(|| panic!("no interface {device}"));
            bind(socket.as_raw_fd(), &address).expect("binding to an interface");
            socket
        });
        Self { socket }
    }

    /// Sends one frame.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        if let Err(e) = self.try_send(frame) {
            panic!("sending a frame of {} bytes: {e}", frame.len());
        }
    }

    /// Sends one frame, if the interface takes it.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::ENOBUFS) => std::thread::yield_now(),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Sends frames in order.
    #[track_caller]
    pub fn send_all<'a>(&self, frames: impl IntoIterator<Item = &'a Vec<u8>>) {
        for frame in frames {
            self.send(frame);
        }
    }
}

/// Sends datagrams with these numbers to [`UDP_PORT`] of an address, from within a namespace.
pub fn send_datagrams(namespace: &Namespace, to: &str, numbers: std::ops::Range<u32>, size: usize) {
    namespace.enter(|| {
        // Somebody has to be there, or the host answers with errors.
        let receiver = UdpSocket::bind((to, UDP_PORT)).expect("a socket to receive on");
        let sender = UdpSocket::bind((to, 0)).expect("a socket to send from");
        for number in numbers {
            let sent = sender.send_to(&payload(number, size), (to, UDP_PORT));
            sent.expect("sending a datagram");
        }
        drop(receiver);
    });
}
