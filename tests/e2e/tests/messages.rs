//! docs/troubleshooting.md: what it quotes is said by the programs, and what they say is quoted.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::programs::workspace;

/// The crates whose messages operators see.
const CRATES: [&str; 5] = ["rpcapd", "rpcap", "capture", "pam", "rpcap-proto"];

/// The least that a message says by itself, in letters; what is shorter passes on what others say.
const LETTERS_MIN: usize = 5;

/// Messages that nobody can do anything about, or that are only ever part of another one, by their
/// beginnings.
const NOT_TOLD: &[&str] = &[
    // Bugs. The chapter tells what to do with those.
    "the receiving thread panicked",
    "the capture's thread panicked",
    "the thread that sends panicked",
    "the thread that answers questions panicked",
    "the far end has no pipes",
    "a session panicked; this is a bug",
    "a thread panicked; this is a bug",
    // Steps that fail only where the system is out of something, or forbids what every program may do.
    // The system's own reason stands behind them.
    "catching signals",
    "cannot watch for signals",
    "creating the event queue",
    "creating the waker",
    "sharing the event queue",
    "starting the reload thread",
    "starting the signal thread",
    "starting to answer questions",
    "starting to call collectors",
    "waiting for connections",
    "watching a listener",
    "core dumps",
    "-d: ",
    "--inetd: ",
    "--pam: a socket for the helper",
    "starting without a name",
    "hashing the password",
    "making a key",
    "making a certificate",
    "the system has no random numbers",
    "cannot find the output file",
    "cannot find this program",
    "where this program is",
    "cannot write a temporary file",
    "cargo does not say where it put rpcapd",
    // Behind "becoming user" and "giving up rights", which are told.
    "reading capabilities",
    "the bounding set",
    "keeping capabilities",
    "leaving groups",
    "changing the group",
    "changing the user",
    "giving up capabilities",
    // Behind "sandbox", which is told.
    "no_new_privs",
    "landlock ",
    "seccomp ",
    // Prefixes: what is wrong stands behind them, and says what is wanted.
    "fingerprint",
    "sampling: ",
    "OPTIONS: \0",
    // Behind "rpcap: extcap", with the file and the system's reason.
    "look at",
    "remove",
    "write",
    "cannot answer Wireshark",
    // Commands that programs give to themselves.
    "this command is for the daemon only",
    "--part needs --rpcapd",
];

/// A literal of the sources.
#[derive(Debug)]
struct Literal {
    file: PathBuf,
    /// What is in it, `\0` for each place that is filled in.
    text: String,
    /// Whether it is an error, or a warning of the log.
    is_message: bool,
}

fn sources(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The string literals of a source, and whether each begins an error's or a warning's text.
fn literals(file: &Path) -> Vec<Literal> {
    let source = fs::read_to_string(file).expect("a source");
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    // Whether a macro has begun whose first literal is a message.
    let mut expected = false;
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let rest = &source[at..];
        match c {
            '/' if rest.starts_with("//") => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            // A character, or a lifetime.
            '\'' if rest.starts_with("'\"'") => drop((chars.next(), chars.next())),
            '\'' if rest.starts_with("'\\") => {
                chars.next();
                chars.next();
                while chars.next().is_some_and(|(_, c)| c != '\'') {}
            }
            '"' => {
                let mut text = String::new();
                while let Some((_, c)) = chars.next_if(|(_, c)| *c != '"') {
                    text.push(c);
                    if c == '\\' {
                        text.extend(chars.next().map(|(_, c)| c));
                    }
                }
                chars.next();
                let text = filled(&text);
                found.push(Literal { file: file.to_owned(), text, is_message: expected });
                expected = false;
            }
            ';' => expected = false,
            _ => {
                let begins = [
                    "#[error(",
                    "warn!(",
                    "error!(",
                    "bail!(",
                    "context(",
                    "anyhow!(",
                    "journal.warn(",
                ];
                expected |= begins.iter().any(|b| rest.starts_with(b));
            }
        }
    }
    found
}

/// A literal as it is printed, `\0` for each place that is filled in.
fn filled(literal: &str) -> String {
    let mut text = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // What is continued on the next line.
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some(other) => text.push(other),
                None => {}
            },
            '{' if chars.next_if_eq(&'{').is_some() => text.push('{'),
            '{' => {
                while chars.next().is_some_and(|c| c != '}') {}
                text.push('\0');
            }
            other => text.push(other),
        }
    }
    text
}

