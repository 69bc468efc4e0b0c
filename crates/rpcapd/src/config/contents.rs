//! What a file says, whatever its grammar.

use super::options::{Kind, Options};
use crate::peers::Peer;

/// Faults beyond this many are not looked for.
const FAULTS_MAX: usize = 20;

/// Most values of one setting.
const VALUES_MAX: usize = 1000;

/// Most characters of a file that an error quotes.
const QUOTE_MAX: usize = 60;

/// Something wrong, and the byte of the text where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: String,
}

/// Gathers what is wrong.
#[derive(Debug, Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, at: usize, reason: impl Into<String>) {
        if !self.are_enough() {
            self.0.push(Fault { at, reason: reason.into() });
        }
    }

    /// Whether more would help nobody.
    pub(super) fn are_enough(&self) -> bool {
        self.0.len() >= FAULTS_MAX
    }

    pub(super) fn none_or_all<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    /// Collectors that options cannot describe, and where they are.
    pub(super) peers: Vec<(usize, Peer)>,
    /// What is no error, but may surprise.
    pub(super) notes: Vec<Fault>,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Entry {
    /// The option that it stands for.
    pub(super) option: String,
    pub(super) kind: Kind,
    /// Where it begins.
    pub(super) at: usize,
    /// Its values, and where they are; none for a flag.
    pub(super) values: Vec<(usize, String)>,
}

impl Entry {
    /// As a command line would have it.
    pub(super) fn arguments(&self) -> Vec<String> {
        let values: Vec<_> = self.values.iter().map(|(_, text)| text.as_str()).collect();
        match self.kind {
            Kind::Flag => vec![format!("--{}", self.option)],
            Kind::One | Kind::Joined => vec![format!("--{}={}", self.option, values.join(","))],
            Kind::Repeated => values.iter().map(|v| format!("--{}={v}", self.option)).collect(),
        }
    }

    /// Asks the option what it thinks of the values.
    pub(super) fn check(&self, options: &Options, faults: &mut Faults) {
        if self.values.len() > VALUES_MAX {
            faults.add(self.at, format!("{}: {VALUES_MAX} values are the most", self.option));
            return;
        }
        let before = faults.0.len();
        for (at, value) in &self.values {
            if let Err(reason) = check_characters(value) {
                faults.add(*at, format!("{}: {reason}", self.option));
            }
        }
        let Err(reason) = options.read(&self.arguments()) else {
            return;
        };
        for (at, value) in &self.values {
            if faults.are_enough() {
                return;
            }
            if let Err(reason) = options.read(&[format!("--{}={value}", self.option)]) {
                faults.add(*at, format!("{} = {}: {reason}", self.option, quote(value)));
            }
        }
        // Each of them would do, but not all together, or none at all.
        if faults.0.len() == before {
            faults.add(self.at, format!("{}: {reason}", self.option));
        }
    }
}

/// What looks like something else in the log and on a terminal is no part of a value.
pub(super) fn check_characters(value: &str) -> Result<(), String> {
    match value.chars().find(|c| c.is_control() && !c.is_whitespace()) {
        Some(c) => Err(format!("the character {c:?} cannot be part of a value")),
        None => Ok(()),
    }
}

/// As much of a text as fits into an error, on one line.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
