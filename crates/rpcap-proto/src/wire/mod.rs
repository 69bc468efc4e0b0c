//! Bytes and values: one file per message.
//!
//! All integers are big-endian; offsets and lengths are in `docs/protocol.md`. Reading accepts
//! surplus payload and ignores it, as every known peer does; too little is [`Malformed::Short`].

mod auth;
mod devices;
mod error;
mod filter;
mod header;
mod packet;
mod reader;
mod requests;
mod startcap;
mod stats;

pub use auth::{AuthReply, AuthRequest, ByteOrder};
pub use devices::{Address, Device, PRESELECTED, SockAddr, read_devices, write_devices};
pub use error::{ERROR_TEXT_MAX, ErrorCode, error_text, write_error};
pub use filter::{FILTER_TYPE_BPF, FilterBlock};
pub use header::{HEADER_LEN, Header, MessageType, VERSION, write_empty, write_message};
pub use packet::{
    Checksum, Fraction, MESSAGE_OVERHEAD, PACKET_HEADER_LEN, PacketHeader, PacketMessage,
    SNAPLEN_MAX,
};
pub use reader::Reader;
pub use requests::{DEVICE_NAME_MAX, OpenReply, SYSTEM_MAX, Sampling, TELL_SYSTEM};
pub use startcap::{StartFlags, StartReply, StartRequest, tolerated_tail};
pub use stats::{Clock, Mark, MarkedStats, Stats, StatsRequest};

/// Bytes that do not form what they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A field lies beyond the end of its message.
    #[error("Message payload is too short")]
    Short,
    /// A field has a value that the format does not allow.
    #[error("{0}")]
    Value(&'static str),
    /// A filter of a type other than BPF.
    #[error("Only BPF filters are supported, not filter type {0}")]
    FilterType(u16),
    /// A filter with more instructions than anybody may send.
    #[error("Filter program of {0} instructions is larger than the maximum of 8192")]
    FilterLength(u32),
}
