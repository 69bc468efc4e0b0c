//! Savefiles: what was captured, kept for other programs.
//!
//! Two formats are written, both little-endian on every host: [pcapng], which says where the
//! packets came from and ends with what was lost, and the older pcap, which every tool reads.
//! A [`Writer`] is made by [`Writer::open`] for a path or [`Writer::new`] for anything else:
//!
//! ```
//! use rpcap::file::{Format, Meta, Record, Summary, Writer};
//!
//! let meta = Meta { linktype: 1, snaplen: 262_144, interface: "eth0".into(), ..Meta::default() };
//! let mut writer = Writer::new(Vec::new(), Format::Pcapng, &meta)?;
//! writer.write(&Record { secs: 1_700_000_000, nanos: 5_000, len: 60, data: &[0; 60], ..Record::default() })?;
//! let bytes = writer.finish(&Summary::default())?;
//! assert!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Output is gathered in a buffer, so a record costs no system call and no allocation.
//! [`Writer::flush`] hands all of it on in whole blocks: whoever reads the other end of a pipe can
//! then decode every record written so far. A writer that is dropped instead of finished still
//! leaves a readable file.
//!
//! [pcapng]: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-05.html

mod block;
pub mod copy;
mod encoder;
mod error;
mod format;
mod index;
pub(crate) mod linktype;
mod loss;
mod meta;
mod pcap;
mod pcapng;
pub mod read;
mod record;
pub mod rotate;
mod stream;
mod summary;
mod writer;

#[cfg(test)]
mod tests;

pub use encoder::Encoder;
pub use error::Error;
pub use format::Format;
pub use loss::{Loss, Losses};
pub use meta::Meta;
pub use record::Record;
pub use stream::Stream;
pub use summary::{Summary, nanos};
pub(crate) use writer::stdout;
pub use writer::{Begun, Writer};

/// The longest packet that is written, in bytes. Readers built on libpcap refuse a longer one, and
/// all that follows it.
pub const MAX_SNAPLEN: u32 = 262_144;

/// Bytes gathered before they are written of the writer's own accord.
const BUFFER: usize = 256 * 1024;
