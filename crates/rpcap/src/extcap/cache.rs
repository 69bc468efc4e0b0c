//! The devices that hosts had when they were last asked. What cannot be read is forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use capture::devices::Flags;
use rpcap_proto::wire::Device;
use serde::{Deserialize, Serialize};

/// Most devices that are kept of a host: Wireshark asks two questions about each at every start.
const DEVICES_MAX: usize = 100;

/// Devices by host, see [`hosts::key`](super::hosts::key).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    hosts: BTreeMap<String, Vec<Known>>,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// What people call it, possibly empty.
    pub description: String,
    /// Whether it was up.
    pub up: bool,
    /// The link type of its packets, a `DLT_` number, if it was captured from.
    pub linktype: Option<u32>,
}

impl Cache {
    /// Reads a cache. An unreadable one is as good as none.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Replaces the cache at `path`, in one step, so that nobody reads half of it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = path.with_extension(format!("{}.part", std::process::id()));
        let text = serde_json::to_string(self).map_err(io::Error::other)?;
        fs::write(&new, text).and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    /// The devices of a host.
    pub fn devices(&self, host: &str) -> &[Known] {
        self.hosts.get(host).map_or(&[], Vec::as_slice)
    }

    /// What is known of a device.
    pub fn device(&self, host: &str, name: &str) -> Option<&Known> {
        self.devices(host).iter().find(|d| d.name == name)
    }

    /// Takes what a host has now. Names that are not UTF-8 cannot be asked for.
    pub fn set(&mut self, host: &str, devices: &[Device]) {
        let named = devices.iter().filter_map(|d| Some((str::from_utf8(&d.name).ok()?, d)));
        let known = named.filter(|(name, _)| !name.is_empty()).take(DEVICES_MAX);
        let known = known.map(|(name, d)| Known {
            name: name.to_owned(),
            description: String::from_utf8_lossy(&d.description).into_owned(),
            up: d.flags & Flags::UP != 0,
            linktype: self.device(host, name).and_then(|d| d.linktype),
        });
        let known = known.collect();
        self.hosts.insert(host.to_owned(), known);
    }

    /// Takes the link type of a device that is known.
    pub fn set_linktype(&mut self, host: &str, name: &str, linktype: u32) {
        let devices = self.hosts.get_mut(host).into_iter().flatten();
        for device in devices.filter(|d| d.name == name) {
            device.linktype = Some(linktype);
        }
    }

    /// Forgets all hosts that are not among these.
    pub fn retain(&mut self, hosts: &[String]) {
        self.hosts.retain(|host, _| hosts.contains(host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &[u8], flags: u32) -> Device {
        Device { name: name.to_vec(), flags, ..Device::default() }
    }

    #[test]
    fn what_was_learned_outlives_the_next_answer() {
        let mut cache = Cache::default();
        cache.set("h", &[device(b"eth0", Flags::UP), device(b"eth1", 0), device(b"\xff", 0)]);
        cache.set_linktype("h", "eth0", 113);
        cache.set_linktype("h", "eth9", 113);
        cache.set("h", &[device(b"eth0", 0), device(b"", 0)]);
        let known =
            Known { name: "eth0".into(), up: false, linktype: Some(113), ..Known::default() };
        assert_eq!(cache.devices("h"), [known]);
        assert!(cache.devices("other").is_empty());
        cache.retain(&["other".to_owned()]);
        assert!(cache.devices("h").is_empty());
    }

    #[test]
    fn a_host_has_no_endless_list() {
        let many: Vec<_> = (0..1000).map(|n| device(format!("v{n}").as_bytes(), 0)).collect();
        let mut cache = Cache::default();
        cache.set("h", &many);
        assert_eq!(cache.devices("h").len(), DEVICES_MAX);
    }

    #[test]
    fn a_file_is_read_again_and_rubbish_is_nothing() {
        let path = std::env::temp_dir().join(format!("rpcap-cache-{}/d.json", std::process::id()));
        let mut cache = Cache::default();
        cache.set("h", &[device("büro".as_bytes(), Flags::UP)]);
        cache.write(&path).unwrap();
        assert_eq!(Cache::read(&path), cache);
        fs::write(&path, "{\"hosts\": 7").unwrap();
        assert_eq!(Cache::read(&path), Cache::default());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(Cache::read(&path), Cache::default());
    }
}
