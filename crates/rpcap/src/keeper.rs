//! The sinks of one capture: a file, or a line for every packet.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::ops::ControlFlow;

use rpcap_proto::wire::PacketHeader;

use crate::file::{Losses, Record, Writer};
use crate::print;
use crate::repair::{Repair, Repairer};
use crate::sink::Sink;

/// Something that packets can be written to.
pub trait Output {
    /// Writes a packet.
    fn write(&mut self, record: &Record<'_>) -> io::Result<()>;
    /// Gives on what was kept back.
    fn flush(&mut self) -> io::Result<()>;
}

impl<W: Write> Output for Writer<W> {
    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        Self::write(self, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self)
    }
}

/// A line for every packet.
#[derive(Debug)]
pub struct Lines<W> {
    to: W,
    linktype: u32,
    line: String,
}

impl<W: Write> Lines<W> {
    /// Lines go to `to`, which should be buffered.
    pub fn new(to: W, linktype: u32) -> Self {
        Self { to, linktype, line: String::new() }
    }
}

impl<W: Write> Output for Lines<W> {
    fn write(&mut self, r: &Record<'_>) -> io::Result<()> {
        self.line.clear();
        print::line(&mut self.line, self.linktype, r.secs, r.nanos, r.len, r.data)
            .and_then(|()| self.line.write_char('\n'))
            .map_err(|fmt::Error| io::Error::other("a packet cannot be formatted"))?;
        self.to.write_all(self.line.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Keeps packets in an output, up to a number of them or until that fails.
#[derive(Debug)]
pub struct Keeper<O> {
    output: O,
    limit: Option<u64>,
    kept: u64,
    losses: Losses,
    /// What is done with packets of this link type before they are written.
    repairer: Option<(Repairer, u32)>,
    error: Option<io::Error>,
}

impl<O: Output> Keeper<O> {
    /// Keeps `limit` packets, or all.
    pub fn new(output: O, limit: Option<u64>) -> Self {
        Self { output, limit, kept: 0, losses: Losses::default(), repairer: None, error: None }
    }

    /// Repairs packets of this link type, from now on.
    pub fn repair(&mut self, repair: Repair, linktype: u32) {
        self.repairer = (!repair.is_none()).then(|| (Repairer::new(repair), linktype));
    }

    /// Packets kept.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// The output, and what it failed with.
    pub fn into_output(self) -> (O, Option<io::Error>) {
        (self.output, self.error)
    }

    fn done(&mut self, result: io::Result<()>) -> ControlFlow<()> {
        match result {
            Ok(()) if self.limit.is_none_or(|limit| self.kept < limit) => ControlFlow::Continue(()),
            Ok(()) => ControlFlow::Break(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl<O: Output> Sink for Keeper<O> {
    fn packet(&mut self, header: &PacketHeader, data: &[u8]) -> ControlFlow<()> {
        let loss = self.losses.before(header.npkt, || 0);
        let record = Record { loss, ..Record::from_packet(header, data) };
        let result = match &mut self.repairer {
            None => self.output.write(&record),
            Some((repairer, linktype)) => {
                let (output, mut result) = (&mut self.output, Ok(()));
                repairer.packet(*linktype, &record, &mut |record| {
                    if result.is_ok() {
                        result = output.write(record);
                    }
                });
                result
            }
        };
        self.kept += u64::from(result.is_ok());
        self.done(result)
    }

    fn pause(&mut self) -> ControlFlow<()> {
        let result = self.output.flush();
        self.done(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fails(u32);

    impl Output for Fails {
        fn write(&mut self, _: &Record<'_>) -> io::Result<()> {
            self.0 += 1;
            match self.0 {
                3 => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn stops_at_the_limit_and_at_an_error() {
        let header = PacketHeader::default();
        let mut two = Keeper::new(Fails::default(), Some(2));
        assert!(two.packet(&header, &[]).is_continue());
        assert!(two.packet(&header, &[]).is_break());
        assert_eq!((two.kept(), two.into_output().1.is_none()), (2, true));

        let mut all = Keeper::new(Fails::default(), None);
        assert!(all.packet(&header, &[]).is_continue());
        assert!(all.packet(&header, &[]).is_continue());
        assert!(all.packet(&header, &[]).is_break());
        assert_eq!((all.kept(), all.into_output().1.is_some()), (2, true));
    }
}
