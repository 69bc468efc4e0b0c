//! The daemon as a service of Windows: installed, removed, started and stopped.
//!
//! All that an installer has to do is done here, so that it can be tested where the daemon is.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mio::Waker;
use win::event_log;
use win::npcap::Npcap;
use win::rights;
use win::service::Control;
use win::service::manage::{self, Account, Plan};

use crate::auth;
use crate::cli::Arguments;
use crate::config::{self, Config};
use crate::files::{self, shown};
use crate::reload::Reloader;
use crate::session::Shared;
use crate::settings::Settings;

/// The service, and the source of its events.
pub const NAME: &str = "rpcapd";

/// The program, in the directory that it is installed in.
const PROGRAM: &str = "rpcapd.exe";

const LICENCE: &str = "Npcap is another product, with a licence of its own: the free edition is for \
                       at most five machines and is installed by hand (https://npcap.com)";

/// What to do with the service.
#[derive(Clone, Debug, Subcommand)]
pub enum ServiceCommand {
    /// Install the service, or change the one that there is: it starts with the system, is started
    /// again when it fails, logs to the event log and has as few rights as Npcap permits
    Install(Box<InstallArgs>),
    /// Stop and remove the service. Files stay
    Uninstall {
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Start the service, and wait until it runs
    Start,
    /// Stop the service, and wait until it has ended its sessions
    Stop,
}

/// Options of `rpcapd service install`.
#[derive(Clone, Debug, Args)]
pub struct InstallArgs {
    /// Copy this program to rpcapd.exe in this directory, and run it there [default: run it where it
    /// is]
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,

    /// Save OPTIONS to this file, toml or ini by its name, and have the service read it (-f)
    /// [default: OPTIONS are the service's command line]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Leave the file of --config as it is, if there is one
    #[arg(long, requires = "config")]
    keep_config: bool,

    /// Save the file of --config and do nothing else
    #[arg(long, requires = "config", conflicts_with_all = ["to", "keep_config", "account"])]
    config_only: bool,

    /// Whom the service runs as
    #[arg(long, value_name = "ACCOUNT", default_value = "auto")]
    account: Choice,

    /// Say what would be done
    #[arg(long)]
    dry_run: bool,

    /// Options of the daemon, behind --
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

/// Whom the service is to run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// As "virtual", but as "system" if Npcap is for administrators only
    Auto,
    /// NT SERVICE\rpcapd, which has no rights but everybody's
    Virtual,
    /// The system's account, without its privileges
    System,
}

/// Does what is asked; returns what to print.
pub fn run(command: &ServiceCommand) -> anyhow::Result<String> {
    let done = |done, yes: &str, no: &str| format!("{NAME}: {}\n", if done { yes } else { no });
    match command {
        ServiceCommand::Install(args) => install(args),
        ServiceCommand::Uninstall { dry_run } => uninstall(*dry_run),
        ServiceCommand::Start => manage::start(NAME)
            .map(|started| done(started, "the service runs", "the service was running already"))
            .context("starting the service"),
        ServiceCommand::Stop => manage::stop(NAME)
            .map(|stopped| done(stopped, "the service has stopped", "the service was not running"))
            .context("stopping the service"),
    }
}

/// Has the service manager's wishes carried out. `waker` wakes who looks whether the daemon is to end.
pub(crate) fn heed(shared: &Arc<Shared>, waker: Arc<Waker>, reloader: Reloader) {
    let shared = Arc::clone(shared);
    win::service::heed(move |control| match control {
        Control::Stop(reason) => {
            tracing::info!("{reason}: ending");
            shared.shutdown.store(true, SeqCst);
            // It fails only if the main loop is over already.
            let _ = waker.wake();
        }
        Control::Reload(reason) => {
            tracing::info!("{reason}: reading the configuration again");
            reloader.ask(|_| {});
        }
    });
}

/// What is done, or would be, a line each.
struct Steps {
    dry: bool,
    said: String,
}

impl Steps {
    fn take(&mut self, what: String, step: impl FnOnce() -> io::Result<()>) -> anyhow::Result<()> {
        if !self.dry {
            step().with_context(|| what.clone())?;
        }
        self.say(&if self.dry { format!("would do: {what}") } else { what });
        Ok(())
    }

