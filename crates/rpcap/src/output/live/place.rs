use std::collections::BTreeSet;
use std::sync::Mutex;

use super::readers::{GLANCE, Readers};
use crate::locked::lock;
use crate::output::Destination;

/// Places that this process has an output at.
static TAKEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A place that no other output of this process is at.
///
/// When a policy is read again, an output whose plan has changed begins before the old one has
/// ended: the port is not free yet, and two would write to one pipe.
#[derive(Debug)]
pub(in crate::output) struct Place(String);

impl Place {
    /// The place, unless it is taken.
    pub(in crate::output) fn take(destination: &Destination) -> Option<Self> {
        let name = match destination {
            // Whatever is free.
            Destination::PcapOverIp(address) if address.port() == 0 => String::new(),
            place => place.to_string(),
        };
        (name.is_empty() || lock(&TAKEN).insert(name.clone())).then(|| Self(name))
    }

    /// The place, once it is free; `None` if it is no longer wanted by then.
    pub(super) fn wait(destination: &Destination, readers: &Readers) -> Option<Self> {
        while readers.wait(GLANCE) {
            if let Some(place) = Self::take(destination) {
                return Some(place);
            }
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&TAKEN).remove(&self.0);
    }
}
