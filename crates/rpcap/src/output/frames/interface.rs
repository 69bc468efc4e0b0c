use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

use capture::tap::{Tap, TapError};

use super::ethernet::HEADER;
use super::{Cause, Known, Notes};
use crate::file::{Record, Summary};
use crate::journal::Journal;
use crate::output::{Begin, Drain};

/// What two VLAN tags take, which an MTU does not count.
const TAGS: usize = 8;

/// A virtual interface on which packets come in, for whoever captures there.
#[derive(Debug)]
pub(crate) struct Interface {
    tap: Tap,
    /// The longest frame.
    limit: usize,
    streams: HashMap<u32, Known>,
    notes: Notes,
}

impl Interface {
    /// The interface of this name, which is made if need be.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let tap = Tap::open(name).map_err(|error| io::Error::other(advice(name, &error)))?;
        let limit = HEADER + TAGS + tap.mtu();
        let notes = Notes::new(format!("interface:{name}"));
        Ok(Self { tap, limit, streams: HashMap::new(), notes })
    }
}

/// What is wrong, and what can be done.
fn advice(name: &str, error: &TapError) -> String {
    let beforehand = format!(
        "make it beforehand, as root: ip tuntap add dev {name} mode tap user USER; \
         ip link set dev {name} arp off up"
    );
    let todo = match error {
        TapError::Driver(e) if e.kind() == io::ErrorKind::NotFound => {
            "modprobe tun; a service or container has to be given the device".to_owned()
        }
        TapError::Driver(_) => "its permissions have to let this user write".to_owned(),
        TapError::NotTap => "choose another name".to_owned(),
        TapError::Take(e) if e.raw_os_error() == Some(EBUSY) => {
            "another program has it, or this one until an output that the policy had before ends"
                .to_owned()
        }
        TapError::Take(_) => format!("it has to be this user's and have one queue; {beforehand}"),
        TapError::Make(_) => format!("it takes CAP_NET_ADMIN; or {beforehand}"),
        TapError::Down => format!("ip link set dev {name} up"),
        TapError::Set(..) => beforehand,
    };
    format!("{error}: {todo}")
}

const EBUSY: i32 = nix::errno::Errno::EBUSY as i32;
/// The interface is down.
const EIO: i32 = nix::errno::Errno::EIO as i32;
/// The interface was removed.
const EBADFD: i32 = nix::errno::Errno::EBADFD as i32;

impl Drain for Interface {
    fn begin(&mut self, begin: Begin) {
        self.streams.insert(begin.stream, Known::new(begin, &mut self.notes));
    }

    /// Each packet is a system call, as the driver takes one frame a time; that costs as much as sending
    /// many at once into a veth pair, which every packet has to cross (DESIGN.md).
    fn packet(&mut self, stream: u32, record: &Record<'_>) {
        let Some(known) = self.streams.get(&stream) else { return };
        let written = match known.framing.and_then(|framing| framing.frame(record.data)) {
            None => {
                self.notes.count(Cause::NoFrame);
                false
            }
            Some(frame) if frame.len() > self.limit => {
                let (len, limit) = (frame.len(), self.limit);
                self.notes.count(Cause::TooLong);
                self.notes.warn(Cause::TooLong, || {
                    format!(
                        "a packet of {len} bytes is longer than the {limit} that its MTU lets \
                         readers expect: such packets are counted as not written"
                    )
                });
                false
            }
            Some(frame) => match self.tap.write(&frame.parts()) {
                Ok(()) => {
                    self.notes.taken();
                    if record.len as usize > record.data.len() {
                        self.notes.count(Cause::Cut);
                        self.notes.info(Cause::Cut, || super::CUT.to_owned());
                    }
                    true
                }
                Err(error) => {
                    self.notes.refused(|| refused(&error));
                    false
                }
            },
        };
        let account = &known.account;
        let count = if written { &account.written } else { &account.unwritten };
        count.fetch_add(1, Relaxed);
    }

    fn summary(&mut self, _: u32, _: Summary) {}

    fn end(&mut self, stream: u32) {
        // It begins again before more of it comes.
        self.streams.remove(&stream);
    }

    fn tick(&mut self, journal: &Journal) {
        self.notes.tell(journal);
    }

    fn pause(&mut self, journal: &Journal) {
        self.notes.tell(journal);
    }

    fn finish(&mut self, journal: &Journal) {
        self.notes.finish(journal);
    }
}

fn refused(error: &io::Error) -> String {
    let what = match error.raw_os_error() {
        Some(EIO) => "the interface is down".to_owned(),
        Some(EBADFD) => "the interface was removed".to_owned(),
        _ => format!("cannot write: {error}"),
    };
    format!("{what}; receiving goes on, what cannot be written is counted")
}