    fn say(&mut self, line: &str) {
        self.said.push_str(&format!("{NAME}: {line}\n"));
    }
}

fn install(args: &InstallArgs) -> anyhow::Result<String> {
    let mut steps = Steps { dry: args.dry_run, said: String::new() };
    let file = args.config.as_deref().map(std::path::absolute).transpose()?;
    let kept = file.as_deref().filter(|file| args.keep_config && file.exists());
    let from_file = |file: &Path| vec!["-f".into(), file.as_os_str().to_owned()];
    // Mistakes come to light before anything is done.
    let config = check(kept.map_or_else(|| args.options.clone(), from_file))?;
    match (&file, kept) {
        (Some(_), None) if config.has_file() => bail!("--config: OPTIONS have a file already (-f)"),
        (Some(file), None) => save(&mut steps, &config, file)?,
        (Some(file), Some(_)) => steps.say(&match args.options.is_empty() {
            true => format!("{} is kept", shown(file)),
            false => format!("{} is kept: OPTIONS are not heeded", shown(file)),
        }),
        (None, _) => {}
    }
    if args.config_only {
        return Ok(steps.said);
    }
    let options = file.as_deref().map_or_else(|| args.options.clone(), from_file);
    let source = std::env::current_exe().context("where this program is")?;
    let program = match &args.to {
        Some(directory) => std::path::absolute(directory)?.join(PROGRAM),
        None => source.clone(),
    };
    let was_running = !args.dry_run && manage::stop(NAME).context("stopping the service")?;
    let installed = put(&mut steps, args.account, &source, &program, options);
    // The old one goes on if there is no new one.
    let restarted = match was_running {
        true => steps.take("start the service again".to_owned(), || manage::start(NAME).map(drop)),
        false => Ok(()),
    };
    installed.and(restarted).map(|()| steps.said)
}

/// Puts the program and its service in place. The service does not run.
fn put(
    steps: &mut Steps,
    account: Choice,
    source: &Path,
    program: &Path,
    options: Vec<OsString>,
) -> anyhow::Result<()> {
    if fs::canonicalize(program).ok() != fs::canonicalize(source).ok() {
        let step = format!("copy {} to {}", shown(source), shown(program));
        steps.take(step, || copy(source, program))?;
    }
    let account = whose(account, steps);
    let source_step = format!("register {NAME} as a source of the event log");
    steps.take(source_step, || event_log::register(NAME))?;
    let arguments = std::iter::once("-d".into()).chain(options).collect();
    let plan = Plan {
        name: NAME,
        display_name: "Remote Packet Capture (rpcapd)",
        description: "Captures packets on this host and forwards them to clients over RPCAP.",
        program,
        arguments,
        account,
    };
    let mut missing = Vec::new();
    steps.take(format!("install the service {NAME}: {}", shown(program)), || {
        missing = manage::install(&plan)?.missing;
        Ok(())
    })?;
    for missing in missing {
        steps.say(&format!("this system could not do everything: {missing}"));
    }
    Ok(())
}

/// Whom the service is to run as, and what is to be said of it.
fn whose(choice: Choice, steps: &mut Steps) -> Account {
    let npcap = Npcap::find();
    match npcap {
        Npcap::Missing => {
            steps.say("there is no Npcap: nothing can be captured until it is installed");
            steps.say(LICENCE);
        }
        Npcap::Other => steps.say(
            "there is a wpcap.dll but no Npcap: whether the service may use it is not known; if it \
             finds no devices, install it with --account system",
        ),
        Npcap::ForAll | Npcap::ForAdministrators => {}
    }
    match (choice, npcap) {
        (Choice::System, _) => Account::System,
        (Choice::Auto, Npcap::ForAdministrators) => {
            steps.say(
                "Npcap is restricted to administrators: the service runs as the system, without its \
                 privileges; to have it run as an account of its own, install Npcap without that \
                 restriction, then the service again",
            );
            Account::System
        }
        (Choice::Virtual, Npcap::ForAdministrators) => {
            steps.say(
                "Npcap is restricted to administrators: the service will find no devices; install \
                 Npcap without that restriction, or the service with --account auto",
            );
            Account::Virtual
        }
        (Choice::Auto | Choice::Virtual, _) => Account::Virtual,
    }
}

/// The options as a configuration that this host can carry out.
fn check(options: Vec<OsString>) -> anyhow::Result<Config> {
    let args: Vec<_> = ["rpcapd".into(), "-d".into()].into_iter().chain(options).collect();
    let parsed = Arguments::try_parse_from(&args).map_err(|e| anyhow::anyhow!("OPTIONS: {e}"))?;
    if parsed.command.is_some() {
        bail!("OPTIONS are the daemon's, not those of a command");
    }
    // Services start in the system's directory.
    if let Some(file) = parsed.cli.config.filter(|file| file.is_relative()) {
        bail!("OPTIONS: -f {}: expected a full path", shown(&file));
    }
    let config = config::load(&args).map_err(|errors| anyhow::anyhow!(errors.0.join("\n")))?;
    Settings::new(config.cli.clone()).map_err(|e| anyhow::anyhow!(config.blame(&e)))?;
    auth::check_accounts(&config.cli)?;
    Ok(config)
}

/// Saves the configuration, for administrators and the service alone.
fn save(steps: &mut Steps, config: &Config, file: &Path) -> anyhow::Result<()> {
    steps.take(format!("save OPTIONS to {}", shown(file)), || {
        if let Some(directory) = file.parent() {
            files::make_directory(directory)?;
        }
        config.save(file).map_err(io::Error::other)?;
        rights::protect(file, &rights::service_sid(NAME))
    })
}

/// Takes the place of what is there, as a whole or not at all.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = to.with_extension("new");
    fs::copy(from, &beside)?;
    fs::rename(&beside, to)
}

fn uninstall(dry_run: bool) -> anyhow::Result<String> {
    let mut steps = Steps { dry: dry_run, said: String::new() };
    match manage::exists(NAME).context("looking for the service")? {
        true => steps.take(format!("stop and remove the service {NAME}"), || {
            manage::uninstall(NAME).map(drop)
        })?,
        false => steps.say("there is no such service"),
    }
    if event_log::is_registered(NAME) {
        let step = format!("remove {NAME} from the sources of the event log");
        steps.take(step, || event_log::unregister(NAME))?;
    }
    Ok(steps.said)
}
