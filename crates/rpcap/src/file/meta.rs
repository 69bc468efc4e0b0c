use super::MAX_SNAPLEN;
use crate::clock::Offset;

/// Where the packets come from. pcap keeps only the first two.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Meta {
    /// Link type as the server gave it (docs/protocol.md, OPEN), a `DLT_` number; it is written as
    /// the matching `LINKTYPE_` number
    pub linktype: u32,
    /// Most bytes kept of a packet; 0 and anything above [`MAX_SNAPLEN`] stand for [`MAX_SNAPLEN`]
    pub snaplen: u32,
    /// Name of the interface (`if_name`), left out if empty
    pub interface: String,
    /// Description of the interface (`if_description`)
    pub description: Option<String>,
    /// Filter in the words of whoever asked for it (`if_filter`)
    pub filter: Option<String>,
    /// Hardware of the interface (`if_hardware`)
    pub hardware: Option<String>,
    /// Operating system of the host with the interface (`if_os`)
    pub os: Option<String>,
    /// How far the clock of the host with the interface is from this one's, if it is known (a
    /// comment of its own)
    pub clock: Option<Offset>,
    /// Anything else worth keeping, such as the server's address (comment on the interface)
    pub comment: Option<String>,
}

impl Meta {
    /// The limit that is written and enforced, in bytes.
    pub(super) fn effective_snaplen(&self) -> u32 {
        match self.snaplen {
            0 => MAX_SNAPLEN,
            snaplen => snaplen.min(MAX_SNAPLEN),
        }
    }
}
