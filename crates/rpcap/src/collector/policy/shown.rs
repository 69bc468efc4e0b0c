//! What a policy says, for programs. No passwords: their files and variables are not in it either.

use std::time::UNIX_EPOCH;

use rpcap_proto::wire::{Sampling, StartFlags};
use serde::Serialize;

use super::{Action, Policy, Rule};
use crate::client::Transport;
use crate::output::OutputPlan;

/// A policy.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    /// The file.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// When it was read, in seconds since 1970.
    pub loaded: f64,
    /// Its rules, in order.
    pub rules: Vec<ShownRule>,
    /// Where packets go.
    pub outputs: Vec<ShownOutput>,
}

/// A rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShownRule {
    name: String,
    addresses: Vec<String>,
    hosts: Vec<String>,
    devices: Vec<String>,
    action: &'static str,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    capture: Option<ShownPlan>,
}

/// What is captured from those that a rule is about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ShownPlan {
    interfaces: Vec<String>,
    filter: String,
    snaplen: u32,
    sampling: String,
    transport: &'static str,
    promiscuous: bool,
    direction: &'static str,
    outputs: Vec<String>,
}

/// A place that packets go to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ShownOutput {
    name: String,
    destination: String,
    merged: bool,
    file_size: Option<u64>,
    file_time: Option<u64>,
    total_size: Option<u64>,
    compress: bool,
    queue: u64,
}

impl Shown {
    /// Everything that a policy says.
    pub fn of(policy: &Policy) -> Self {
        let source = policy.source();
        let since = source.and_then(|s| s.loaded.duration_since(UNIX_EPOCH).ok());
        Self {
            path: source.map(|s| s.path.display().to_string()).unwrap_or_default(),
            text: source.map(|s| s.text.clone()).unwrap_or_default(),
            loaded: since.map_or(0.0, |since| since.as_secs_f64()),
            rules: policy.rules.iter().map(ShownRule::of).collect(),
            outputs: policy.outputs().map(|o| ShownOutput::of(o)).collect(),
        }
    }
}

/// How packets travel, in the policy's word.
pub fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

impl ShownRule {
    fn of(rule: &Rule) -> Self {
        let (action, plan) = match &rule.action {
            Action::Capture(plan) => ("capture", Some(plan)),
            Action::Reject => ("reject", None),
            Action::Dismiss => ("dismiss", None),
        };
        Self {
            name: rule.name.clone(),
            addresses: rule.addresses.iter().map(ToString::to_string).collect(),
            hosts: rule.hosts.clone(),
            devices: rule.devices.iter().map(ToString::to_string).collect(),
            action,
            tls: rule.tls,
            capture: plan.map(|plan| ShownPlan {
                interfaces: plan.interfaces.iter().map(ToString::to_string).collect(),
                filter: plan.filter.clone(),
                snaplen: plan.snaplen,
                sampling: match plan.sampling {
                    Sampling::None => "1/1".to_owned(),
                    Sampling::OneEvery(n) => format!("1/{n}"),
                    Sampling::FirstAfterMs(ms) => format!("{ms}ms"),
                },
                transport: transport(plan.transport),
                promiscuous: plan.promiscuous,
                direction: match plan.direction {
                    StartFlags::INBOUND => "in",
                    StartFlags::OUTBOUND => "out",
                    _ => "both",
                },
                outputs: plan.outputs.iter().map(|o| o.name.clone()).collect(),
            }),
        }
    }
}

impl ShownOutput {
    fn of(plan: &OutputPlan) -> Self {
        Self {
            name: plan.name.clone(),
            destination: plan.destination.to_string(),
            merged: plan.merged,
            file_size: plan.file_size,
            file_time: plan.file_time.map(|time| time.as_secs()),
            total_size: plan.total_size,
            compress: plan.compress,
            queue: plan.queue,
        }
    }
}
