//! The program: reads the command line, does what it says, and says what went wrong in one line.

mod cli;
mod commands;
mod exit;
mod interrupt;
mod say;

use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, Command};

fn main() -> ExitCode {
    if commands::extcap::is_called() {
        return end(commands::extcap::answer());
    }
    // A wrong command line ends here, with clap's own text and code 2.
    let result = match Cli::parse().command {
        Command::Devices(args) => commands::devices::run(&args),
        Command::Capture(args) => commands::capture::run(&args),
        Command::Listen(args) => commands::listen::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Extcap(args) => commands::extcap::run(&args),
        Command::Read(args) => commands::find::read(&args.find),
        Command::Merge(args) => commands::find::merge(&args),
    };
    end(result)
}

fn end(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::note!("rpcap: {}", exit::line(&error));
            exit::code(&error).into()
        }
    }
}
