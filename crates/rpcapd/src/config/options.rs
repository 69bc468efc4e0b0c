//! The options of the command line, as files name them.

use std::error::Error;
use std::ffi::OsString;
use std::num::ParseIntError;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::cli::Cli;

/// What only a command line can say.
const NOT_IN_FILES: [&str; 4] = ["config", "daemon", "inetd", "save"];

/// Options of one value that is a list with commas, so that a file may have a list as well.
const JOINED: [&str; 9] = [
    "allow",
    "devices",
    "max-rate",
    "nice",
    "pam-groups",
    "pam-users",
    "threads",
    "windows-groups",
    "windows-users",
];

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Flag,
    /// One value.
    One,
    /// One value, with commas between its parts.
    Joined,
    /// Any number of values.
    Repeated,
}

/// The definition of all options.
#[derive(Debug)]
pub(super) struct Options(Command);

impl Options {
    pub(super) fn new() -> Self {
        Self(Cli::augment_args(Command::new("rpcapd")).no_binary_name(true))
    }

    /// Those that a file may have, in the order of the manual.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Arg)> {
        let named = self.0.get_arguments().filter_map(|a| Some((a.get_long()?, a)));
        named.filter(|(name, _)| !NOT_IN_FILES.contains(name))
    }

    /// What the option of this name takes, if a file may have it.
    pub(super) fn kind(&self, option: &str) -> Option<Kind> {
        let (_, arg) = self.iter().find(|(name, _)| *name == option)?;
        Some(match arg.get_action() {
            ArgAction::SetTrue => Kind::Flag,
            ArgAction::Append => Kind::Repeated,
            _ if JOINED.contains(&option) => Kind::Joined,
            _ => Kind::One,
        })
    }

    /// The name that a parsed command line has for an option.
    pub(super) fn id(&self, option: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == option).map(|(_, arg)| arg.get_id().as_str())
    }

    /// The options that are given, with their values.
    pub(super) fn given(
        &self,
        matches: &ArgMatches,
    ) -> impl Iterator<Item = (&str, Kind, Vec<OsString>)> {
        self.iter().filter_map(|(name, arg)| {
            let id = arg.get_id().as_str();
            let kind = self.kind(name)?;
            let values = matches.get_raw(id).unwrap_or_default().map(OsString::from).collect();
            let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
            is_given.then_some((name, kind, values))
        })
    }

    /// What these arguments mean, or why they mean nothing.
    pub(super) fn read(&self, arguments: &[String]) -> Result<Cli, String> {
        let matches = self.0.clone().try_get_matches_from(arguments);
        matches.and_then(|m| Cli::from_arg_matches(&m)).map_err(|e| reason(&e))
    }

    /// What to say of a name that is no option's.
    pub(super) fn unknown(&self, name: &str) -> String {
        if NOT_IN_FILES.contains(&name) {
            return "only the command line can say this".to_owned();
        }
        let error = self.0.clone().try_get_matches_from([format!("--{name}")]).err();
        match error.as_ref().and_then(|e| e.get(ContextKind::SuggestedArg)) {
            Some(ContextValue::String(nearest)) => {
                format!("there is no such key: is {} meant?", nearest.trim_start_matches('-'))
            }
            _ => {
                let names: Vec<_> = self.iter().map(|(name, _)| name).collect();
                format!("there is no such key; there are {} and peer", names.join(", "))
            }
        }
    }
}

/// The reason alone, without the option and the value, which those who ask know.
pub(super) fn reason(error: &clap::Error) -> String {
    let allowed = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(allowed)) => allowed.join(", "),
        _ => String::new(),
    };
    match error.source() {
        Some(source) if source.is::<ParseIntError>() => "expected a whole number".to_owned(),
        Some(source) => source.to_string(),
        None if error.kind() == ErrorKind::InvalidValue && allowed.is_empty() => {
            "expected a value".to_owned()
        }
        None if error.kind() == ErrorKind::InvalidValue => format!("expected one of {allowed}"),
        None => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    }
}
