//! What Wireshark is told, a line for each thing: `word {key=text}{key=text}`.
//!
//! It knows no escapes. In texts for people braces become parentheses; names of devices are
//! written as in URLs ([`escape`]).

use std::fmt::Write;

use super::cache::Known;
use super::interfaces::Interface;
use crate::text::harmless;
use crate::url::escape;

/// Numbers of the toolbar's controls.
pub mod control {
    /// A check box: no packets for now.
    pub const PAUSE: u8 = 0;
    /// A text: which packets from now on.
    pub const FILTER: u8 = 1;
    /// A button that opens a log.
    pub const LOG: u8 = 2;
}

/// The number of the option for the device.
const DEVICE: usize = 3;

/// Where it is explained.
const HELP: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/extcap.md");

/// The answer to `--extcap-interfaces`.
pub fn interfaces(all: &[Interface<'_>]) -> String {
    let mut text = format!(
        "extcap {{version={}}}{{help={HELP}}}{{display=Remote capture (RPCAP)}}\n",
        env!("CARGO_PKG_VERSION")
    );
    for Interface { value, display, .. } in all {
        let _ = writeln!(text, "interface {{value={value}}}{{display={}}}", plain(display));
    }
    let _ = writeln!(
        text,
        "control {{number={}}}{{type=boolean}}{{display=Pause}}{{default=false}}\
         {{tooltip=The host sends no packets for now}}\n\
         control {{number={}}}{{type=string}}{{display=Filter}}{{placeholder=all packets}}\
         {{tooltip=Which packets the host sends from now on, in the language of capture filters}}\n\
         control {{number={}}}{{type=button}}{{role=logger}}{{display=Log}}\
         {{tooltip=What the host said, and what became of every packet}}",
        control::PAUSE,
        control::FILTER,
        control::LOG,
    );
    text
}

/// The answer to `--extcap-dlts`: the link type of a device, as far as it is known.
pub fn dlts(linktype: u32) -> String {
    let name = crate::linktype::name(linktype).map_or(format!("DLT {linktype}"), str::to_owned);
    format!("dlt {{number={linktype}}}{{name={name}}}{{display={name}}}\n")
}

/// The answer to `--extcap-config`. An interface whose host is said in its options has `Some`
/// devices, as far as they are known.
pub fn config(any: Option<&[Known]>) -> String {
    let mut text = String::new();
    let options = any.map_or([].as_slice(), |_| &HOST).iter().chain(&CAPTURE);
    for (number, option) in options.enumerate() {
        let Argument { call, kind, display, group, tooltip, more, values } = option;
        let _ = writeln!(
            text,
            "arg {{number={number}}}{{call={call}}}{{display={display}}}{{type={kind}}}\
             {{group={group}}}{{tooltip={tooltip}}}{more}"
        );
        for (i, (value, display)) in values.iter().enumerate() {
            let _ = writeln!(
                text,
                "value {{arg={number}}}{{value={value}}}{{display={display}}}{{default={}}}",
                i == 0
            );
        }
        if number == DEVICE
            && let Some(devices) = any
        {
            text.push_str(&self::devices(devices));
        }
    }
    text
}

/// The answer to `--extcap-reload-option device`.
pub fn devices(devices: &[Known]) -> String {
    let mut text = String::new();
    for Known { name, description, .. } in devices {
        let mut display = plain(name);
        if !description.is_empty() {
            let _ = write!(display, " ({})", plain(description));
        }
        let _ = writeln!(
            text,
            "value {{arg={DEVICE}}}{{value={}}}{{display={display}}}{{default=false}}",
            escape(name),
        );
    }
    text
}

/// The same, if there are none: why, in the place of a device. There is no other way to tell.
pub fn no_devices(why: &str) -> String {
    format!("value {{arg={DEVICE}}}{{value=}}{{display={}}}{{default=true}}\n", plain(why))
}

fn plain(text: &str) -> String {
    harmless(text.as_bytes()).replace('{', "(").replace('}', ")")
}

/// An option.
struct Argument {
    call: &'static str,
    kind: &'static str,
    display: &'static str,
    group: &'static str,
    tooltip: &'static str,
    more: &'static str,
    /// What can be chosen, the default first.
    values: &'static [(&'static str, &'static str)],
}

/// One without anything special.
const fn argument(
    call: &'static str,
    kind: &'static str,
    display: &'static str,
    group: &'static str,
    tooltip: &'static str,
) -> Argument {
    Argument { call, kind, display, group, tooltip, more: "", values: &[] }
}

/// Names have no hyphens within: Wireshark leaves them out where it names its preferences.
const HOST: [Argument; 12] = [
    Argument {
        more: "{placeholder=server.example}",
        ..argument(
            "--host",
            "string",
            "Host",
            "Host",
            "Name or address of the host with the daemon; if it dials in, the only one that may, \
             or nothing for any",
        )
    },
    Argument {
        more: "{placeholder=2002; for a daemon that dials in 2003}",
        ..argument("--port", "string", "Port", "Host", "The daemon's port, or ours if it dials in")
    },
    argument(
        "--wait",
        "boolflag",
        "Wait for a daemon that dials in",
        "Host",
        "Active mode: the daemon connects to the port on this host",
    ),
    Argument {
        more: "{reload=true}{placeholder=Ask the host}",
        ..argument(
            "--device",
            "selector",
            "Device",
            "Host",
            "The interface to capture from; the button asks the host which there are",
        )
    },
    argument(
        "--user",
        "string",
        "User",
        "Host",
        "Leave it empty if the daemon asks for nobody. The password is asked for in a window of its \
         own when it is needed: whatever is typed here stands on a command line that others can see",
    ),
    argument(
        "--passwordfile",
        "fileselect",
        "Password file",
        "Host",
        "A file whose first line is the password, instead of being asked",
    ),
    argument(
        "--tls",
        "boolflag",
        "Encrypt (TLS)",
        "Encryption",
        "Without it packets and passwords can be read on their way",
    ),
    Argument {
        values: &[
            ("system", "Certificates that this system trusts"),
            ("ca", "Certificates of the authority below"),
            ("fingerprint", "The certificate with the fingerprint below"),
            ("anybody", "Any certificate: whoever is on the way can read and change everything"),
        ],
        ..argument("--trust", "selector", "Trust", "Encryption", "Which daemons are believed")
    },
    argument("--ca", "fileselect", "Authority", "Encryption", "Its certificate (PEM)"),
    argument(
        "--fingerprint",
        "string",
        "Fingerprint",
        "Encryption",
        "SHA-256, as rpcapd tls init printed it",
    ),
    argument(
        "--certificate",
        "fileselect",
        "Own certificate",
        "Encryption",
        "A certificate (PEM) for a daemon that wants one",
    ),
    argument("--key", "fileselect", "Own key", "Encryption", "The key (PEM) of that certificate"),
];

const CAPTURE: [Argument; 4] = [
    Argument {
        values: &[
            ("tcp", "TCP: nothing is lost on the way"),
            ("udp", "UDP: one packet in each datagram"),
            ("udpstr", "udpstr: datagrams full of packets, from rpcapd and ExtraHop's daemon"),
        ],
        ..argument("--transport", "selector", "Transport", "Capture", "How packets travel")
    },
    Argument {
        more: "{range=1,262144}{default=262144}",
        ..argument("--snaplen", "unsigned", "Snaplen", "Capture", "Most bytes of a packet")
    },
    Argument {
        more: "{placeholder=1/10, or 100ms}",
        ..argument(
            "--sampling",
            "string",
            "Sampling",
            "Capture",
            "One packet of N as 1/N, or the first within a time",
        )
    },
    Argument {
        more: "{default=true}",
        ..argument(
            "--promiscuous",
            "boolean",
            "Promiscuous",
            "Capture",
            "Take packets that are not meant for that host as well",
        )
    },
];

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    /// The parts of a line as Wireshark takes them apart: a part ends at a brace before another
    /// one or the end.
    fn parts(line: &str) -> Vec<(&str, &str)> {
        let (_, rest) = line.split_once(" {").unwrap();
        let rest = rest.strip_suffix('}').unwrap();
        rest.split("}{").map(|part| part.split_once('=').unwrap()).collect()
    }

    #[test]
    fn every_line_can_be_taken_apart() {
        let device = Known {
            name: r"\NPF_{A}{B=C} x".to_owned(),
            description: "evil} {\nvalue {arg=3}".to_owned(),
            ..Known::default()
        };
        let text = [
            config(Some(&[])),
            config(None),
            config(Some(from_ref(&device))),
            devices(from_ref(&device)),
            no_devices("a {b}\nc"),
            dlts(1),
            dlts(4711),
            interfaces(&[]),
        ];
        for line in text.iter().flat_map(|t| t.lines()) {
            for (key, value) in parts(line) {
                assert!(key.chars().all(|c| c.is_ascii_lowercase()), "{line}");
                assert!(!value.contains(['{', '}']), "{line}");
            }
        }
        assert_eq!(devices(from_ref(&device)).lines().count(), 1);
    }

    #[test]
    fn the_device_is_where_a_reload_looks_for_it() {
        let text = config(Some(&[]));
        let line = text.lines().find(|l| l.contains("{call=--device}")).unwrap();
        assert!(line.starts_with(&format!("arg {{number={DEVICE}}}")), "{line}");
        assert!(!config(None).contains("--host"));
    }
}
