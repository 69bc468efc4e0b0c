use super::assembler::Assembler;
use super::history::{HISTORY, History};
use super::{Counts, DatagramHeader};
use crate::wire::PacketHeader;

/// How far ahead of a missing datagram others are held.
pub const WINDOW: u32 = 16;

/// The longest datagram that UDP carries; what claims to be longer is no datagram.
pub const DATAGRAM_MAX: usize = 65_535;

/// Datagrams numbered in a row, far behind the stream, that must come before they are believed to
/// be the stream.
const STRAYS: u32 = 4;

/// Datagrams into packets.
///
/// Takes a datagram at a time, in the order of arrival, and gives packets to a function, in the
/// order of the stream. After a gap in the numbers up to [`WINDOW`] − 1 datagrams are held, in
/// buffers that are reused, until the gap fills, the window is full, or [`Self::flush`] says that
/// enough time has passed. Then the missing ones are lost, and with them the packets that touch
/// them and no others.
///
/// Memory: at most [`WINDOW`] datagrams of [`DATAGRAM_MAX`] bytes, and one packet of the snaplen.
#[derive(Debug)]
pub struct Unpacker {
    assembler: Assembler,
    /// The number of the datagram to read next.
    expect: u32,
    /// The highest number so far.
    newest: u32,
    /// Datagrams ahead of `expect`, each at its number modulo [`WINDOW`].
    held: [Held; WINDOW as usize],
    holds: u32,
    history: History,
    /// How many far too old datagrams came in a row, and the number that continues the row.
    strays: (u32, u32),
    counts: Counts,
}

/// A place for a datagram that came too early.
#[derive(Debug, Default)]
struct Held {
    header: Option<DatagramHeader>,
    bytes: Vec<u8>,
}

impl Unpacker {
    /// For packets of at most `snaplen` bytes.
    pub fn new(snaplen: u32) -> Self {
        Self {
            assembler: Assembler::new(snaplen),
            expect: 0,
            newest: u32::MAX,
            held: Default::default(),
            holds: 0,
            history: History::new(),
            strays: (0, 0),
            counts: Counts::default(),
        }
    }

    /// Expects another number than 0 first.
    #[must_use]
    pub fn starting_at(self, seqno: u32) -> Self {
        Self { expect: seqno, newest: seqno.wrapping_sub(1), ..self }
    }

    /// What became of everything so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The number of the missing datagram that others wait for, if there is one: what
    /// [`Self::flush`] would give up.
    pub fn waits_for(&self) -> Option<u32> {
        (self.holds > 0).then_some(self.expect)
    }

    /// Takes a datagram that came.
    #[inline]
    pub fn datagram(&mut self, bytes: &[u8], mut visit: impl FnMut(PacketHeader, &[u8])) {
        self.counts.received += 1;
        let header = match DatagramHeader::read(bytes) {
            Some(header) if bytes.len() <= DATAGRAM_MAX => header,
            _ => {
                self.counts.malformed += 1;
                return;
            }
        };
        if header.seqno == self.expect && self.holds == 0 {
            // The usual case.
            self.newest = header.seqno;
            self.strays.0 = 0;
            self.take(header, bytes, &mut visit);
        } else {
            self.out_of_order(header, bytes, &mut visit);
        }
    }

    /// Gives up what is missing before the datagrams that are held, and reads them.
    pub fn flush(&mut self, mut visit: impl FnMut(PacketHeader, &[u8])) {
        while self.holds > 0 {
            self.step(&mut visit);
        }
    }

    /// The stream is over: what does not go on is broken.
    pub fn finish(&mut self, visit: impl FnMut(PacketHeader, &[u8])) {
        self.flush(visit);
        self.assembler.hole(&mut self.counts);
    }

