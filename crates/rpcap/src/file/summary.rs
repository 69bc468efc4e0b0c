use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::Offset;

/// What became of a capture, written behind its last packet. pcap has no place for it.
///
/// Counters that are not known are `None` and left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// When the capture started, nanoseconds since 1970 UTC (`isb_starttime`)
    pub start: Option<u64>,
    /// When it ended, in the same unit (`isb_endtime`)
    pub end: Option<u64>,
    /// Packets that the interface received (`isb_ifrecv`)
    pub received: Option<u64>,
    /// Packets that the interface dropped for want of room (`isb_ifdrop`)
    pub if_dropped: Option<u64>,
    /// Packets that the filter accepted (`isb_filteraccept`)
    pub filter_accepted: Option<u64>,
    /// Packets that the operating system dropped for want of room (`isb_osdrop`)
    pub os_dropped: Option<u64>,
    /// Packets that arrived here (`isb_usrdeliv`)
    pub delivered: Option<u64>,
    /// How far the sender's clock is from this one's, if it is known (a comment of its own)
    pub clock: Option<Offset>,
    /// The ledger in words (comment on the statistics), left out if empty
    pub comment: String,
}

/// A time as a [`Summary`] has it.
pub fn nanos(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}
