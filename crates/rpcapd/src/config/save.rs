//! A configuration as a file that loads back to the same.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use ::toml::Value;

use super::options::{Kind, Options};
use super::{Config, Given, is_toml, parse};
use crate::files::{self, shown};
use crate::peers::Peer;

/// The options that an ini file can say.
const IN_INI: [&str; 4] = ["active", "allow", "null-auth", "user"];

impl Config {
    /// Everything that is not a default, as a toml file; with the place that each is from as a
    /// comment.
    pub fn to_toml(&self, with_sources: bool) -> Result<String, String> {
        let source = |text: &str| match with_sources {
            true => format!("  # {}", shown(Path::new(text))),
            false => String::new(),
        };
        let mut text = String::new();
        for given in &self.given {
            let value = value(given)?;
            writeln!(text, "{} = {value}{}", given.option, source(&given.source))
                .map_err(|e| e.to_string())?;
        }
        for (place, peer) in &self.peers {
            write!(text, "\n[[peer]]{}\n", source(place)).map_err(|e| e.to_string())?;
            for (key, value) in peer_values(peer) {
                writeln!(text, "{key} = {value}").map_err(|e| e.to_string())?;
            }
        }
        Ok(text)
    }

    /// The same as an ini file. An error names what such a file cannot say.
    pub fn to_ini(&self) -> Result<String, String> {
        let beyond: Vec<_> = self.given.iter().filter(|g| !IN_INI.contains(&&*g.option)).collect();
        if !beyond.is_empty() {
            let names: Vec<_> = beyond.iter().map(|g| format!("--{}", g.option)).collect();
            return Err(format!(
                "an ini file cannot say {}: save to a file whose name ends in .toml",
                names.join(", ")
            ));
        }
        let mut lines = Vec::new();
        for peer in self.cli.active.iter().flat_map(|list| &list.0).chain(&self.cli.peers) {
            let said =
                Peer { preselect: peer.preselect.clone(), ..Peer::new(&peer.host, peer.port) };
            if said != *peer {
                return Err(format!(
                    "an ini file cannot say what {peer} may have: save to a file whose name ends \
                     in .toml"
                ));
            }
            let preselect = peer.preselect.as_ref().map(|p| format!(", {p}")).unwrap_or_default();
            lines.push(format!("ActiveClient = {}, {}{preselect}", peer.host, peer.port));
        }
        for Given { option, values, .. } in &self.given {
            match option.as_str() {
                "allow" => lines.push(format!("PassiveClient = {}", one_line(values)?)),
                "user" => lines.push(format!("UserName = {}", one_line(values)?)),
                "null-auth" => lines.push("NullAuthPermit = YES".to_owned()),
                _ => {}
            }
        }
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }

    /// Saves to a file, toml or ini by its name. The file is there as a whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let failed = |reason: String| format!("saving to {}: {reason}", shown(path));
        let text = if is_toml(path) { self.to_toml(false) } else { self.to_ini() };
        let text = text.map_err(failed)?;
        self.check(path, &text).map_err(failed)?;
        // Who may connect, and who is called, is nobody else's business, unless it was before.
        files::replace(path, &text, |_, _| Ok(())).map_err(|e| failed(e.to_string()))
    }

    /// A file that says something else than it was told must not be there.
    fn check(&self, path: &Path, text: &str) -> Result<(), String> {
        let options = Options::new();
        let contents = parse(path, text, &options).map_err(|faults| {
            let reason = faults.first().map_or("", |f| f.reason.as_str());
            format!("it would not load again: {reason}")
        })?;
        let arguments: Vec<_> = contents.entries.iter().flat_map(|e| e.arguments()).collect();
        let mut loaded = options.read(&arguments)?;
        loaded.peers = contents.peers.into_iter().map(|(_, peer)| peer).collect();
        if loaded.same_settings(&self.cli) {
            Ok(())
        } else {
            Err("it would not load back to the same: save to a file whose name ends in .toml"
                .to_owned())
        }
    }
}

/// As toml has it.
fn value(given: &Given) -> Result<Value, String> {
    let text = |value: &OsStr| match value.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("--{} is not UTF-8", given.option)),
    };
    match given.kind {
        Kind::Flag => Ok(Value::Boolean(true)),
        Kind::Repeated => {
            let values = given.values.iter().map(|v| text(v).map(Value::String));
            values.collect::<Result<_, _>>().map(Value::Array)
        }
        Kind::One | Kind::Joined => {
            let text = text(given.values.first().map_or(OsStr::new(""), |v| v))?;
            Ok(match text.parse::<i64>() {
                Ok(n) if n.to_string() == text => Value::Integer(n),
                _ => Value::String(text),
            })
        }
    }
}

fn peer_values(peer: &Peer) -> Vec<(&'static str, Value)> {
    let string = |text: &String| Value::String(text.clone());
    let preselect = peer.preselect.as_ref();
    let address = preselect.and_then(|p| p.address).map(|a| a.to_string());
    let values = [
        ("host", Some(string(&peer.host))),
        ("port", Some(Value::Integer(peer.port.into()))),
        ("ifname", preselect.and_then(|p| p.name.as_ref()).map(string)),
        ("ifaddr", address.map(Value::String)),
        ("filter", peer.filter.as_ref().map(string)),
        ("snaplen", peer.snaplen.map(|n| Value::Integer(n.into()))),
        ("udpstr-mtu", peer.udpstr_mtu.map(|n| Value::Integer(n as i64))),
        ("bind-device", peer.bind_device.as_ref().map(string)),
        ("tls", peer.tls.map(Value::Boolean)),
    ];
    values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn one_line(values: &[std::ffi::OsString]) -> Result<String, String> {
    let value = values.first().and_then(|v| v.to_str()).unwrap_or_default();
    Ok(value.split_whitespace().collect::<Vec<_>>().join(" "))
}