    fn out_of_order(
        &mut self,
        header: DatagramHeader,
        bytes: &[u8],
        visit: &mut impl FnMut(PacketHeader, &[u8]),
    ) {
        let seqno = header.seqno;
        // The nearer way round the circle.
        let ahead = seqno.wrapping_sub(self.expect).cast_signed();
        if ahead < 0 {
            if self.is_old(seqno, ahead.unsigned_abs()) {
                return;
            }
            self.restart(seqno, ahead.unsigned_abs(), visit);
        }
        self.strays.0 = 0;
        let ahead = seqno.wrapping_sub(self.expect);
        if ahead >= WINDOW {
            self.give_up_to(seqno.wrapping_sub(WINDOW - 1), visit);
        } else if self.place(seqno).header.is_some() {
            self.counts.duplicates += 1;
            return;
        }
        if seqno.wrapping_sub(self.newest).cast_signed() < 0 {
            self.counts.reordered += 1;
        } else {
            self.newest = seqno;
        }
        if seqno == self.expect {
            self.take(header, bytes, visit);
        } else {
            let place = self.place(seqno);
            place.header = Some(header);
            place.bytes.clear();
            place.bytes.reserve_exact(bytes.len());
            place.bytes.extend_from_slice(bytes);
            self.holds += 1;
        }
        while self.place(self.expect).header.is_some() {
            self.step(visit);
        }
    }

    /// Whether a datagram whose number was passed is to be left out.
    ///
    /// A single wrong number far ahead must not end the stream for good, so a row of datagrams
    /// that is too far behind to be late is the stream again.
    fn is_old(&mut self, seqno: u32, behind: u32) -> bool {
        if behind <= HISTORY {
            match self.history.came(seqno) {
                true => self.counts.duplicates += 1,
                false => self.counts.late += 1,
            }
            return true;
        }
        let (count, next) = self.strays;
        if count > 0 && next == seqno.wrapping_add(1) {
            self.counts.duplicates += 1;
            return true;
        }
        let count = if count > 0 && next == seqno { count + 1 } else { 1 };
        self.strays = (count, seqno.wrapping_add(1));
        if count < STRAYS {
            self.counts.late += 1;
        }
        count < STRAYS
    }

    /// Goes on at an earlier number.
    fn restart(&mut self, seqno: u32, back: u32, visit: &mut impl FnMut(PacketHeader, &[u8])) {
        let before = self.expect;
        self.flush(&mut *visit);
        let back = u64::from(back) + u64::from(self.expect.wrapping_sub(before));
        // The numbers that were passed over were none of the stream's.
        self.counts.lost = self.counts.lost.saturating_sub(back);
        self.assembler.hole(&mut self.counts);
        self.history = History::new();
        self.expect = seqno;
        self.newest = seqno;
    }

    /// Gives up waiting for everything before `seqno`.
    fn give_up_to(&mut self, seqno: u32, visit: &mut impl FnMut(PacketHeader, &[u8])) {
        while self.expect != seqno && self.holds > 0 {
            self.step(visit);
        }
        let gap = seqno.wrapping_sub(self.expect);
        if gap > 0 {
            self.history.skip(self.expect, gap);
            self.counts.lost += u64::from(gap);
            self.assembler.hole(&mut self.counts);
            self.expect = seqno;
        }
        while self.place(self.expect).header.is_some() {
            self.step(visit);
        }
    }

    /// Reads the expected datagram if it is held, or gives it up.
    fn step(&mut self, visit: &mut impl FnMut(PacketHeader, &[u8])) {
        let place = &mut self.held[(self.expect % WINDOW) as usize];
        let header = place.header.take();
        match header {
            Some(header) => {
                self.holds -= 1;
                self.assembler.take(header, &place.bytes, &mut self.counts, visit);
            }
            None => {
                self.counts.lost += 1;
                self.assembler.hole(&mut self.counts);
            }
        }
        self.passed(header.is_some());
    }

    /// Reads the expected datagram.
    fn take(
        &mut self,
        header: DatagramHeader,
        bytes: &[u8],
        visit: &mut impl FnMut(PacketHeader, &[u8]),
    ) {
        self.assembler.take(header, bytes, &mut self.counts, visit);
        self.passed(true);
    }

    fn passed(&mut self, came: bool) {
        self.history.record(self.expect, came);
        self.expect = self.expect.wrapping_add(1);
    }

    fn place(&mut self, seqno: u32) -> &mut Held {
        &mut self.held[(seqno % WINDOW) as usize]
    }
}
