//! Packets from network interfaces, by the kernel's own means.
//!
//! [`open`] starts a capture on an interface, [`replay::open`] on a savefile that stands in for one; both give a
//! [`Capture`]. The thread that owns it calls [`Capture::next`] and gets whole [`Block`]s of packets, lent: a block's
//! memory is the kernel's ring, and dropping the block gives it back. Any other thread holds a [`Control`]: filter,
//! statistics, stop.
//!
//! On Linux the source is a `TPACKET_V3` ring of a packet socket (packet(7), and *packet_mmap* in the kernel's
//! networking documentation); it needs `CAP_NET_RAW` and nothing else. On other systems, and where it is asked for
//! ([`Backend::Libpcap`]), it is libpcap or Npcap, loaded at run time; its packets are copied, once.
//!
//! This crate knows nothing of who wants the packets, and logs nothing: it returns values.

pub mod devices;
pub mod filter;
pub mod libpcap;
pub mod replay;
#[cfg(target_os = "linux")]
pub mod tap;

#[cfg(target_os = "linux")]
mod af_packet;
mod batch;
mod capture;
mod error;
#[cfg(target_os = "linux")]
mod ioctl;
mod options;
mod packet;
mod slot;
#[cfg(unix)]
mod wait;
#[cfg(not(unix))]
#[path = "wait_windows.rs"]
mod wait;

pub use capture::{Block, Capture, Control, Event, Packets, Stats, linktype, open, ring_bytes};
pub use error::Error;
pub use filter::Instruction;
pub use options::{Backend, Direction, MAX_SNAPLEN, Options};
pub use packet::{Checksum, LinkType, Packet, Timestamp};
