//! The chapters of `docs/`, and hosts on which what they tell their readers to type is run.
//!
//! A fence says where its commands run, and how:
//!
//! ```text
//!   sh server               on the host "server"; they must end, and well
//!   sh client exit=4        the same, with this exit code
//!   sh server background    they go on until the chapter ends; what the text block below says is waited for
//!   sh server again         run until they say what is in the text block below
//!   sh server afresh        what runs on this host in the background is ended before
//!   sh not-run: REASON      by no test, or by another one, which the reason names
//!   toml server file=NAME   no commands: the file of that name, in the directory that they run in
//! ```
//!
//! `says=WORD` takes the place of the text block below: a line of the output contains it.
//!
//! A block `text` directly below shows lines of their output, in their order. In it any number stands for
//! any other, `…` for anything on a line; a line that is `…` alone is for the reader.

mod shown;
mod stage;

use std::fmt;
use std::fs;

use crate::programs;
use stage::HOSTS;
pub use stage::Stage;

/// Attributes of blocks whose output is waited for.
const WAITING: [&str; 2] = ["background", "again"];

/// A fenced block.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The file, below the workspace.
    pub file: String,
    /// The line of the fence.
    pub line: usize,
    /// The fence's first word, such as `sh`.
    pub language: String,
    /// Its other words.
    pub attributes: Vec<String>,
    /// What is in it.
    pub text: String,
    /// The output that is shown below it.
    pub shown: Option<String>,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Block {
    /// Whether a reader would type what is in it.
    pub fn is_commands(&self) -> bool {
        ["sh", "bash", "shell", "console", "powershell", "ps1", "cmd", "bat", ""]
            .contains(&self.language.as_str())
    }

    /// Why it is not run.
    pub fn not_run(&self) -> Option<String> {
        let (first, reason) = self.attributes.split_first()?;
        (first == "not-run:" && !reason.is_empty()).then(|| reason.join(" "))
    }

    fn host(&self) -> Option<&str> {
        let first = self.attributes.first()?.as_str();
        HOSTS.iter().map(|h| h.0).find(|name| *name == first)
    }

    fn is(&self, word: &str) -> bool {
        self.attributes.iter().any(|a| a == word)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find_map(|a| a.strip_prefix(key)?.strip_prefix('='))
    }

    /// What is wrong with its fence, for a test.
    pub fn fault(&self) -> Option<String> {
        let known = |a: &String| {
            a == "afresh"
                || WAITING.contains(&a.as_str())
                || ["exit=", "file=", "says="].iter().any(|key| a.starts_with(key))
        };
        if self.not_run().is_some() {
            return None;
        }
        if !self.is_commands() {
            let file = self.value("file").is_some();
            return (file != self.host().is_some()).then(|| "a file needs a host".to_owned());
        }
        let waits = WAITING.iter().any(|word| self.is(word));
        match self.host() {
            _ if self.language != "sh" => Some("commands are in sh, or not-run".to_owned()),
            None => Some("neither a host nor not-run: with a reason".to_owned()),
            Some(_) if waits && self.shown.is_none() && self.value("says").is_none() => {
                Some("what it says, and is waited for, has to be in a text block below".to_owned())
            }
            Some(_) => {
                let unknown = self.attributes.iter().skip(1).find(|a| !known(a));
                unknown.map(|a| format!("{a}: what is that?"))
            }
        }
    }
}

/// The blocks of a file of the workspace, in order.
pub fn blocks(file: &str) -> Vec<Block> {
    let path = programs::workspace().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    let mut adjacent = false;
    let mut indent = 0;
    for (n, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                indent = line.len() - line.trim_start().len();
                let mut words = info.split_whitespace().map(str::to_owned);
                open = Some(Block {
                    file: file.to_owned(),
                    line: n + 1,
                    language: words.next().unwrap_or_default(),
                    attributes: words.collect(),
                    ..Block::default()
                });
            }
            (Some(_), Some("")) => {
                let block = open.take().expect("one is open");
                match blocks.last_mut() {
                    Some(above) if adjacent && block.language == "text" => {
                        above.shown = Some(block.text);
                    }
                    _ => blocks.push(block),
                }
                adjacent = true;
            }
            (Some(block), _) => {
                block.text += &format!("{}\n", line.get(indent..).unwrap_or_default())
            }
            (None, None) => adjacent &= line.trim().is_empty(),
        }
    }
    assert!(open.is_none(), "{file}: a block does not end");
    blocks
}
