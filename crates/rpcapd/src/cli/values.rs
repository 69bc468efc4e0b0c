//! Values of options, from text.

use std::path::PathBuf;
use std::time::Duration;

use rpcap_proto::udpstr::{MTU_MAX, MTU_MIN};
use rpcap_proto::wire::SNAPLEN_MAX;

use crate::limits::rate::{BITS_MAX, FRAMES_MAX, Rate};
use crate::preselect::Preselect;
use crate::transport::{Core, Threads, place};

pub(super) fn preselect(name: &str) -> Result<Preselect, String> {
    match name {
        "" => Err("expected the name of an interface".to_owned()),
        name => Ok(Preselect::named(name)),
    }
}

pub(super) fn udpstr_mtu(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(mtu) if mtu == 0 || (MTU_MIN..=MTU_MAX).contains(&mtu) => Ok(mtu),
        _ => Err(format!("expected 0 or a number from {MTU_MIN} to {MTU_MAX}")),
    }
}

pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 1..=60_000) => Ok(Duration::from_millis(ms)),
        _ => Err("expected a number of milliseconds from 1 to 60000".to_owned()),
    }
}

pub(super) fn threads(text: &str) -> Result<Threads, String> {
    let core = |text: &str| match text.trim() {
        "-1" => Ok(None),
        n => {
            let core = n.parse().map_err(|_| {
                "expected single, N or A,B, with cores from 0, or -1 for any".to_owned()
            })?;
            place::check(core)?;
            Ok(Core::Some(core))
        }
    };
    match text.split_once(',') {
        _ if text == "single" => Ok(Threads::One(None)),
        None => core(text).map(Threads::One),
        Some((capture, send)) => Ok(Threads::Two(core(capture)?, core(send)?)),
    }
}

pub(super) fn nice(text: &str) -> Result<(Option<i32>, Option<i32>), String> {
    let value = |text: &str| match text.trim().parse() {
        Ok(1000) => Ok(None),
        Ok(n @ -20..=19) => Ok(Some(n)),
        _ => Err("expected A,B, each from -20 to 19, or 1000".to_owned()),
    };
    let (capture, send) = text.split_once(',').unwrap_or((text, "1000"));
    Ok((value(capture)?, value(send)?))
}

/// A filter that some link type can have; whether a device's can is seen when that is opened.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    // A fuzzer would have libpcap look up names, one after another, in the network.
    if !cfg!(fuzzing) {
        capture::libpcap::compile(text, capture::LinkType::ETHERNET, SNAPLEN_MAX, true)
            .map_err(|e| e.to_string())?;
    }
    Ok(text.to_owned())
}

/// A service of PAM, which is the name of a file.
pub(super) fn service(name: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    match name.chars().all(is_part) && !name.starts_with(['.', '-']) && !name.is_empty() {
        true => Ok(name.to_owned()),
        false => Err("expected a name of a to z, 0 to 9, \".\", \"_\" and \"-\"".to_owned()),
    }
}

/// A user of this host.
#[cfg(unix)]
pub(super) fn user(name: &str) -> Result<String, String> {
    match nix::unistd::User::from_name(name) {
        Ok(Some(_)) => Ok(name.to_owned()),
        Ok(None) => Err("this host has no such user".to_owned()),
        Err(e) => Err(format!("looking up the user: {e}")),
    }
}

#[cfg(not(unix))]
pub(super) fn user(_: &str) -> Result<String, String> {
    Err("running as another user is there on Unix only".to_owned())
}

pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let mut rate = Rate::default();
    for part in text.split(',').map(str::trim) {
        let (number, unit) = part.split_at(part.find(char::is_alphabetic).unwrap_or(part.len()));
        let (limit, most, factor) = match unit.to_ascii_lowercase().as_str() {
            "bit" => (&mut rate.bits, BITS_MAX, 1.0),
            "kbit" => (&mut rate.bits, BITS_MAX, 1e3),
            "mbit" => (&mut rate.bits, BITS_MAX, 1e6),
            "gbit" => (&mut rate.bits, BITS_MAX, 1e9),
            "pps" => (&mut rate.frames, FRAMES_MAX, 1.0),
            "kpps" => (&mut rate.frames, FRAMES_MAX, 1e3),
            "mpps" => (&mut rate.frames, FRAMES_MAX, 1e6),
            _ => return Err("expected rates such as 100Mbit, 20kpps or 100Mbit,20kpps".to_owned()),
        };
        let value = number.trim().parse::<f64>().unwrap_or(f64::NAN) * factor;
        if !(1.0..=most as f64).contains(&value) {
            return Err(format!("expected a rate from 1 to {most} instead of {part:?}"));
        }
        if limit.replace(value as u64).is_some() {
            return Err("the same kind of rate is there twice".to_owned());
        }
    }
    Ok(rate)
}

/// A savefile that stands in for an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// What clients call it.
    pub name: String,
    /// Where its packets are.
    pub file: PathBuf,
}

impl std::str::FromStr for Replay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err("expected NAME=FILE, such as demo0=/tmp/packets.pcap".to_owned()),
        }
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 31_536_000.0 => Ok(Duration::from_secs_f64(s)),
        _ => Err("expected a number of seconds above 0 and up to a year".to_owned()),
    }
}
