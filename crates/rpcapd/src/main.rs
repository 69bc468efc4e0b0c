//! `rpcapd`: captures packets on this host and forwards them over RPCAP.

use std::process::ExitCode;

use clap::Parser;
use rpcapd::cli::Arguments;
use rpcapd::{logging, server};

fn main() -> ExitCode {
    let Arguments { cli, .. } = Arguments::parse();
    logging::start(cli.debug);
    match server::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}
