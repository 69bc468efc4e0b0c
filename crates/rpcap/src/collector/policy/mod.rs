//! The policy: which agents may send, what is captured from each, and where it goes.
//!
//! Rules are tried in the order of the file; the first that fits decides. What an agent gets is a
//! [`Plan`]; two plans that are equal are the same capture, so that a policy that was read again
//! disturbs nobody whom it does not concern.

mod file;
mod plan;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rpcap_proto::prefix::Prefix;
use wildmatch::WildMatch;

pub use self::plan::{Plan, Wanted};
pub use self::shown::{Shown, transport};
use super::tools::Tools;
use crate::client::Credentials;
use crate::output::OutputPlan;
use crate::tls::Tls;
use crate::web::Access;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file says something that is no policy.
    #[error("{}: {text}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Where and what, with the line.
        text: String,
    },
}

/// What is done with an agent that a rule is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It is captured from.
    Capture(Arc<Plan>),
    /// It is turned away, and may try again.
    Reject,
    /// It is sent CLOSE: ExtraHop's and libpcap's daemons do not come back before they are
    /// restarted.
    Dismiss,
}

/// One `[[agent]]` of the file.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it is called in messages.
    pub name: String,
    addresses: Vec<Prefix>,
    hosts: Vec<String>,
    devices: Vec<WildMatch>,
    /// What becomes of the agent.
    pub action: Action,
    /// How to authenticate to it.
    pub credentials: Credentials,
    /// Whether its connections are encrypted.
    pub tls: bool,
}

impl Rule {
    /// Whether the rule is about an agent at this address, which has these names.
    fn is_about(&self, address: IpAddr, names: &Names) -> bool {
        let anybody = self.addresses.is_empty() && self.hosts.is_empty();
        anybody
            || self.addresses.iter().any(|p| p.contains(address))
            || self.hosts.iter().any(|host| names.is(host, address))
    }

    /// Whether the rule is about an agent with this preselected device.
    fn is_about_device(&self, preselected: Option<&str>) -> bool {
        self.devices.is_empty()
            || preselected.is_some_and(|name| self.devices.iter().any(|d| d.matches(name)))
    }
}

/// The addresses of the hosts that a policy names, as they were last looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Names {
    /// Takes what a look-up found.
    pub fn insert(&mut self, host: String, addresses: Vec<IpAddr>) {
        self.0.insert(host, addresses);
    }

    /// A host's addresses, if it was ever found.
    pub fn of(&self, host: &str) -> Option<&[IpAddr]> {
        self.0.get(host).map(Vec::as_slice)
    }

    /// Whether the address is one of the host's.
    pub fn is(&self, host: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.get(host).is_some_and(|a| a.iter().any(|a| a.to_canonical() == address))
    }
}

/// A policy as loaded.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Which agents are trusted, where connections are encrypted.
    tls: Option<Tls>,
    insecure: bool,
    tools: Option<Arc<Tools>>,
    http: Option<Arc<Access>>,
    source: Option<Arc<Source>>,
}

/// What a policy was read from.
#[derive(Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What was in it.
    pub text: String,
    /// When it was read.
    pub loaded: SystemTime,
}

impl Policy {
    /// Reads a file, and the passwords that it refers to.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut policy = Self::parse(&text, directory)
            .map_err(|text| PolicyError::Wrong { path: path.to_owned(), text })?;
        let loaded = SystemTime::now();
        policy.source = Some(Arc::new(Source { path: path.to_owned(), text, loaded }));
        Ok(policy)
    }

    /// Reads a text. File names in it are relative to `directory`. The error says where it is
    /// wrong.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        file::parse(text, directory)
    }

    /// Which agents are trusted, and what this end shows them; `None` if nobody has TLS.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// What is served to those who want a daemon.
    pub fn tools(&self) -> Option<&Arc<Tools>> {
        self.tools.as_ref()
    }

    /// Who may look at the page, where not only this host can.
    pub fn http(&self) -> Option<&Arc<Access>> {
        self.http.as_ref()
    }

    /// The file that it was read from, if it was.
    pub fn source(&self) -> Option<&Source> {
        self.source.as_deref()
    }

    /// What is dangerous about it, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let insecure = self.insecure.then(|| {
            "WARNING: [tls] insecure: nobody knows who the agents are. Whoever is on the way can \
             read and change everything, passwords as well."
                .to_owned()
        });
        let open =
            |rule: &&Rule| !rule.tls && matches!(rule.credentials, Credentials::Password { .. });
        let passwords = self.rules.iter().filter(open).map(|rule| {
            format!("{}: its password is not encrypted on its way; see [tls]", rule.name)
        });
        insecure.into_iter().chain(passwords).collect()
    }

    /// Where packets go, each once.
    pub fn outputs(&self) -> impl Iterator<Item = &Arc<OutputPlan>> {
        let used = self.rules.iter().filter_map(|rule| match &rule.action {
            Action::Capture(plan) => Some(&plan.outputs),
            Action::Reject | Action::Dismiss => None,
        });
        let mut seen = std::collections::HashSet::new();
        used.flatten().filter(move |output| seen.insert(*output))
    }

    /// The hosts that are named.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| rule.hosts.iter().map(String::as_str))
    }

    /// The first name of a host that an agent at this address has.
    pub fn host_of(&self, address: IpAddr, names: &Names) -> Option<&str> {
        self.hosts().find(|host| names.is(host, address))
    }

    /// The rule that says how to speak to an agent at this address before anything else is known of
    /// it: whether with TLS, and as whom.
    pub fn rule_for(&self, address: IpAddr, names: &Names) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.is_about(address, names))
    }

    /// The rule for an agent at this address that offers this preselected device, or none.
    pub fn rule_for_device(
        &self,
        address: IpAddr,
        names: &Names,
        preselected: Option<&str>,
    ) -> Option<&Rule> {
        let mut rules = self.rules.iter();
        rules.find(|r| r.is_about(address, names) && r.is_about_device(preselected))
    }
}
