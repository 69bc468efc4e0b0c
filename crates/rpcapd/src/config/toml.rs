//! `rpcapd.toml`: every key is a long option, `[[peer]]` describes a collector.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::contents::{Contents, Entry, Fault, Faults, check_characters, quote};
use super::options::{Kind, Options};
use crate::peers::{DEFAULT_PORT, PEERS_MAX, Peer};

/// What a `[[peer]]` has besides options.
pub(super) const PEER_KEYS: [&str; 5] = ["host", "port", "ifname", "ifaddr", "tls"];

/// The options that a `[[peer]]` may have for itself.
pub(super) const PEER_OPTIONS: [&str; 4] = ["filter", "snaplen", "udpstr-mtu", "bind-device"];

pub(super) fn parse(text: &str, options: &Options) -> Result<Contents, Vec<Fault>> {
    let table = DeTable::parse(text).map_err(|e| {
        let at = e.span().map_or(text.len(), |span| span.start);
        vec![Fault { at, reason: e.message().replace('\n', ", ") }]
    })?;
    let mut reader = Reader { options, contents: Contents::default(), faults: Faults::default() };
    for (at, key, value) in in_order(table.get_ref()) {
        match key {
            "peer" => reader.peers(value),
            _ => reader.option(at, key, value),
        }
    }
    reader.faults.none_or_all(reader.contents)
}

/// The keys of a table as the file has them.
fn in_order<'a>(table: &'a DeTable<'_>) -> Vec<(usize, &'a str, &'a Spanned<DeValue<'a>>)> {
    let mut keys: Vec<_> =
        table.iter().map(|(k, v)| (k.span().start, k.get_ref().as_ref(), v)).collect();
    keys.sort_by_key(|(at, ..)| *at);
    keys
}

struct Reader<'a> {
    options: &'a Options,
    contents: Contents,
    faults: Faults,
}

impl Reader<'_> {
    fn option(&mut self, at: usize, key: &str, value: &Spanned<DeValue<'_>>) {
        let Some(kind) = self.options.kind(key) else {
            self.faults.add(at, format!("{}: {}", quote(key), self.options.unknown(key)));
            return;
        };
        let values = match (kind, value.get_ref()) {
            // Another word for leaving it out.
            (Kind::Flag, DeValue::Boolean(false)) => return,
            (Kind::Flag, DeValue::Boolean(true)) => Some(Vec::new()),
            (Kind::Flag, other) => {
                let reason = format!("{key}: expected true or false, not {}", name(other));
                self.faults.add(value.span().start, reason);
                return;
            }
            (Kind::Joined | Kind::Repeated, DeValue::Array(list)) => {
                list.iter().map(|v| self.scalar(key, v)).collect()
            }
            _ => self.scalar(key, value).map(|v| vec![v]),
        };
        if let Some(values) = values {
            let entry = Entry { option: key.to_owned(), kind, at, values };
            entry.check(self.options, &mut self.faults);
            self.contents.entries.push(entry);
        }
    }

    /// A value as a command line has it, and where it is.
    fn scalar(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<(usize, String)> {
        let at = value.span().start;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
                Ok(n) => n.to_string(),
                Err(_) => n.to_string(),
            },
            DeValue::Float(n) => n.to_string(),
            other => {
                let reason = format!("{key}: expected a string or a number, not {}", name(other));
                self.faults.add(at, reason);
                return None;
            }
        };
        Some((at, text))
    }

    fn peers(&mut self, value: &Spanned<DeValue<'_>>) {
        let expected = "peer: expected [[peer]], a table for each collector";
        let Some(array) = value.get_ref().as_array() else {
            self.faults.add(value.span().start, expected);
            return;
        };
        for element in array.iter() {
            let at = element.span().start;
            if self.faults.are_enough() {
                return;
            }
            if self.contents.peers.len() >= PEERS_MAX {
                self.faults.add(at, format!("[[peer]]: {PEERS_MAX} are the most"));
                return;
            }
            match element.get_ref().as_table() {
                Some(table) => {
                    let peer = self.peer(at, table).map(|peer| (at, peer));
                    self.contents.peers.extend(peer);
                }
                None => self.faults.add(at, expected),
            }
        }
    }

    fn peer(&mut self, at: usize, table: &DeTable<'_>) -> Option<Peer> {
        let before = self.faults.0.len();
        let mut peer = Peer::new("", DEFAULT_PORT);
        let mut arguments = Vec::new();
        for (key_at, key, value) in in_order(table) {
            if !PEER_KEYS.contains(&key) && !PEER_OPTIONS.contains(&key) {
                let all = [&PEER_KEYS[..], &PEER_OPTIONS].concat().join(", ");
                let reason = format!("{}: [[peer]] has no such key; there are {all}", quote(key));
                self.faults.add(key_at, reason);
                continue;
            }
            // The one key that is no text.
            let given = match value.get_ref() {
                DeValue::Boolean(yes) if key == "tls" => {
                    Some((value.span().start, yes.to_string()))
                }
                _ => self.scalar(key, value),
            };
            let Some((at, text)) = given else { continue };
            if PEER_OPTIONS.contains(&key) {
                let option = key.to_owned();
                let entry = Entry { option, kind: Kind::One, at, values: vec![(at, text)] };
                entry.check(self.options, &mut self.faults);
                arguments.extend(entry.arguments());
            } else if let Err(reason) = check_characters(&text).and_then(|()| peer.set(key, &text))
            {
                self.faults.add(at, format!("{key} = {}: {reason}", quote(&text)));
            }
        }
        if !table.keys().any(|key| key.get_ref() == "host") {
            self.faults.add(at, "[[peer]]: host is missing: expected a name or an address");
        }
        if self.faults.0.len() > before {
            return None;
        }
        let own = self.options.read(&arguments).ok()?;
        peer.filter = own.filter;
        peer.snaplen = own.snaplen;
        peer.udpstr_mtu = own.udpstr_mtu;
        peer.bind_device = own.bind_device;
        Some(peer)
    }
}

/// What a value is, for those who expected another.
fn name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
