//! `rpcap extcap`, and the answers when Wireshark calls.
//!
//! What is called is known by its first argument, so that a link with any name does.

mod askpass;
mod call;
mod capture;
mod fifo;
mod install;
mod refresh;
mod target;
mod toolbar;

use std::io::{self, Write};

use anyhow::{Context, anyhow};
use clap::Parser;
use rpcap::extcap::cache::Cache;
use rpcap::extcap::hosts::{self, Host};
use rpcap::extcap::{interfaces, places, sentences};
use rpcap::filter;
use rpcap_proto::wire::SNAPLEN_MAX;

use self::call::Call;
use self::target::Target;
use crate::cli::{Extcap, ExtcapCommand};
use crate::exit::{self, Failure};

/// The host that the interface for any host was last asked about, in the cache: its devices can be
/// chosen from without asking again.
const LAST: &str = "";

/// Ethernet: what a device has about which nothing else is known.
const ETHERNET: u32 = 1;

pub(crate) fn run(args: &Extcap) -> anyhow::Result<()> {
    match &args.command {
        ExtcapCommand::Install(folder) => install::install(folder),
        ExtcapCommand::Uninstall(folder) => install::uninstall(folder),
        ExtcapCommand::Refresh { quiet } => refresh::run(*quiet),
    }
}

/// Whether the command line is one of Wireshark's.
pub(crate) fn is_called() -> bool {
    let first = std::env::args_os().nth(1);
    first.is_some_and(|a| a == "--capture" || a.as_encoded_bytes().starts_with(b"--extcap-"))
}

/// Does what Wireshark wants.
pub(crate) fn answer() -> anyhow::Result<()> {
    let call = Call::parse();
    let known = known_hosts();
    if call.extcap_interfaces {
        // What is wrong with the file is told when one of its hosts is wanted: here nobody reads it,
        // and the interface for any host works without.
        let hosts = known.unwrap_or_default();
        say(&sentences::interfaces(&interfaces::all(&hosts, &cache())))?;
        refresh::in_background(&hosts);
        return Ok(());
    }
    if call.extcap_interface.is_none() {
        // Of a version, or of a clean-up: nothing is left behind that there would be to clean up.
        return say("");
    }
    if call.capture {
        return capture::run(&call, known);
    }
    if let Some(option) = &call.extcap_reload_option {
        return match option.trim_start_matches('-') {
            "device" => say(&devices(&call, &known?)),
            _ => Ok(()),
        };
    }
    let hosts = known.unwrap_or_default();
    let cache = cache();
    let all = interfaces::all(&hosts, &cache);
    let device = all.iter().find(|i| Some(&i.value) == call.extcap_interface.as_ref());
    let device = device.and_then(|i| i.device.as_ref());
    let linktype = device.and_then(|(host, name)| cache.device(&host.key(), name)?.linktype);
    let linktype = linktype.unwrap_or(ETHERNET);
    if call.extcap_dlts {
        say(&sentences::dlts(linktype))
    } else if call.extcap_config {
        let last = cache.devices(LAST);
        say(&sentences::config(if device.is_some() { None } else { Some(last) }))
    } else if let Some(text) = &call.extcap_capture_filter {
        // Anything that is said is what is wrong with it.
        match filter::from_text(text, linktype, SNAPLEN_MAX) {
            Ok(_) => Ok(()),
            Err(error) => say(&format!("{}\n", exit::line(&error.into()))),
        }
    } else {
        Ok(())
    }
}

/// What can be chosen as a device: what the host has, or why that is not known.
fn devices(call: &Call, hosts: &[Host]) -> String {
    let asked = Target::of(call, hosts).and_then(|target| {
        let mut client = target.connect(&Default::default())?;
        let devices = client.devices()?;
        client.close();
        Ok(devices)
    });
    match asked {
        Ok(devices) if devices.is_empty() => sentences::no_devices("the host has no devices"),
        Ok(devices) => {
            change_cache(|cache| cache.set(LAST, &devices));
            let mut answer = Cache::default();
            answer.set(LAST, &devices);
            sentences::devices(answer.devices(LAST))
        }
        Err(error) => sentences::no_devices(&exit::line(&error)),
    }
}

fn known_hosts() -> anyhow::Result<Vec<Host>> {
    match places::hosts() {
        Some(path) => hosts::read(&path).map_err(|why| anyhow!("known hosts: {why}")),
        None => Ok(Vec::new()),
    }
}

fn cache() -> Cache {
    places::devices().map_or_else(Cache::default, |path| Cache::read(&path))
}

/// Changes the cache. That it cannot be written is no reason to do nothing else.
fn change_cache(change: impl FnOnce(&mut Cache)) {
    if let Some(path) = places::devices() {
        let mut cache = Cache::read(&path);
        let before = cache.clone();
        change(&mut cache);
        if cache != before {
            let _ = cache.write(&path);
        }
    }
}

fn say(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Output("standard output".to_owned(), e)).context("cannot answer Wireshark")
        }
        _ => Ok(()),
    }
}
