//! What Wireshark lists.

use super::cache::Cache;
use super::hosts::Host;

/// The interface whose host is said in its options.
pub const ANY: &str = "rpcap";

/// An interface.
#[derive(Clone, Debug)]
pub struct Interface<'a> {
    /// What Wireshark calls it by: letters, digits, `.`, `-` and `_`, because it makes names of
    /// pipes of it.
    pub value: String,
    /// What people read.
    pub display: String,
    /// The host and the name of its device; `None` for [`ANY`].
    pub device: Option<(&'a Host, String)>,
}

/// All interfaces: the one for any host first, then the devices of known hosts.
pub fn all<'a>(hosts: &'a [Host], cache: &Cache) -> Vec<Interface<'a>> {
    let display = "Remote capture (RPCAP)".to_owned();
    let mut all = vec![Interface { value: ANY.to_owned(), display, device: None }];
    for host in hosts {
        let known = cache.devices(&host.key());
        let shown = known.iter().filter(|d| host.shows(&d.name, d.up));
        let mut devices: Vec<_> = shown.map(|d| (d.name.clone(), d.description.clone())).collect();
        // Named outright they are there, even if the host was never reached.
        for name in host.devices.iter().filter(|name| !name.contains(['*', '?'])) {
            if !devices.iter().any(|(known, _)| known == name) {
                devices.push((name.clone(), String::new()));
            }
        }
        for (name, description) in devices {
            let mut value = value(&host.name, &name, false);
            if all.iter().any(|i| i.value == value) {
                value = self::value(&host.name, &name, true);
            }
            let mut display = format!("{} at {}", name, host.name);
            if !description.is_empty() {
                display = format!("{display} ({description})");
            }
            all.push(Interface { value, display, device: Some((host, name)) });
        }
    }
    all
}

fn value(host: &str, device: &str, marked: bool) -> String {
    let plain = format!("rpcap-{host}-{device}");
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let clean: String = plain.chars().map(|c| if is_fine(c) { c } else { '_' }).collect();
    match marked || clean != plain {
        false => clean,
        // So that two names that are alike without their odd characters stay two.
        true => format!("{clean}-{:08x}", hash(&format!("{host}\0{device}"))),
    }
}

/// FNV-1a, which has to be the same in every process and version.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::super::hosts;
    use super::*;
    use capture::devices::Flags;
    use rpcap_proto::wire::Device;

    #[test]
    fn every_device_of_known_hosts_that_is_up_or_named() {
        let hosts = hosts::parse(
            "[[host]]\nurl = 'h'\n[[host]]\nname = 'b c'\nurl = 'i'\ndevices = ['eth*', 'w0']\n\
             [[host]]\nname = 'h-x'\nurl = 'j'\ndevices = ['y', 'z']\n\
             [[host]]\nname = 'h2'\nurl = 'k'\ndevices = ['a', 'a{']\n",
        )
        .unwrap();
        let device = |name: &str, flags| Device {
            name: name.into(),
            description: b"Uplink".to_vec(),
            flags,
            ..Device::default()
        };
        let mut cache = Cache::default();
        let up = Flags::UP;
        cache.set(
            "rpcap://h:2002",
            &[device("eth0", up), device("eth1", 0), device("x-y", up), device(r"\NPF_{1}", up)],
        );
        cache.set("rpcap://i:2002", &[device("eth0", 0), device("lo", up)]);
        let all = all(&hosts, &cache);
        let values: Vec<_> = all.iter().map(|i| i.value.as_str()).collect();
        let expected = [
            "rpcap",
            "rpcap-h-eth0",
            "rpcap-h-x-y",
            "rpcap-h-_NPF__1_-432ca821",
            "rpcap-b_c-eth0-be9dea8d",
            "rpcap-b_c-w0-c214af93",
            "rpcap-h-x-y-af271bcd",
            "rpcap-h-x-z",
            "rpcap-h2-a",
            "rpcap-h2-a_-28dcba4d",
        ];
        assert_eq!(values, expected);
        let mut unique = values.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), values.len(), "{values:?}");
        assert_eq!(all[1].display, "eth0 at h (Uplink)");
        assert_eq!(all[3].device.as_ref().unwrap().1, r"\NPF_{1}");
        assert!(all[0].device.is_none());
    }
}
