//! The devices that clients may see and open: this host's interfaces and savefiles that stand in
//! for one.

use std::borrow::Cow;
use std::path::Path;
use std::str::FromStr;

use capture::devices as host;
use clap::ValueEnum;
use rpcap_proto::wire;
use wildmatch::WildMatch;

use crate::cli::Replay;
use crate::preselect::{Preselect, marked};

/// By what means packets are captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Linux's own ring of packets: the fastest
    #[cfg(target_os = "linux")]
    #[default]
    AfPacket,
    /// libpcap, or Npcap on Windows
    #[cfg_attr(not(target_os = "linux"), default)]
    Libpcap,
}

impl From<Backend> for capture::Backend {
    fn from(backend: Backend) -> Self {
        match backend {
            #[cfg(target_os = "linux")]
            Backend::AfPacket => Self::AfPacket,
            Backend::Libpcap => Self::Libpcap,
        }
    }
}

/// The device that shows the packets of all.
const ANY: &str = "any";

/// What a device that may be opened is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// One of this host's interfaces.
    Interface,
    /// A savefile.
    Savefile(&'a Path),
}

/// Which devices there are at all: patterns in which `*` and `?` stand for any characters and any
/// one, `!` in front of those to leave out.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    allowed: Vec<WildMatch>,
    denied: Vec<WildMatch>,
    /// `any` shows the packets of every device, so no pattern allows it, only its name.
    any: bool,
    text: String,
}

impl Rules {
    /// Whether clients may know of this device.
    pub fn allow(&self, name: &str) -> bool {
        if name == ANY && !self.any || self.denied.iter().any(|p| p.matches(name)) {
            return false;
        }
        self.allowed.is_empty() || self.allowed.iter().any(|p| p.matches(name))
    }
}

impl FromStr for Rules {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rules =
            Self { allowed: Vec::new(), denied: Vec::new(), any: false, text: text.to_owned() };
        for pattern in text.split([',', ' ']).filter(|p| !p.is_empty()) {
            match pattern.strip_prefix('!') {
                Some("") => return Err("\"!\" needs a pattern after it".to_owned()),
                Some(denied) => rules.denied.push(WildMatch::new(denied)),
                None => {
                    rules.any |= pattern == ANY;
                    rules.allowed.push(WildMatch::new(pattern));
                }
            }
        }
        if rules.allowed.is_empty() && rules.denied.is_empty() {
            return Err("expected patterns such as eth*,!eth3".to_owned());
        }
        Ok(rules)
    }
}

/// As it was given.
impl std::fmt::Display for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The devices as one client sees them.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Savefiles that stand in for interfaces.
    pub replays: &'a [Replay],
    /// Which devices there are at all.
    pub rules: [Option<&'a Rules>; 2],
    /// The only one that may be opened.
    pub preselect: Option<&'a Preselect>,
    /// By what means the list is made.
    pub backend: Backend,
}

/// Why a device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// There is none of this name, or none that clients may know of.
    #[error("{}: No such device exists", shown(.0))]
    NoSuchDevice(String),
    /// Another one is chosen.
    #[error("can only open preselected interface '{}'", shown(.0))]
    OtherPreselected(String),
    /// The list could not be made.
    #[error(transparent)]
    List(#[from] capture::Error),
}

impl<'a> View<'a> {
    /// The devices in the order that clients see them.
    pub fn list(&self) -> Result<Vec<wire::Device>, capture::Error> {
        // Flags as libpcap has them: up, running, connected.
        const FLAGS: u32 = 0x2 | 0x4 | 0x10;
        let savefiles = self.savefiles().map(|r| wire::Device {
            name: r.name.clone().into_bytes(),
            description: format!("Savefile {}", r.file.display()).into_bytes(),
            flags: FLAGS,
            addresses: Vec::new(),
        });
        let interfaces = self.interfaces()?;
        let chosen = self.chosen(&interfaces).map(|name| name.into_owned().into_bytes());
        let mut devices: Vec<_> =
            savefiles.chain(interfaces.into_iter().map(on_the_wire)).collect();
        if let Some(at) = chosen.and_then(|name| devices.iter().position(|d| d.name == name)) {
            let mut first = devices.remove(at);
            first.description = marked(&first.description);
            devices.insert(0, first);
        }
        Ok(devices)
    }

