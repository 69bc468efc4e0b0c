use std::time::{Duration, Instant};

use crate::journal::Journal;
use crate::text::Count;

/// After so long without a refusal it is over.
const CALM: Duration = Duration::from_secs(10);

/// What happens to packets that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Not written: no Ethernet frame can be made of it.
    NoFrame,
    /// Not written: longer than what the place takes.
    TooLong,
    /// Not written: the system did not take it, or told that nobody does.
    Refused,
    /// Written, in fragments.
    Fragmented,
    /// Written, though a snapshot length has cut it.
    Cut,
}

/// Each cause, and what is said of it at the end.
const CAUSES: [(Cause, &str); 5] = [
    (Cause::NoFrame, "not written, as no Ethernet frame"),
    (Cause::TooLong, "not written, as too long"),
    (Cause::Refused, "not written, as refused"),
    (Cause::Fragmented, "sent in fragments"),
    (Cause::Cut, "shorter than they were (snaplen)"),
];

/// Says everything once, when there is time, and counts all of it for the end.
#[derive(Debug)]
pub(super) struct Notes {
    place: String,
    counts: [u64; CAUSES.len()],
    said: [bool; CAUSES.len()],
    waiting: Vec<(bool, String)>,
    /// When a packet was refused last, until that is over.
    refused: Option<Instant>,
    calm: Duration,
}

impl Notes {
    pub(super) fn new(place: String) -> Self {
        Self {
            place,
            counts: Default::default(),
            said: Default::default(),
            waiting: Vec::new(),
            refused: None,
            calm: CALM,
        }
    }

    /// Counts a packet.
    pub(super) fn count(&mut self, cause: Cause) {
        self.counts[cause as usize] += 1;
    }

    /// Says something that somebody should look after, unless it is known.
    pub(super) fn warn(&mut self, cause: Cause, line: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.said[cause as usize], true) {
            self.waiting.push((true, line()));
        }
    }

    /// Says something, unless it is known.
    pub(super) fn info(&mut self, cause: Cause, line: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.said[cause as usize], true) {
            self.waiting.push((false, line()));
        }
    }

    /// Counts a packet that the system did not take, or told of that nobody does.
    pub(super) fn refused(&mut self, line: impl FnOnce() -> String) {
        self.count(Cause::Refused);
        self.refused = Some(Instant::now());
        self.warn(Cause::Refused, line);
    }

    /// A packet was taken. Whether that is news shows only after a while: of a host where nobody
    /// listens some packets are refused, and most are not.
    pub(super) fn taken(&mut self) {
        if self.refused.is_some_and(|refused| refused.elapsed() > self.calm) {
            self.refused = None;
            self.said[Cause::Refused as usize] = false;
            self.waiting.push((false, "packets are taken again".to_owned()));
        }
    }

    /// Tells what has gathered.
    pub(super) fn tell(&mut self, journal: &Journal) {
        for (warning, line) in self.waiting.drain(..) {
            let line = format!("{}: {line}", self.place);
            if warning { journal.warn(&line) } else { journal.info(&line) }
        }
    }

    /// Tells what has gathered, and the sums.
    pub(super) fn finish(&mut self, journal: &Journal) {
        self.tell(journal);
        let counted = CAUSES.iter().filter_map(|(cause, what)| {
            let count = self.counts[*cause as usize];
            (count > 0).then(|| format!("{} {what}", Count(count)))
        });
        let counted: Vec<_> = counted.collect();
        if !counted.is_empty() {
            journal.info(&format!("{}: packets: {}", self.place, counted.join("; ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said_once_and_again_when_it_was_over() {
        let journal = Journal::default();
        journal.hold();
        let mut notes = Notes::new("there".to_owned());
        for _ in 0..3 {
            notes.refused(|| "no".to_owned());
            notes.taken();
            notes.info(Cause::Cut, || "cut".to_owned());
        }
        notes.calm = Duration::ZERO;
        notes.taken();
        notes.taken();
        notes.refused(|| "no".to_owned());
        notes.finish(&journal);
        let lines = journal.newest(10);
        let sums = "there: packets: 4 not written, as refused";
        let said = [
            "warning: there: no",
            "there: cut",
            "there: packets are taken again",
            "warning: there: no",
            sums,
        ];
        assert_eq!(lines, said);
        for (index, (cause, _)) in CAUSES.iter().enumerate() {
            assert_eq!(*cause as usize, index);
        }
    }
}
