//! What the options about logging can say.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error.
    Stderr,
    /// systemd's journal.
    Journald,
    /// The system's log, and standard error too in the foreground.
    Syslog(Facility),
}

/// The part of the system that lines in the system's log come from (syslog(3)), as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// Daemons without one of their own.
    pub const DAEMON: Self = Self(3);

    /// Its number in RFC 3164, section 4.1.1.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// Facilities that a daemon may use, with their numbers.
const FACILITIES: [(&str, u8); 12] = [
    ("user", 1),
    ("daemon", 3),
    ("auth", 4),
    ("authpriv", 10),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stderr" => Ok(Self::Stderr),
            "journald" => Ok(Self::Journald),
            "syslog" => Ok(Self::Syslog(Facility::DAEMON)),
            name => match FACILITIES.iter().find(|(n, _)| *n == name) {
                Some((_, number)) => Ok(Self::Syslog(Facility(*number))),
                None => Err("expected stderr, journald, syslog, or a facility of syslog: user, \
                             daemon, auth, authpriv, local0 to local7"
                    .to_owned()),
            },
        }
    }
}

/// As it was given.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stderr => "stderr",
            Self::Journald => "journald",
            Self::Syslog(Facility::DAEMON) => "syslog",
            Self::Syslog(facility) => {
                let known = FACILITIES.iter().find(|(_, number)| *number == facility.0);
                known.map_or("syslog", |(name, _)| name)
            }
        })
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What needs somebody to act.
    Error,
    /// And what went wrong for a client.
    Warn,
    /// And what clients do.
    #[default]
    Info,
    /// And what only a developer wants to know.
    Debug,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A sentence, then names and values.
    #[default]
    Text,
    /// A JSON object.
    Json,
}