    /// The device of this name, if this client may open it.
    pub fn find(&self, name: &str) -> Result<Kind<'a>, NotFound> {
        // A savefile is known without asking the system, which may be unable to answer.
        let savefile = self.savefiles().find(|r| r.name == name);
        if self.preselect.is_none()
            && let Some(replay) = savefile
        {
            return Ok(Kind::Savefile(&replay.file));
        }
        let interfaces = self.interfaces()?;
        if let Some(preselect) = self.preselect {
            match self.chosen(&interfaces) {
                Some(chosen) if chosen == name => {}
                Some(chosen) => return Err(NotFound::OtherPreselected(chosen.into_owned())),
                None => {
                    tracing::warn!("no interface matches the preselection {preselect}");
                    let wanted = preselect.name.clone();
                    let wanted = wanted.unwrap_or_else(|| preselect.to_string());
                    return Err(NotFound::OtherPreselected(wanted));
                }
            }
        }
        match savefile {
            Some(replay) => Ok(Kind::Savefile(&replay.file)),
            None if interfaces.iter().any(|d| d.name == name) => Ok(Kind::Interface),
            None => Err(NotFound::NoSuchDevice(name.to_owned())),
        }
    }

    /// The name of the preselected device: the first one that matches.
    fn chosen<'n>(&'n self, interfaces: &'n [host::Device]) -> Option<Cow<'n, str>> {
        let preselect = self.preselect?;
        let savefile = self.savefiles().find(|r| preselect.matches(&r.name, std::iter::empty()));
        let interface = || interfaces.iter().find(|d| preselect.matches_device(d));
        savefile.map(|r| &r.name).or_else(|| interface().map(|d| &d.name)).map(Cow::from)
    }

    fn savefiles(&self) -> impl Iterator<Item = &'a Replay> {
        let rules = self.rules;
        self.replays.iter().filter(move |r| allow(rules, &r.name))
    }

    fn interfaces(&self) -> Result<Vec<host::Device>, capture::Error> {
        let mut interfaces = match host::list(self.backend.into()) {
            Ok(devices) => devices,
            // Somebody who offers savefiles only can do so anywhere.
            Err(_) if !self.replays.is_empty() => Vec::new(),
            Err(e) => return Err(e),
        };
        interfaces.retain(|d| allow(self.rules, &d.name));
        Ok(interfaces)
    }
}

/// A name from a client as it can be logged and sent back: harmless, and short enough that what is
/// said of it is not cut off.
pub fn shown(name: &str) -> String {
    const LONGEST: usize = 64;
    let kept: String = name.chars().take(LONGEST).collect();
    let mut shown = wire::error_text(kept.as_bytes());
    if kept.len() < name.len() {
        shown.push_str("...");
    }
    shown
}

/// Whether all of these rules allow a device.
fn allow(rules: [Option<&Rules>; 2], name: &str) -> bool {
    rules.into_iter().flatten().all(|rules| rules.allow(name))
}

fn on_the_wire(device: host::Device) -> wire::Device {
    wire::Device {
        name: device.name.into_bytes(),
        description: device.description.unwrap_or_default().into_bytes(),
        flags: device.flags.0,
        addresses: device
            .addresses
            .into_iter()
            .map(|a| wire::Address {
                addr: Some(sockaddr(a.addr)),
                netmask: a.netmask.map(sockaddr),
                broadcast: a.broadcast.map(sockaddr),
                peer: a.peer.map(sockaddr),
            })
            .collect(),
    }
}

fn sockaddr(address: host::Sockaddr) -> wire::SockAddr {
    match address {
        host::Sockaddr::V4(addr) => wire::SockAddr::V4(addr),
        host::Sockaddr::V6 { addr, scope_id, flowinfo } => {
            wire::SockAddr::V6 { addr, flow_info: flowinfo, scope_id }
        }
        host::Sockaddr::Mac { ifindex, hatype, addr, len, .. } => {
            wire::SockAddr::Mac { if_index: ifindex, hardware_type: hatype, len, addr }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_allow_and_deny() {
        let allowed = |rules: &str, name: &str| rules.parse::<Rules>().unwrap().allow(name);
        assert!(allowed("eth*", "eth0") && !allowed("eth*", "wlan0"));
        assert!(allowed("eth?,lo", "lo") && !allowed("eth?,lo", "eth10"));
        assert!(allowed("!eth3", "eth0") && !allowed("!eth3", "eth3"));
        assert!(!allowed("eth*,!eth3", "eth3") && !allowed("eth*,!eth3", "lo"));
        // What shows everything is not what somebody meant who left something out.
        assert!(!allowed("!eth3", "any") && !allowed("*", "any") && allowed("any,!eth3", "any"));
        for wrong in ["", ",", "!", "eth0,!"] {
            assert!(wrong.parse::<Rules>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_shown_short_on_one_line_and_as_windows_has_them() {
        assert_eq!(shown(r"\Device\NPF_{1}"), r"\Device\NPF_{1}");
        assert_eq!(shown("a\nb\x1b'"), r"a\nb\u{1b}'");
        assert_eq!(shown(&"é".repeat(64)), "é".repeat(64));
        assert_eq!(shown(&"é".repeat(65)), "é".repeat(64) + "...");
    }

    #[test]
    fn d4_059_only_the_preselected_device_can_be_opened() {
        let replays = ["a=x.pcap".parse().unwrap(), "b=y.pcap".parse().unwrap()];
        let preselect = Preselect::named("b");
        let preselect = Some(&preselect);
        let view =
            View { replays: &replays, rules: [None, None], preselect, backend: Backend::default() };
        let list = view.list().unwrap();
        assert_eq!(list[0].name, b"b");
        assert_eq!(list[0].description, b"Savefile y.pcap ;preselected");
        assert_eq!(view.find("b").unwrap(), Kind::Savefile(Path::new("y.pcap")));
        let refused = view.find("a").unwrap_err().to_string();
        assert_eq!(refused, "can only open preselected interface 'b'");

        // What is not there leaves nothing that can be opened, and nothing marked.
        let gone = Preselect::named("no-such");
        let view = View { preselect: Some(&gone), ..view };
        assert!(!view.list().unwrap().iter().any(|d| d.description.ends_with(b"preselected")));
        let refused = view.find("a").unwrap_err().to_string();
        assert_eq!(refused, "can only open preselected interface 'no-such'");
    }
}
