//! Output, as the book shows it.

use std::collections::VecDeque;

/// The first of the shown lines that has not appeared, in their order.
pub(super) fn missing<'a>(shown: &'a str, said: &str) -> Option<&'a str> {
    let mut said = said.lines();
    shown
        .lines()
        .filter(|line| !["…", ""].contains(&line.trim()))
        .find(|line| !said.any(|other| stands_for(line.trim(), other.trim())))
}

/// Whether a line of the book shows a line of output.
fn stands_for(shown: &str, said: &str) -> bool {
    let (shown, said) = (plain(shown), plain(said));
    let mut parts: VecDeque<_> = shown.split('…').collect();
    let (Some(first), last) = (parts.pop_front(), parts.pop_back()) else { return false };
    let Some(rest) = said.strip_prefix(first) else { return false };
    let Some(last) = last else { return rest.is_empty() };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    parts.iter().all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// A line in which all numbers are the same, and all gaps, and which of two clocks is ahead.
fn plain(line: &str) -> String {
    let line = line.replace(" ahead of this host", " behind this host");
    let mut plain = String::new();
    for c in line.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c.is_ascii_digit() {
            true if plain.ends_with('0') => {}
            true => plain.push('0'),
            false => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_lines_stand_for_lines_like_them() {
        assert!(stands_for("took 3 s, 17 packets", "took 12 s, 4711   packets"));
        assert!(stands_for(
            "… listening on 192.0.2.20:2002",
            "10:00 INFO listening on 192.0.2.20:2002"
        ));
        assert!(stands_for("a … c … e", "a b c d e"));
        assert!(!stands_for("a … c … e", "a b d e"));
        assert!(stands_for("is 1 ms ahead of this host's", "is 2 ms behind this host's"));
        assert!(!stands_for("listening", "listening on"));
        assert!(!stands_for("a…a", "a"));
        assert_eq!(missing("one\n…\ntwo\n", "one\nx\ntwo\n"), None);
        assert_eq!(missing("two\none\n", "one\ntwo\n"), Some("one"));
    }
}