/// Whether a quotation is what a literal can become.
fn is_instance(quoted: &str, literal: &str) -> bool {
    let mut parts: Vec<_> = literal.split('\0').collect();
    let (first, last) = (parts.remove(0), parts.pop());
    let Some(mut rest) = quoted.strip_prefix(first) else { return false };
    let Some(last) = last else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn letters(literal: &str) -> usize {
    literal.chars().filter(|c| c.is_alphabetic()).count()
}

/// The messages that the chapter quotes.
fn quoted() -> Vec<String> {
    let file = workspace().join("docs/troubleshooting.md");
    let chapter = fs::read_to_string(file).expect("the chapter");
    let cell = |line: &str| {
        // Two where there is one within.
        let rows = [("| `` ", " `` |"), ("| `", "` |")];
        rows.iter()
            .find_map(|(begin, end)| Some(line.strip_prefix(begin)?.split_once(end)?.0.to_owned()))
    };
    chapter.lines().filter_map(cell).collect()
}

fn all_literals() -> Vec<Literal> {
    let crates = workspace().join("crates").canonicalize().expect("the crates");
    let mut files = Vec::new();
    for name in CRATES {
        sources(&crates.join(name).join("src"), &mut files);
    }
    let no_test = |f: &&PathBuf| {
        !f.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs")
    };
    files.iter().filter(no_test).flat_map(|f| literals(f)).collect()
}

/// What a log line or a client says is often put together: `password refused: {reason}`.
fn is_said(quoted: &str, literals: &[Literal]) -> bool {
    let said = |text: &str| {
        literals.iter().any(|l| letters(&l.text) >= LETTERS_MIN && is_instance(text, &l.text))
    };
    said(quoted)
        || quoted.split_once(": ").is_some_and(|(_, reason)| said(reason))
        || quoted.strip_prefix('…').is_some_and(|rest| said(rest.trim_start()))
}

#[test]
fn what_the_chapter_quotes_is_said() {
    let literals = all_literals();
    let quoted = quoted();
    assert!(quoted.len() > 100, "{} messages", quoted.len());
    let lost: Vec<_> = quoted.iter().filter(|q| !is_said(q, &literals)).collect();
    assert!(lost.is_empty(), "nobody says:\n{lost:#?}");
}

#[test]
fn what_is_said_is_in_the_chapter() {
    let quoted = quoted();
    let told = |text: &str| {
        quoted.iter().any(|q| {
            is_instance(q, text)
                // "cannot start …" is told of all that may stand there.
                || is_instance(text, &q.replace('…', "\0"))
                || q.split_once(": ").is_some_and(|(_, reason)| is_instance(reason, text))
                || q.strip_prefix("… ").is_some_and(|rest| is_instance(rest, text))
        })
    };
    let literals = all_literals();
    let messages = literals.iter().filter(|l| {
        l.is_message
            && letters(&l.text) >= LETTERS_MIN
            // Its errors are passed on by others, as what a peer did wrong.
            && !l.file.components().any(|c| c.as_os_str() == "rpcap-proto")
            && !NOT_TOLD.iter().any(|not| l.text.starts_with(not))
    });
    let missing: Vec<_> = messages
        .filter(|l| !told(&l.text))
        .map(|l| format!("{}: {}", l.file.display(), l.text.replace('\0', "…")))
        .collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md has no row for:\n{}", missing.join("\n"));
}

#[test]
fn the_sources_are_read_as_the_compiler_reads_them() {
    let literals = all_literals();
    let is = |text: &str| literals.iter().any(|l| l.is_message && l.text == text);
    assert!(is("\0: No such device exists"));
    assert!(is("cannot connect to \0 (\0): \0; is rpcapd running there?"));
    assert!(is("refused: not on the list of allowed hosts"));
    assert!(is("\0 captures run, which is the limit here: end one, or raise --max-captures"));
    assert!(is_instance("server refuses to open the device: …", "\0 refuses \0: \0"));
    assert!(!is_instance("server refuses", "\0 refuses \0: \0"));
    assert!(!is_instance("closed by the peers", "closed by the peer"));
}
