//! The files of ExtraHop's and libpcap's rpcapd: what either of them understands.
//!
//! A line is `KEY = VALUE`; `#` begins a comment. What both skip in silence or with a line in the
//! log is an error here: a host that was meant to be kept out must not come in by a slip of the pen.

use super::contents::{Contents, Entry, Fault, Faults, quote};
use super::options::{Kind, Options};
use crate::allow::AllowList;
use crate::peers::{PeerList, SEPARATORS};

/// The keys there are.
pub(super) const KEYS: [&str; 4] = ["ActiveClient", "PassiveClient", "NullAuthPermit", "UserName"];

pub(super) fn parse(text: &str, options: &Options) -> Result<Contents, Vec<Fault>> {
    let mut reader = Reader {
        options,
        contents: Contents::default(),
        faults: Faults::default(),
        single: Vec::new(),
    };
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if reader.faults.are_enough() {
            break;
        }
        reader.line(at, line);
        at += line.len();
    }
    reader.faults.none_or_all(reader.contents)
}

struct Reader<'a> {
    options: &'a Options,
    contents: Contents,
    faults: Faults,
    /// The keys so far that there may be one of.
    single: Vec<String>,
}

impl Reader<'_> {
    fn line(&mut self, start: usize, line: &str) {
        let content = line.split('#').next().unwrap_or_default();
        let at = start + content.len() - content.trim_start().len();
        let content = content.trim();
        if content.is_empty() {
            return;
        }
        let wrong = |c: char| c.is_control() && c != '\t';
        if let Some((n, c)) = content.char_indices().find(|(_, c)| wrong(*c)) {
            self.faults.add(at + n, format!("the character {c:?} cannot be part of a line"));
            return;
        }
        let Some((key, value)) = content.split_once('=') else {
            self.faults.add(at, format!("{}: expected KEY = VALUE", quote(content)));
            return;
        };
        let (key, value) = (key.trim_end(), value.trim_start());
        let value_at = at + content.len() - value.len();
        if let Err(reason) = self.setting(key, at, value, value_at) {
            self.faults.add(value_at, format!("{} = {}: {reason}", quote(key), quote(value)));
        }
    }

    fn setting(
        &mut self,
        key: &str,
        at: usize,
        value: &str,
        value_at: usize,
    ) -> Result<(), String> {
        let (option, kind, text) = match key {
            "ActiveClient" => ("active", Kind::Repeated, collector(value)?),
            "PassiveClient" => {
                let list = value.replace('\t', " ");
                list.parse::<AllowList>()?;
                ("allow", Kind::Joined, list)
            }
            "NullAuthPermit" | "UserName" if self.single.iter().any(|k| k == key) => {
                return Err("given for the second time".to_owned());
            }
            "NullAuthPermit" => {
                self.single.push(key.to_owned());
                if value != "YES" {
                    // The others take everything else for NO; some of it looks like the contrary.
                    if value != "NO" {
                        let reason = "NullAuthPermit: taken for NO, as it is neither YES nor NO";
                        self.contents.notes.push(Fault { at: value_at, reason: reason.to_owned() });
                    }
                    return Ok(());
                }
                ("null-auth", Kind::Flag, String::new())
            }
            "UserName" => {
                self.single.push(key.to_owned());
                self.options.read(&[format!("--user={value}")])?;
                ("user", Kind::One, value.to_owned())
            }
            _ => return Err(format!("there is no such key; there are {}", KEYS.join(", "))),
        };
        let values = match kind {
            Kind::Flag => Vec::new(),
            _ => vec![(value_at, text)],
        };
        match self.contents.entries.iter_mut().find(|e| e.option == option) {
            Some(entry) => entry.values.extend(values),
            None => {
                let option = option.to_owned();
                self.contents.entries.push(Entry { option, kind, at, values });
            }
        }
        Ok(())
    }
}

/// One collector, as `--active` has it. Its port must be there, as it must for the others.
fn collector(value: &str) -> Result<String, String> {
    let separators = |c| c == '\t' || SEPARATORS.contains(&c);
    let tokens: Vec<_> = value.split(separators).filter(|t| !t.is_empty()).collect();
    if tokens.get(1).is_none_or(|port| port.contains('=')) {
        return Err(
            "expected HOST, PORT, and ifname=NAME or ifaddr=ADDRESS[/LENGTH] after them".to_owned()
        );
    }
    let text = tokens.join(",");
    match text.parse::<PeerList>()?.0.as_slice() {
        [_] => Ok(text),
        [_, other, ..] => Err(format!(
            "{}: expected ifname=NAME or ifaddr=ADDRESS[/LENGTH] after the port",
            quote(&other.host)
        )),
        [] => Err("expected HOST, PORT".to_owned()),
    }
}
