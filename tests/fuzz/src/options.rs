//! The command lines: values as their users write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::Parser;
use rpcap::url::{Endpoint, Url};
use rpcap::{text, values};
use rpcap_proto::bpf::Program;
use rpcap_proto::prefix::Prefix;
use rpcapd::allow::AllowList;
use rpcapd::cli::Arguments;
use rpcapd::devices::Rules;
use rpcapd::peers::PeerList;

use super::input::Input;

/// A byte: 0 to 3 read the rest as a list of hosts that may connect (`-l`), of collectors (`-a`), a
/// network (`ifaddr=`), patterns of devices (`--devices`); others as a command line of `rpcapd`, its
/// words between line feeds.
///
/// What is accepted means the same when it is shown and read again.
pub fn daemon_options(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.u8();
    let text = input.text();
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match kind {
        0 => {
            // Names would be looked up.
            if let Ok(list) = text.parse::<AllowList>()
                && !text.contains(|c: char| c.is_alphabetic() && !c.is_ascii_hexdigit())
                && text
                    .split([' ', ',', ';', '\r', '\n'])
                    .all(|t| t.is_empty() || t.parse::<Prefix>().is_ok())
            {
                let none = addresses.map(|a| list.allows(a));
                let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
                assert_eq!(list.allows(mapped.into()), none[0], "IPv4 in IPv6's clothes");
            }
        }
        1 => {
            if let Ok(list) = text.parse::<PeerList>() {
                assert!(!list.0.is_empty());
                for peer in &list.0 {
                    assert!(!peer.host.is_empty() && peer.port > 0);
                    assert!(!peer.to_string().chars().any(char::is_control));
                    let mut said = format!("{},{}", peer.host, peer.port);
                    if let Some(preselect) = &peer.preselect {
                        said = format!("{said},{preselect}");
                    }
                    let again: PeerList = said.parse().expect("what was shown");
                    assert_eq!(again.0, std::slice::from_ref(peer), "{said}");
                }
            }
        }
        2 => {
            if let Ok(prefix) = text.parse::<Prefix>() {
                let again: Prefix = prefix.to_string().parse().expect("what was shown");
                assert_eq!(again, prefix);
                for a in addresses {
                    assert_eq!(prefix.contains(a), again.contains(a));
                }
            }
        }
        3 => {
            if let Ok(rules) = text.parse::<Rules>() {
                assert_eq!(rules.to_string().parse().as_ref(), Ok(&rules));
                rules.allow("any");
                rules.allow("eth0");
            }
        }
        _ => {
            let words = std::iter::once("rpcapd").chain(text.split('\n').take(64));
            if let Err(error) = Arguments::try_parse_from(words) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// A byte: 0 to 5 read the rest as a URL, a host with a port, a time, a sampling, a number of bytes, a
/// filter as `tcpdump -ddd` prints it; others make it harmless for a terminal.
///
/// What is accepted is within its bounds, and means the same when it is shown and read again.
pub fn client_values(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.u8();
    let text = input.text();
    match kind {
        0 => match text.parse::<Url>() {
            Ok(Url { endpoint, device, .. }) => {
                shown_again(&endpoint);
                assert!(device.is_none_or(|d| !d.is_empty() && !d.contains('\0')));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        1 => {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                shown_again(&endpoint);
            }
        }
        2 => {
            if let Ok(time) = values::time(&text) {
                assert!(!time.is_zero());
                assert!(std::time::Instant::now().checked_add(time).is_some());
            }
        }
        3 => {
            let _ = values::sampling(&text);
        }
        4 => {
            let _ = values::size(&text);
        }
        5 => {
            if let Ok(program) = Program::parse_ddd(&text) {
                assert_eq!(Program::parse_ddd(&program.to_ddd()).as_ref(), Ok(&program));
            }
        }
        _ => {
            let safe = text::harmless(input.0);
            assert!(
                !safe.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
            );
            assert!(safe.len() <= 10 * input.0.len());
        }
    }
}

fn shown_again(endpoint: &Endpoint) {
    assert!(!endpoint.host.is_empty() && endpoint.port > 0);
    let text = endpoint.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert_eq!(text.parse().as_ref(), Ok(endpoint), "{text}");
}
