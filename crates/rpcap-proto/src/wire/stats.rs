//! STATS: counters, and the daemon's clock for those who want it.

use super::{Malformed, MessageType, Reader, write_empty, write_message};

/// Counters of a capture, in packets; 32 bits on the wire, so they wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Passed the filter, those dropped later included.
    pub received: u32,
    /// Dropped by the interface or its driver.
    pub if_dropped: u32,
    /// Dropped by the kernel because the capture buffer was full.
    pub kernel_dropped: u32,
    /// Given to the data connection: the number of the last packet.
    pub sent: u32,
}

impl Stats {
    /// Reads the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        Self::take(&mut Reader::new(payload))
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_message(out, MessageType::StatsReply, 0, |b| self.put(b));
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            received: r.u32()?,
            if_dropped: r.u32()?,
            kernel_dropped: r.u32()?,
            sent: r.u32()?,
        })
    }

    fn put(&self, b: &mut Vec<u8>) {
        for field in [self.received, self.if_dropped, self.kernel_dropped, self.sent] {
            b.extend_from_slice(&field.to_be_bytes());
        }
    }
}

/// What a client puts into a STATS to be told the daemon's clock, and finds in the reply.
pub type Mark = [u8; 8];

/// A daemon's wall clock around a STATS, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// When it had read the request.
    pub taken: u64,
    /// When it was about to send the reply.
    pub replied: u64,
}

/// A client's question for counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsRequest {
    /// Asks for the clock as well, if the extension is in use.
    pub mark: Option<Mark>,
}

impl StatsRequest {
    /// Reads the payload; one that is too short for a mark has none.
    pub fn read(payload: &[u8]) -> Self {
        Self { mark: payload.first_chunk().copied() }
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.mark {
            None => write_empty(out, MessageType::StatsRequest),
            Some(mark) => write_message(out, MessageType::StatsRequest, 0, |b| {
                b.extend_from_slice(mark);
            }),
        }
    }
}

/// The daemon's answer to a STATS that had a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkedStats {
    /// The counters.
    pub stats: Stats,
    /// The request's.
    pub mark: Mark,
    /// The clock.
    pub clock: Clock,
}

impl MarkedStats {
    /// Reads the payload.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let (stats, mark) = (Stats::take(&mut r)?, r.array()?);
        let mut time = || r.array().map(u64::from_be_bytes);
        Ok(Self { stats, mark, clock: Clock { taken: time()?, replied: time()? } })
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_message(out, MessageType::StatsReply, 0, |b| {
            self.stats.put(b);
            b.extend_from_slice(&self.mark);
            b.extend_from_slice(&self.clock.taken.to_be_bytes());
            b.extend_from_slice(&self.clock.replied.to_be_bytes());
        });
    }
}
