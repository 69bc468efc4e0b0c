use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use rpcap::tls::{TlsOptions, Trust};
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

    // The options of its dialog. All may be empty, and what is wrong with them is for Wireshark to
    // show: see the methods.
    #[arg(long, default_value = "")]
    pub(super) host: String,
    #[arg(long, default_value = "")]
    pub(super) port: String,
    #[arg(long, default_value = "")]
    pub(super) device: String,
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true")]
    wait: String,
    #[arg(long, default_value = "")]
    pub(super) user: String,
    #[arg(long, default_value = "")]
    passwordfile: String,
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true")]
    tls: String,
    #[arg(long, default_value = "")]
    trust: String,
    #[arg(long, default_value = "")]
    ca: String,
    #[arg(long, default_value = "")]
    fingerprint: String,
    #[arg(long, default_value = "")]
    certificate: String,
    #[arg(long, default_value = "")]
    key: String,
    #[arg(long, default_value = "")]
    transport: String,
    #[arg(long, default_value = "")]
    snaplen: String,
    #[arg(long, default_value = "")]
    sampling: String,
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true")]
    promiscuous: String,
}

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
    Udpstr,
}

impl Call {
    pub(super) fn waits(&self) -> bool {
        is_on(&self.wait)
    }

    pub(super) fn tls(&self) -> bool {
        is_on(&self.tls)
    }

    pub(super) fn promiscuous(&self) -> bool {
        is_on(&self.promiscuous)
    }

    pub(super) fn password_file(&self) -> Option<PathBuf> {
        given(&self.passwordfile).map(PathBuf::from)
    }

    pub(super) fn tls_options(&self) -> anyhow::Result<TlsOptions> {
        let trust = match self.trust.as_str() {
            "" | "system" => Trust::System,
            "anybody" => Trust::Anybody,
            "ca" => {
                Trust::Ca(given(&self.ca).context("the options name no authority to trust")?.into())
            }
            "fingerprint" => {
                let print = given(&self.fingerprint);
                let print = print.context("the options name no fingerprint to trust")?;
                Trust::Fingerprints(vec![print.parse().context("fingerprint")?])
            }
            other => bail!("trust: `{other}` is not one of system, ca, fingerprint, anybody"),
        };
        let identity = match (given(&self.certificate), given(&self.key)) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => bail!("an own certificate and its key go together"),
        };
        Ok(TlsOptions { trust, identity })
    }

    pub(super) fn transport(&self) -> anyhow::Result<Transport> {
        Ok(match self.transport.as_str() {
            "" | "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            "udpstr" => Transport::Udpstr,
            other => bail!("transport: `{other}` is not one of tcp, udp, udpstr"),
        })
    }

    pub(super) fn snaplen(&self) -> anyhow::Result<u32> {
        match given(&self.snaplen).map_or(Ok(SNAPLEN_MAX), str::parse) {
            Ok(snaplen @ 1..=SNAPLEN_MAX) => Ok(snaplen),
            _ => bail!("snaplen: a number from 1 to {SNAPLEN_MAX} is wanted"),
        }
    }

    pub(super) fn sampling(&self) -> anyhow::Result<Sampling> {
        let sampling = given(&self.sampling).map(values::sampling).transpose();
        Ok(sampling.map_err(|why| anyhow!("sampling: {why}"))?.unwrap_or_default())
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn is_on(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case("true")
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
        assert!(call.tls() && !call.promiscuous() && !call.waits());
        let call =
            parse("rpcap --capture --extcap-interface x --fifo f --sampling 1/10 --tls true");
        assert!(call.capture && call.tls() && call.promiscuous());
        assert_eq!(call.sampling().unwrap(), Sampling::OneEvery(10));
        let empty = ["rpcap", "--capture", "--ca", "", "--sampling", "", "--snaplen", ""];
        let call = Call::try_parse_from(empty).unwrap();
        assert_eq!(call.tls_options().unwrap(), TlsOptions::default());
        assert_eq!(call.snaplen().unwrap(), SNAPLEN_MAX);
        assert_eq!(call.transport().unwrap(), Transport::Tcp);
    }

    #[test]
    fn what_is_wrong_is_one_sentence() {
        let call = Call::try_parse_from([
            "rpcap",
            "--trust",
            "x",
            "--transport",
            "x",
            "--snaplen",
            "0",
            "--sampling",
            "1/0",
        ]);
        let call = call.unwrap();
        for (error, says) in [
            (call.tls_options().unwrap_err(), "trust: `x` is not"),
            (call.transport().unwrap_err(), "transport: `x` is not"),
            (call.snaplen().unwrap_err(), "snaplen: a number from 1 to 262144"),
            (call.sampling().unwrap_err(), "sampling: N in 1/N"),
        ] {
            assert!(error.to_string().starts_with(says), "{error}");
        }
    }
}
