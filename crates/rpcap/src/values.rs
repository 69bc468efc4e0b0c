//! Values as users write them, on the command line and in files.

use std::time::Duration;

use rpcap_proto::wire::Sampling;

/// A time: seconds, or with a unit, such as `500ms`, `10s`, `5m`, `1h`.
pub fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("`{other}` is not one of ms, s, m, h")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "a number and perhaps a unit (ms, s, m, h) is wanted".to_owned())?;
    match Duration::try_from_secs_f64(number * unit) {
        // Longer than anybody waits, and short enough to be added to any moment.
        Ok(time) if !time.is_zero() && time <= Duration::from_secs(100 * 365 * 86_400) => Ok(time),
        _ => Err("a time above zero is wanted".to_owned()),
    }
}

/// What to leave out: `1/N`, or a time within which only the first packet is taken.
pub fn sampling(text: &str) -> Result<Sampling, String> {
    if let Some(n) = text.strip_prefix("1/") {
        return match n.parse() {
            Ok(1) => Ok(Sampling::None),
            Ok(n @ 2..) => Ok(Sampling::OneEvery(n)),
            _ => Err("N in 1/N is a number of at least 1".to_owned()),
        };
    }
    let ms = time(text)?.as_millis();
    match u32::try_from(ms) {
        Ok(ms @ 1..) => Ok(Sampling::FirstAfterMs(ms)),
        _ => Err("between 1ms and 49 days is wanted".to_owned()),
    }
}

/// A number of bytes: plain, or with a unit, such as `500kB`, `64MB`, `10GB` (powers of 1000).
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        other => return Err(format!("`{other}` is not one of B, kB, MB, GB, TB")),
    };
    let number: u64 = digits
        .trim_end()
        .parse()
        .map_err(|_| "a number and perhaps a unit (kB, MB, GB, TB) is wanted".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is more than any disk has"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_samples() {
        assert_eq!(time("10"), Ok(Duration::from_secs(10)));
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "-1", "0", "1d", "nan", "inf", "1e300", "ééé"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert_eq!(sampling("1/10"), Ok(Sampling::OneEvery(10)));
        assert_eq!(sampling("1/1"), Ok(Sampling::None));
        assert_eq!(sampling("100ms"), Ok(Sampling::FirstAfterMs(100)));
        for bad in ["1/0", "1/", "2/3", "0.1ms", "1/4294967296", "1200h"] {
            assert!(sampling(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("512", 512), ("64 MB", 64_000_000), ("2kB", 2000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "MB", "-1", "1MiB", "1.5GB", "99999999999TB", "é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
