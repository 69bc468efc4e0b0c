//! Moments as people write them.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// A moment, in nanoseconds since 1970, as seen from `now`: `2026-11-27T10:00:00Z` or with another offset,
/// `2026-11-27 10:00`, `2026-11-27`, `10:00` (today), `-1h` (before now).
///
/// What names no zone is in UTC, like the lines that are printed and the names of files.
pub fn moment(text: &str, now: Timestamp) -> Result<u64, String> {
    let time = parse(text, now).ok_or(
        "a time is wanted, such as 2026-11-27T10:00:00Z, \"2026-11-27 10:00\", 10:00 or -1h",
    )?;
    u64::try_from(time.as_nanosecond()).map_err(|_| "a time since 1970 is wanted".to_owned())
}

fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = TimeZone::UTC;
    let utc = |time: DateTime| zone.to_timestamp(time).ok();
    if let Some(ago) = text.strip_prefix('-') {
        let ago: Span = ago.parse().ok().filter(|span: &Span| span.is_positive())?;
        return Some(now.to_zoned_datetime(zone.clone()).checked_sub(ago).ok()?.timestamp());
    }
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    // A zone's name would be read over.
    if text.contains('[') {
        return None;
    }
    if let Ok(time) = text.parse::<DateTime>() {
        return utc(time);
    }
    let time: Time = text.parse().ok()?;
    utc(now.to_zoned_datetime(zone.clone()).date().to_datetime(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now: Timestamp = "2026-11-27T12:30:00Z".parse().unwrap();
        let same = |text: &str, expected: &str| {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(moment(text, now).map(i128::from), Ok(expected.as_nanosecond()), "{text}");
        };
        same("2026-11-27T10:00:00Z", "2026-11-27T10:00:00Z");
        same("2026-11-27 10:00:00.5+01:00", "2026-11-27T09:00:00.5Z");
        same("2026-11-27 10:00", "2026-11-27T10:00:00Z");
        same("2026-11-27T10:00:00.000000001", "2026-11-27T10:00:00.000000001Z");
        same("2026-11-26", "2026-11-26T00:00:00Z");
        same("10:00", "2026-11-27T10:00:00Z");
        same("10:00:01.25", "2026-11-27T10:00:01.25Z");
        same("-1h", "2026-11-27T11:30:00Z");
        same("-1h30m", "2026-11-27T11:00:00Z");
        same("-90s", "2026-11-27T12:28:30Z");
        same("-2d", "2026-11-25T12:30:00Z");
        for bad in ["", "-", "--1h", "-0s", "1h", "yesterday", "1969-12-31", "25:00", "2026-13-01"]
        {
            assert!(moment(bad, now).is_err(), "{bad}");
        }
        assert!(moment("2026-11-27T10:00[Europe/Berlin]", now).is_err());
    }
}
