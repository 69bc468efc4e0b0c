//! Other files of both programs: users, the collector's policy, savefiles.

use std::collections::HashSet;
use std::path::Path;

use rpcap::collector::policy::{Action, Names, Policy};
use rpcap_proto::wire::SNAPLEN_MAX;
use rpcapd::auth::{By, Users};

use super::input::Input;

/// A file of users.
///
/// A mistake is told on one line with the file's name; who is accepted is there.
pub fn users(data: &[u8]) {
    let text = Input(data).text();
    match Users::parse(Path::new("users.toml"), &text) {
        Ok(users) => assert!(!users.allow("", By::Password, false)),
        Err(error) => {
            let error = error.to_string();
            assert!(error.starts_with("users.toml: "), "{error:?}");
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
    }
}

/// A policy of the collector.
///
/// What is accepted has outputs that do not get into each other's way and captures that a daemon can
/// be asked for.
pub fn collector_policy(data: &[u8]) {
    let text = Input(data).text();
    // Files that passwords and certificates are read from are the operator's own choice.
    if text.contains("password") || text.contains("tls") {
        return;
    }
    let policy = match Policy::parse(&text, Path::new("/nonexistent")) {
        Ok(policy) => policy,
        Err(error) => return assert!(!error.is_empty()),
    };
    let mut places = HashSet::new();
    for output in policy.outputs() {
        assert!(places.insert(output.destination.to_string()), "two outputs in one place");
        assert!(output.queue > 0);
    }
    let names = Names::default();
    for address in ["192.0.2.1", "2001:db8::1"] {
        let address = address.parse().expect("an address");
        for device in [None, Some("eth0")] {
            if let Some(rule) = policy.rule_for_device(address, &names, device)
                && let Action::Capture(plan) = &rule.action
            {
                assert!((1..=SNAPLEN_MAX).contains(&plan.snaplen));
                assert!(!plan.interfaces.is_empty());
            }
        }
    }
}
