//! A byte stream into messages.

use zeroize::Zeroizing;

use crate::wire::{HEADER_LEN, Header, MessageType, Reader, tolerated_tail};

/// What comes out of a stream next.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole message.
    Message(Header, &'a [u8]),
    /// A header that claims more payload than is ever kept. The stream cannot be followed past it.
    Oversize(Header),
    /// The beginning of a message, or nothing at all.
    Incomplete {
        /// Whether anything of a message is there: a deadline runs for the rest of it.
        started: bool,
        /// Whether a message could end here, if no more bytes come: see
        /// [`tolerated_tail`]. [`Deframer::settle`] says that none will.
        undecided: bool,
    },
}

/// Gathers bytes and gives out messages.
///
/// It keeps at most one message's worth and what was read along with it: a length that a peer
/// claims makes no room, bytes that came do.
#[derive(Debug)]
pub struct Deframer {
    /// Messages may have secrets.
    bytes: Zeroizing<Vec<u8>>,
    /// Where the next message starts; what is before it was given out.
    start: usize,
    max_payload: u32,
    /// Whether a STARTCAP may be longer than it says.
    tolerant: bool,
    settled: bool,
}

/// A session that once took a large message does not hold its room for days.
const KEPT_CAPACITY: usize = 16 * 1024;

impl Deframer {
    /// For a stream whose messages have up to `max_payload` bytes of payload.
    pub fn new(max_payload: u32) -> Self {
        Self { bytes: Zeroizing::default(), start: 0, max_payload, tolerant: false, settled: false }
    }

    /// The same, accepting the STARTCAP of clients that state its length wrongly.
    pub fn tolerant(max_payload: u32) -> Self {
        Self { tolerant: true, ..Self::new(max_payload) }
    }

    /// Adds bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Zeroizing::default();
        }
        self.settled = false;
        let length = self.bytes.len() + bytes.len();
        if length > self.bytes.capacity() {
            // Growing in place may move what there is and leave it where it was.
            let mut larger = Vec::with_capacity(length.max(2 * self.bytes.capacity()));
            larger.extend_from_slice(&self.bytes);
            self.bytes = Zeroizing::new(larger);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Wipes everything but what was not given out yet: a message had a secret.
    pub fn wipe(&mut self) {
        self.bytes = Zeroizing::new(self.buffered().to_vec());
        self.start = 0;
    }

    /// Bytes that came and were not given out.
    pub fn buffered(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Decides that no more bytes of an undecided message will come.
    pub fn settle(&mut self) {
        self.settled = true;
    }

    /// The next message.
    pub fn next_frame(&mut self) -> Frame<'_> {
        let mut r = Reader::new(&self.bytes[self.start..]);
        let Ok(header) = Header::read(&mut r) else {
            return Frame::Incomplete { started: !self.buffered().is_empty(), undecided: false };
        };
        if header.len > self.max_payload {
            return Frame::Oversize(header);
        }
        let Ok(payload) = r.take(header.len as usize) else {
            return Frame::Incomplete { started: true, undecided: false };
        };
        let mut len = payload.len();
        if self.tolerant && header.kind == MessageType::StartCaptureRequest {
            match tolerated_tail(payload, r.rest()) {
                Some(tail) => len += tail,
                None if self.settled => {}
                None => {
                    return Frame::Incomplete { started: true, undecided: true };
                }
            }
        }
        let payload = self.start + HEADER_LEN..self.start + HEADER_LEN + len;
        self.start = payload.end;
        Frame::Message(header, &self.bytes[payload])
    }
}
