//! `rpcapd`: captures packets on this host and forwards them over RPCAP.

use std::ffi::OsString;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
#[cfg(unix)]
use rpcapd::background;
use rpcapd::cli::{Arguments, Cli, Command, TlsCommand};
use rpcapd::config::{self, Config, Errors};
#[cfg(unix)]
use rpcapd::local::client;
#[cfg(windows)]
use rpcapd::service;
use rpcapd::settings::Settings;
use rpcapd::{auth, inetd, logging, server, tls};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let Arguments { cli, detached, command } = Arguments::parse();
    match command {
        None if cli.daemon && !detached => in_background(&args),
        None => serve(&args, &cli, detached),
        Some(Command::CheckConfig { file }) => check(file),
        Some(Command::PrintConfig(_)) => print(&args),
        Some(Command::Tls(TlsCommand::Init(args))) => ask(tls::init(&args)),
        Some(Command::User(command)) => match auth::run(&command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{e:#}");
                ExitCode::FAILURE
            }
        },
        #[cfg(unix)]
        Some(Command::Status(args)) => {
            ask(client::status(args.socket.status_socket.as_deref(), args.json))
        }
        #[cfg(target_os = "linux")]
        Some(Command::PamHelper(args)) => answer(
            auth::answer_daemon(&args)
                .map(|()| String::new())
                .map_err(|e| Errors(vec![format!("rpcapd: {e:#}")])),
        ),
        #[cfg(windows)]
        Some(Command::Service(command)) => ask(service::run(&command)),
        #[cfg(unix)]
        Some(Command::Reload(args)) => ask(client::reload(args.status_socket.as_deref())),
    }
}

#[cfg(unix)]
fn in_background(args: &[OsString]) -> ExitCode {
    background::start(args).unwrap_or_else(|e| {
        eprintln!("rpcapd: {e:#}");
        ExitCode::FAILURE
    })
}

/// As the service manager starts it.
#[cfg(windows)]
fn in_background(_args: &[OsString]) -> ExitCode {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    static DONE: AtomicBool = AtomicBool::new(false);

    fn daemon() -> u8 {
        let args: Vec<_> = std::env::args_os().collect();
        let done = serve(&args, &Arguments::parse_from(&args).cli, false);
        DONE.store(done == ExitCode::SUCCESS, Relaxed);
        if done == ExitCode::SUCCESS { 0 } else { 1 }
    }

    let reason = match win::service::run(service::NAME, daemon) {
        Ok(true) if DONE.load(Relaxed) => return ExitCode::SUCCESS,
        Ok(true) => return ExitCode::FAILURE,
        Ok(false) => "on Windows it is for the service manager: rpcapd service install".to_owned(),
        Err(e) => e.to_string(),
    };
    eprintln!("rpcapd: -d: {reason}");
    ExitCode::FAILURE
}

/// `cli` is the command line without its file.
fn serve(args: &[OsString], cli: &Cli, detached: bool) -> ExitCode {
    #[cfg(unix)]
    if detached && let Err(e) = background::leave() {
        eprintln!("rpcapd: -d: {e}");
        return ExitCode::FAILURE;
    }
    let inetd = match cli.inetd.then(inetd::take_over).transpose() {
        Ok(inetd) => inetd,
        Err(e) => {
            eprintln!("rpcapd: --inetd: {e}");
            return ExitCode::FAILURE;
        }
    };
    let stderr = inetd.as_ref().is_none_or(|i| i.stderr);
    let config = match config::load(args) {
        Ok(config) => config,
        Err(errors) => {
            logging::start(cli.logging(stderr));
            for line in errors.0 {
                tracing::error!("{line}");
            }
            return ExitCode::FAILURE;
        }
    };
    logging::start(config.cli.logging(stderr));
    let result = match inetd {
        None => server::run(config, detached),
        Some(inetd) => server::serve_one(config, inetd.stream),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Loads a configuration and tries its settings out, as far as that goes without using them.
fn try_out(args: &[OsString]) -> Result<Config, Errors> {
    let config = config::load(args)?;
    for note in &config.notes {
        eprintln!("{note}");
    }
    match Settings::new(config.cli.clone()) {
        Ok(_) => Ok(config),
        Err(reason) => Err(Errors(vec![config.blame(&reason)])),
    }
}

fn check(file: PathBuf) -> ExitCode {
    let shown = file.display().to_string();
    answer(
        try_out(&["rpcapd".into(), "-f".into(), file.into()])
            .map(|_| format!("{shown}: correct\n")),
    )
}

fn print(args: &[OsString]) -> ExitCode {
    let text = |config: Config| {
        if let Some(path) = &config.cli.save {
            config.save(path)?;
        }
        config.to_toml(true)
    };
    answer(try_out(args).and_then(|config| text(config).map_err(|e| Errors(vec![e]))))
}

fn ask(result: anyhow::Result<String>) -> ExitCode {
    answer(result.map_err(|e| Errors(vec![format!("rpcapd: {e:#}")])))
}

fn answer(text: Result<String, Errors>) -> ExitCode {
    match text {
        Ok(text) if stdout().write_all(text.as_bytes()).is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(errors) => {
            for line in errors.0 {
                eprintln!("{line}");
            }
            ExitCode::FAILURE
        }
    }
}
