//! The file's grammar: TOML, every key checked, every mistake told with its line.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpcap_proto::wire::{SNAPLEN_MAX, StartFlags};
use serde::Deserialize;
use toml::Spanned;
use wildmatch::WildMatch;

use super::plan::{Plan, Wanted};
use super::{Action, Policy, Rule};
use crate::client::{Credentials, Transport};
use crate::collector::tools::Tools;
use crate::file::Format;
use crate::output::{Destination, Live, OutputPlan, QUEUE};
use crate::tls::{Fingerprint, Tls, TlsOptions, Trust};
use crate::values;
use crate::web::Access;

/// Less could not hold what one receiver gives on at once.
const SMALLEST_QUEUE: u64 = 2_000_000;
/// A smaller file is mostly its beginning and its end.
const SMALLEST_FILE: u64 = 64_000;
/// The longest password that the protocol carries.
const LONGEST_PASSWORD: u64 = 65_535;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    output: BTreeMap<String, Output>,
    #[serde(default)]
    agent: Vec<Agent>,
    tls: Option<Spanned<Security>>,
    tools: Option<Spanned<Served>>,
    http: Option<Spanned<Page>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Security {
    ca: Option<PathBuf>,
    any_name: Option<bool>,
    #[serde(default)]
    fingerprints: Vec<Spanned<String>>,
    insecure: Option<bool>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Served {
    directory: PathBuf,
    listen: SocketAddr,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Page {
    cert: PathBuf,
    key: PathBuf,
    password_file: PathBuf,
    #[serde(default)]
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Output {
    directory: Option<PathBuf>,
    standard_output: Option<bool>,
    to: Option<Spanned<String>>,
    merged: Option<bool>,
    file_size: Option<Spanned<String>>,
    file_time: Option<Spanned<String>>,
    total_size: Option<Spanned<String>>,
    compress: Option<Compress>,
    queue: Option<Spanned<String>>,
    format: Option<FormatWord>,
    repair: Option<Spanned<String>>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum FormatWord {
    Pcapng,
    Pcap,
    PcapNanoseconds,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Compress {
    None,
    Zstd,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Agent {
    name: Option<String>,
    #[serde(default)]
    address: Vec<Spanned<String>>,
    #[serde(default)]
    host: Vec<String>,
    #[serde(default)]
    device: Vec<String>,
    action: Option<ActionWord>,
    interfaces: Option<Spanned<Vec<String>>>,
    filter: Option<String>,
    snaplen: Option<Spanned<u32>>,
    sampling: Option<Spanned<String>>,
    transport: Option<TransportWord>,
    promiscuous: Option<bool>,
    direction: Option<DirectionWord>,
    output: Option<Spanned<Names>>,
    user: Option<String>,
    password_file: Option<Spanned<PathBuf>>,
    password_variable: Option<Spanned<String>>,
    tls: Option<Spanned<bool>>,
}

/// One name or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ActionWord {
    Capture,
    Reject,
    Dismiss,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TransportWord {
    Tcp,
    Udp,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DirectionWord {
    Both,
    In,
    Out,
}

/// The policy of a text, or where it is wrong and why.
pub(super) fn parse(text: &str, directory: &Path) -> Result<Policy, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    let reader = Reader { text, directory };
    let mut outputs = BTreeMap::new();
    for (name, output) in file.output {
        outputs.insert(name.clone(), Arc::new(reader.output(name, output)?));
    }
    exclusive(&outputs)?;
    if file.agent.is_empty() {
        return Err("there is no [[agent]]: nobody could be captured from".to_owned());
    }
    let tools = file.tools.map(|tools| reader.tools(&tools, file.tls.as_ref())).transpose()?;
    let http = file.http.map(|page| reader.page(page)).transpose()?;
    let tls = file.tls.map(|tls| reader.tls(tls)).transpose()?;
    let agents = file.agent.into_iter().enumerate();
    let rules = agents.map(|(n, agent)| reader.rule(n, agent, &outputs, tls.is_some()));
    Ok(Policy {
        rules: rules.collect::<Result<_, _>>()?,
        insecure: tls.as_ref().is_some_and(|(_, trust)| *trust == Trust::Anybody),
        tls: tls.map(|(tls, _)| tls),
        tools: tools.map(Arc::new),
        http: http.map(Arc::new),
        source: None,
    })
}

/// Two outputs in one place would remove each other's files, or mix their streams.
fn exclusive(outputs: &BTreeMap<String, Arc<OutputPlan>>) -> Result<(), String> {
    let mut places = BTreeMap::new();
    for (name, output) in outputs {
        if let Some(other) = places.insert(output.destination.to_string(), name) {
            return Err(format!(
                "outputs \"{other}\" and \"{name}\" both write to {}",
                output.destination
            ));
        }
    }
    Ok(())
}

struct Reader<'a> {
    text: &'a str,
    directory: &'a Path,
}

impl Reader<'_> {
    /// A mistake at a value, with its line.
    fn wrong<T>(&self, at: &Spanned<T>, why: impl Display) -> String {
        let before = self.text.get(..at.span().start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        format!("line {line}, column {column}: {why}")
    }

    /// A value that is read from its text.
    fn value<T>(
        &self,
        text: &Option<Spanned<String>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let read = |text: &Spanned<String>| read(text.as_ref()).map_err(|e| self.wrong(text, e));
        text.as_ref().map(read).transpose()
    }

    fn output(&self, name: String, output: Output) -> Result<OutputPlan, String> {
        let wrong = |why: &str| format!("[output.{name}]: {why}");
        let destination = match (output.directory, output.standard_output, output.to) {
            (Some(directory), None | Some(false), None) => {
                Destination::Directory(self.directory.join(directory))
            }
            (None, Some(true), None) => Destination::StandardOutput,
            (None, None | Some(false), Some(to)) => {
                let to: Destination = to.as_ref().parse().map_err(|e| self.wrong(&to, e))?;
                match to {
                    Destination::Directory(path) => {
                        Destination::Directory(self.directory.join(path))
                    }
                    Destination::Pipe(path) => Destination::Pipe(self.directory.join(path)),
                    to => to,
                }
            }
            _ => return Err(wrong("one of directory, standard-output and to is wanted")),
        };
        let live = !destination.has_files();
        let at_least = |least: u64| {
            move |text: &str| match values::size(text)? {
                n if n < least => Err(format!("at least {least} bytes are wanted")),
                n => Ok(n),
            }
        };
        let repair = self.value(&output.repair, str::parse)?;
        let repair = repair.unwrap_or_else(|| OutputPlan::usual_repair(&destination));
        let plan = OutputPlan {
            merged: live || output.merged == Some(true),
            file_size: self.value(&output.file_size, at_least(SMALLEST_FILE))?,
            file_time: self.value(&output.file_time, values::time)?,
            total_size: self.value(&output.total_size, at_least(SMALLEST_FILE))?,
            compress: output.compress == Some(Compress::Zstd),
            queue: self.value(&output.queue, at_least(SMALLEST_QUEUE))?.unwrap_or(QUEUE),
            destination,
            name: name.clone(),
            repair,
            format: output.format.map(|word| match word {
                FormatWord::Pcapng => Format::Pcapng,
                FormatWord::Pcap => Format::Pcap,
                FormatWord::PcapNanoseconds => Format::PcapNanoseconds,
            }),
            tls: match (output.cert, output.key) {
                (None, None) => None,
                (Some(cert), Some(key)) => {
                    Some((self.directory.join(cert), self.directory.join(key)))
                }
                _ => return Err(wrong("cert and key, or neither")),
            },
        };
        let rotated = plan.file_size.is_some() || plan.file_time.is_some();
        if live && (rotated || plan.total_size.is_some() || plan.compress) {
            return Err(wrong("only a directory has files to limit or to compress"));
        }
        if plan.format.is_some() && !plan.destination.is_stream() {
            return Err(wrong("format is for pcap-over-ip, pcap-over-ip-connect, pipe and exec"));
        }
        if plan.tls.is_some() && !matches!(plan.destination, Destination::PcapOverIp(_)) {
            return Err(wrong("cert and key are for pcap-over-ip"));
        }
        if plan.destination.is_stream() {
            Live::check(&plan).map_err(|e| wrong(&format!("{}: {e}", plan.destination)))?;
        }
        if plan.total_size.is_some() && !rotated {
            return Err(wrong("total-size needs file-size or file-time: whole files are removed"));
        }
        Ok(plan)
    }

    fn tls(&self, security: Spanned<Security>) -> Result<(Tls, Trust), String> {
        let wrong = |why: &str| self.wrong(&security, why);
        let Security { ca, any_name, fingerprints, insecure, cert, key } = security.as_ref();
        let insecure = *insecure == Some(true);
        let read = |text: &Spanned<String>| text.as_ref().parse().map_err(|e| self.wrong(text, e));
        let prints: Vec<Fingerprint> = fingerprints.iter().map(read).collect::<Result<_, _>>()?;
        let ca = ca.as_ref().map(|ca| self.directory.join(ca));
        let trust = match (ca, prints.is_empty(), insecure) {
            (Some(ca), true, false) if *any_name == Some(true) => Trust::CaOfAnyName(ca),
            (Some(ca), true, false) => Trust::Ca(ca),
            (None, false, false) => Trust::Fingerprints(prints),
            (None, true, true) => Trust::Anybody,
            // Whom the system trusts says nothing about agents.
            _ => return Err(wrong("[tls] has one of ca, fingerprints and insecure = true")),
        };
        if any_name.is_some() && !matches!(trust, Trust::Ca(_) | Trust::CaOfAnyName(_)) {
            return Err(wrong("any-name is for agents with a certificate of a ca"));
        }
        let identity = match (cert, key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((self.directory.join(cert), self.directory.join(key))),
            _ => return Err(wrong("cert and key, or neither")),
        };
        let options = TlsOptions { trust, identity };
        let tls = Tls::new(&options).map_err(|e| wrong(&e.to_string()))?;
        Ok((tls, options.trust))
    }

    /// What agents are installed from; without a certificate of its own that of [tls].
    fn tools(
        &self,
        tools: &Spanned<Served>,
        tls: Option<&Spanned<Security>>,
    ) -> Result<Tools, String> {
        let Served { directory, listen, cert, key } = tools.as_ref();
        let other = tls.map(|tls| (&tls.as_ref().cert, &tls.as_ref().key));
        let (cert, key) = match (cert, key, other) {
            (Some(cert), Some(key), _) => (cert, key),
            (None, None, Some((Some(cert), Some(key)))) => (cert, key),
            _ => return Err(self.wrong(tools, "[tools] wants cert and key, or [tls] with them")),
        };
        let at = |path: &PathBuf| self.directory.join(path);
        Tools::load(&at(directory), *listen, &at(cert), &at(key)).map_err(|e| self.wrong(tools, e))
    }

    fn page(&self, page: Spanned<Page>) -> Result<Access, String> {
        let Page { cert, key, password_file, names } = page.as_ref();
        let at = |path: &PathBuf| self.directory.join(path);
        Access::load(&at(cert), &at(key), &at(password_file), names.clone())
            .map_err(|e| self.wrong(&page, e))
    }

    /// Whether an agent's connections are encrypted: where there is TLS, they are.
    fn with_tls(&self, agent: &Agent, there_is: bool) -> Result<bool, String> {
        match &agent.tls {
            None => Ok(there_is),
            Some(wanted) if *wanted.as_ref() && !there_is => {
                Err(self.wrong(wanted, "there is no [tls]: whom is the agent to be trusted by?"))
            }
            Some(wanted) => Ok(*wanted.as_ref()),
        }
    }

    fn rule(
        &self,
        index: usize,
        agent: Agent,
        outputs: &BTreeMap<String, Arc<OutputPlan>>,
        there_is_tls: bool,
    ) -> Result<Rule, String> {
        let tls = self.with_tls(&agent, there_is_tls)?;
        let name = agent.name.clone().unwrap_or_else(|| format!("agent {}", index + 1));
        let addresses =
            agent.address.iter().map(|a| a.as_ref().parse().map_err(|e: String| self.wrong(a, e)));
        let action = match agent.action {
            Some(ActionWord::Reject) => Action::Reject,
            Some(ActionWord::Dismiss) => Action::Dismiss,
            None | Some(ActionWord::Capture) => {
                Action::Capture(Arc::new(self.plan(&name, &agent, outputs, tls)?))
            }
        };
        let credentials =
            self.credentials(agent.user, agent.password_file, agent.password_variable)?;
        Ok(Rule {
            name,
            addresses: addresses.collect::<Result<_, _>>()?,
            hosts: agent.host,
            devices: agent.device.iter().map(|d| WildMatch::new(d)).collect(),
            action,
            credentials,
            tls,
        })
    }

    fn plan(
        &self,
        name: &str,
        agent: &Agent,
        outputs: &BTreeMap<String, Arc<OutputPlan>>,
        tls: bool,
    ) -> Result<Plan, String> {
        let default = Plan::everything(self.outputs(name, agent, outputs)?);
        Ok(Plan {
            interfaces: match &agent.interfaces {
                Some(list) if list.as_ref().is_empty() => {
                    return Err(self.wrong(list, "an interface is wanted"));
                }
                Some(list) => list.as_ref().iter().map(|i| wanted(i)).collect(),
                None => default.interfaces,
            },
            filter: agent.filter.clone().unwrap_or_default(),
            snaplen: match &agent.snaplen {
                Some(n) if !(1..=SNAPLEN_MAX).contains(n.as_ref()) => {
                    return Err(self.wrong(n, format!("1 to {SNAPLEN_MAX} is wanted")));
                }
                Some(n) => *n.as_ref(),
                None => default.snaplen,
            },
            sampling: self.value(&agent.sampling, values::sampling)?.unwrap_or_default(),
            transport: match agent.transport {
                Some(TransportWord::Tcp) => Transport::Tcp,
                Some(TransportWord::Udp) => Transport::Udp,
                // What every daemon with TLS can do.
                None if tls => Transport::Tcp,
                None => default.transport,
            },
            promiscuous: agent.promiscuous.unwrap_or(default.promiscuous),
            direction: match agent.direction {
                Some(DirectionWord::In) => StartFlags::INBOUND,
                Some(DirectionWord::Out) => StartFlags::OUTBOUND,
                Some(DirectionWord::Both) | None => StartFlags::default(),
            },
            outputs: default.outputs,
        })
    }

    fn outputs(
        &self,
        name: &str,
        agent: &Agent,
        outputs: &BTreeMap<String, Arc<OutputPlan>>,
    ) -> Result<Vec<Arc<OutputPlan>>, String> {
        match &agent.output {
            Some(wanted) => {
                let names = match wanted.as_ref() {
                    Names::One(name) => std::slice::from_ref(name),
                    Names::Several(names) => names,
                };
                let mut found: Vec<Arc<OutputPlan>> = Vec::new();
                for name in names {
                    let output = outputs.get(name).ok_or_else(|| {
                        self.wrong(wanted, format!("there is no [output.{name}]"))
                    })?;
                    if found.contains(output) {
                        return Err(self.wrong(wanted, format!("{name} is named twice")));
                    }
                    found.push(Arc::clone(output));
                }
                match found.is_empty() {
                    true => Err(self.wrong(wanted, "an output is wanted")),
                    false => Ok(found),
                }
            }
            None => match outputs.values().next() {
                // One output is everybody's.
                Some(only) if outputs.len() == 1 => Ok(vec![Arc::clone(only)]),
                _ => Err(format!("{name}: output is missing: which [output.NAME]?")),
            },
        }
    }

    fn credentials(
        &self,
        user: Option<String>,
        file: Option<Spanned<PathBuf>>,
        variable: Option<Spanned<String>>,
    ) -> Result<Credentials, String> {
        let password = match (&user, file, variable) {
            (None, None, None) => return Ok(Credentials::Null),
            (None, Some(at), _) => return Err(self.wrong(&at, "a password without a user")),
            (None, _, Some(at)) => return Err(self.wrong(&at, "a password without a user")),
            (_, Some(file), None) => {
                let path = self.directory.join(file.as_ref());
                let read = first_line(&path);
                read.map_err(|e| self.wrong(&file, format!("{}: {e}", path.display())))?
            }
            (_, None, Some(name)) => env::var(name.as_ref())
                .map_err(|e| self.wrong(&name, format!("{}: {e}", name.as_ref())))?,
            (_, Some(at), Some(_)) => {
                return Err(self.wrong(&at, "password-file or password-variable, not both"));
            }
            (Some(user), None, None) => {
                return Err(format!(
                    "user \"{user}\" has neither password-file nor password-variable"
                ));
            }
        };
        Ok(Credentials::Password { user: user.unwrap_or_default(), password })
    }
}

fn wanted(text: &str) -> Wanted {
    let Ok(wanted) = text.parse();
    wanted
}

fn first_line(path: &Path) -> std::io::Result<String> {
    let mut line = String::new();
    let file = std::fs::File::open(path)?;
    BufReader::new(file.take(LONGEST_PASSWORD + 2)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
