//! Packets as they come, to those who take Ethernet frames: a virtual interface, or a host that
//! takes mirrored traffic.

mod ethernet;
#[cfg(target_os = "linux")]
mod interface;
mod notes;
mod vxlan;

#[cfg(target_os = "linux")]
pub(crate) use self::interface::Interface;
pub(crate) use self::vxlan::Vxlan;

use std::sync::Arc;

use self::ethernet::Framing;
use self::notes::{Cause, Notes};
use super::{Account, Begin};

/// A stream whose packets are to become Ethernet frames.
#[derive(Debug)]
struct Known {
    /// `None`: of such a link type they cannot.
    framing: Option<Framing>,
    account: Arc<Account>,
}

impl Known {
    fn new(begin: Begin, notes: &mut Notes) -> Self {
        let linktype = begin.meta.linktype;
        let framing = Framing::of(linktype);
        if framing.is_none() {
            let name = crate::linktype::name(linktype).map_or(String::new(), |n| format!(" ({n})"));
            notes.warn(Cause::NoFrame, || {
                format!(
                    "packets of link type {linktype}{name} are no Ethernet frames and cannot be \
                     made into any: they are counted as not written"
                )
            });
        }
        Self { framing, account: begin.account }
    }
}

/// Said of packets that come out as they came in.
const CUT: &str = "a snapshot length has cut packets at the agent; they go out as they are, and \
                   look shorter than they were";
