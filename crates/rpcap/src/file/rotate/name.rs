//! Names of files, made of text that may have come from anywhere.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most bytes of a prefix: names of files have at most 255 on most systems.
const PREFIX_MAX: usize = 128;

/// Behind the name of a file that is being written.
const PART: &str = ".part";

/// How files of one writer are called: `PREFIX-20261126T120000Z-000001.pcapng`, by the time at
/// which they were begun, in UTC.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    extension: &'static str,
}

impl Names {
    /// Names with as much of `prefix` as is harmless in a name.
    pub(super) fn new(prefix: &str, compressed: bool) -> Self {
        let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let mut prefix: String =
            prefix.chars().take(PREFIX_MAX).map(|c| if harmless(c) { c } else { '_' }).collect();
        // Neither hidden nor an option of whatever program it is given to.
        if prefix.is_empty() || prefix.starts_with(['.', '-']) {
            prefix.insert(0, '_');
        }
        Self { prefix, extension: if compressed { ".pcapng.zst" } else { ".pcapng" } }
    }

    /// What all of them begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A name, without the mark of a file that is being written.
    pub(super) fn name(&self, begun: SystemTime, number: u32) -> String {
        format!("{}-{}-{number:06}{}", self.prefix, stamp(begun), self.extension)
    }

    /// Whether a file of this name was written by a writer with this prefix, and finished.
    pub(super) fn is_finished(&self, name: &OsStr) -> bool {
        let rest = name.to_str().and_then(|n| n.strip_prefix(&self.prefix)?.strip_prefix('-'));
        // Compressed or not: the choice may have changed since.
        let rest = rest.and_then(|r| r.strip_suffix(".pcapng").or(r.strip_suffix(".pcapng.zst")));
        let Some((time, number)) = rest.and_then(|r| r.split_once('-')) else {
            return false;
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let time = time.strip_suffix('Z').and_then(|t| t.split_once('T'));
        time.is_some_and(|(day, clock)| {
            day.len() == 8 && clock.len() == 6 && digits(day) && digits(clock)
        }) && digits(number)
    }

    /// Whether it is one that was never finished.
    pub(super) fn is_part(&self, name: &OsStr) -> bool {
        let finished = name.to_str().and_then(|n| n.strip_suffix(PART));
        finished.is_some_and(|n| self.is_finished(OsStr::new(n)))
    }
}

/// Where a file is while it is being written.
pub(super) fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PART);
    name.into()
}

/// Seconds of a day.
const DAY: u64 = 86_400;

fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (year, month, day) = date(seconds / DAY);
    let clock = seconds % DAY;
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day, so many days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // In years that begin in March a leap day is the last of its year, and 400 of them have as
    // many days as any other 400. Day 0 is 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let day = |days| stamp(UNIX_EPOCH + Duration::from_secs(days * DAY + 3_723));
        assert_eq!(day(0), "19700101T010203Z");
        // As `date -u -d @SECONDS` has them.
        assert_eq!(day(789), "19720229T010203Z");
        assert_eq!(day(11_016), "20000229T010203Z");
        assert_eq!(day(11_017), "20000301T010203Z");
        assert_eq!(day(20_783), "20261126T010203Z");
        assert_eq!(day(47_540), "21000228T010203Z");
        assert_eq!(day(47_541), "21000301T010203Z");
        assert_eq!(day(20_818), "20261231T010203Z");
    }

    #[test]
    fn names_are_harmless_and_recognised() {
        let time = UNIX_EPOCH + Duration::from_secs(20_783 * DAY);
        for (prefix, expected) in [
            ("web1-eth0", "web1-eth0"),
            ("../../etc/passwd", "_.._.._etc_passwd"),
            ("", "_"),
            ("-rf", "_-rf"),
            (".hidden", "_.hidden"),
            ("a b\n\0\u{202e}c", "a_b___c"),
            ("fd00::1%eth0", "fd00__1_eth0"),
        ] {
            for compressed in [false, true] {
                let names = Names::new(prefix, compressed);
                let name = names.name(time, 7);
                let end = if compressed { ".zst" } else { "" };
                assert_eq!(name, format!("{expected}-20261126T000000Z-000007.pcapng{end}"));
                assert!(names.is_finished(OsStr::new(&name)));
                assert!(!names.is_part(OsStr::new(&name)));
                let part = part(Path::new(&name));
                assert!(names.is_part(part.as_os_str()) && !names.is_finished(part.as_os_str()));
            }
        }
        assert!(Names::new(&"x".repeat(1_000), true).name(time, u32::MAX).len() < 200);
    }

    #[test]
    fn files_of_others_are_not_ours() {
        let names = Names::new("web", false);
        for other in [
            "web.pcapng",
            "web-20261126T000000Z-000007.pcap",
            "web-20261126T000000Z-.pcapng",
            "web-20261126T000000-000007.pcapng",
            "web-2026112T000000Z-000007.pcapng",
            "web-eth0-20261126T000000Z-000007.pcapng",
            "web2-20261126T000000Z-000007.pcapng",
            "web-20261126T000000Z-000007.pcapng.zst.gz",
        ] {
            assert!(!names.is_finished(OsStr::new(other)), "{other}");
        }
    }
}
