use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use rpcap::tls::Fingerprint;
use rpcap::values;
use rpcap_proto::wire::{SNAPLEN_MAX, Sampling};

/// How Wireshark calls.
#[derive(Debug, Parser)]
#[command(name = "rpcap", disable_help_flag = true)]
pub(super) struct Call {
    #[arg(long)]
    pub(super) extcap_interfaces: bool,
    /// Wireshark's own.
    #[arg(long, num_args = 0..=1)]
    extcap_version: Option<Option<String>>,
    #[arg(long)]
    pub(super) extcap_interface: Option<String>,
    #[arg(long)]
    pub(super) extcap_dlts: bool,
    #[arg(long)]
    pub(super) extcap_config: bool,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) extcap_reload_option: Option<String>,
    #[arg(long)]
    pub(super) capture: bool,
    #[arg(long)]
    pub(super) fifo: Option<PathBuf>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) extcap_capture_filter: Option<String>,
    /// From the toolbar.
    #[arg(long)]
    pub(super) extcap_control_in: Option<PathBuf>,
    /// To the toolbar.
    #[arg(long)]
    pub(super) extcap_control_out: Option<PathBuf>,
    #[arg(long)]
    extcap_cleanup_postkill: bool,

    // The options of its dialog. All may be empty.
    #[arg(long, default_value = "")]
    pub(super) host: String,
    #[arg(long, default_value = "")]
    pub(super) port: String,
    #[arg(long, default_value = "")]
    pub(super) device: String,
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true")]
    pub(super) wait: Switch,
    #[arg(long, default_value = "")]
    pub(super) user: String,
    #[arg(long, default_value = "", value_parser = path)]
    pub(super) passwordfile: Maybe<PathBuf>,
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true")]
    pub(super) tls: Switch,
    #[arg(long, default_value = "system")]
    pub(super) trust: Trusted,
    #[arg(long, default_value = "", value_parser = path)]
    pub(super) ca: Maybe<PathBuf>,
    #[arg(long, default_value = "", value_parser = fingerprint)]
    pub(super) fingerprint: Maybe<Fingerprint>,
    #[arg(long, default_value = "", value_parser = path)]
    pub(super) certificate: Maybe<PathBuf>,
    #[arg(long, default_value = "", value_parser = path)]
    pub(super) key: Maybe<PathBuf>,
    #[arg(long, default_value = "tcp")]
    pub(super) transport: Transport,
    #[arg(long, default_value_t = SNAPLEN_MAX,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(SNAPLEN_MAX)))]
    pub(super) snaplen: u32,
    #[arg(long, default_value = "", value_parser = sampling)]
    pub(super) sampling: Maybe<Sampling>,
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true")]
    pub(super) promiscuous: Switch,
    /// How long to wait for a daemon. No dialog has it.
    #[arg(long, default_value = "10s", value_parser = values::time)]
    pub(super) timeout: Duration,
}

/// A value that may be left out by saying nothing.
#[derive(Clone, Debug)]
pub(super) struct Maybe<T>(pub(super) Option<T>);

/// A box with or without a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Switch {
    True,
    False,
}

impl Switch {
    pub(super) fn is_on(self) -> bool {
        self == Self::True
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Trusted {
    System,
    Ca,
    Fingerprint,
    Anybody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Transport {
    Tcp,
    Udp,
    Udpstr,
}

fn path(text: &str) -> Result<Maybe<PathBuf>, String> {
    Ok(Maybe(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from)))
}

fn sampling(text: &str) -> Result<Maybe<Sampling>, String> {
    let given = Some(text.trim()).filter(|text| !text.is_empty());
    given.map(values::sampling).transpose().map(Maybe)
}

fn fingerprint(text: &str) -> Result<Maybe<Fingerprint>, String> {
    let given = Some(text.trim()).filter(|text| !text.is_empty());
    given.map(|text| text.parse().map_err(|e| format!("{e}"))).transpose().map(Maybe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_knows_every_option_of_the_dialog() {
        let command = <Call as clap::CommandFactory>::command();
        command.clone().debug_assert();
        let text = rpcap::extcap::sentences::config(Some(&[]));
        for line in text.lines().filter(|line| line.starts_with("arg ")) {
            let (_, rest) = line.split_once("{call=--").unwrap();
            let (name, _) = rest.split_once('}').unwrap();
            assert!(command.get_arguments().any(|a| a.get_long() == Some(name)), "{name}");
        }
    }

    #[test]
    fn as_wireshark_calls() {
        let parse = |words: &str| Call::try_parse_from(words.split(' ')).unwrap();
        assert!(parse("rpcap --extcap-interfaces --extcap-version=4.0").extcap_interfaces);
        let call = parse(
            "rpcap --extcap-config --extcap-interface rpcap --extcap-reload-option device --tls \
             --host h --promiscuous false --wait false",
        );
        assert_eq!(call.extcap_reload_option.as_deref(), Some("device"));
        assert!(call.tls.is_on() && !call.promiscuous.is_on() && !call.wait.is_on());
        let call =
            parse("rpcap --capture --extcap-interface x --fifo f --sampling 1/10 --tls true");
        assert!(call.capture && call.tls.is_on() && call.promiscuous.is_on());
        assert_eq!(call.sampling.0, Some(Sampling::OneEvery(10)));
        let call = Call::try_parse_from([
            "rpcap",
            "--capture",
            "--ca",
            "",
            "--sampling",
            "",
            "--host",
            "",
        ]);
        assert!(call.unwrap().sampling.0.is_none());
    }
}
