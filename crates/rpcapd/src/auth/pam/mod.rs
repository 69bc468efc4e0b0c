//! The system's accounts (PAM).
//!
//! PAM wants root's rights and runs modules of others. So the daemon starts a helper before it gives
//! its own rights up: itself, with a hidden command, and one end of a pair of sockets as standard
//! input. The helper ([`process`]) says yes or no to a name and a password and can be asked nothing
//! else; it ends when the daemon does.

mod line;
mod process;

use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::Cli;
use crate::locked::lock;
use line::{Line, No, Request, Verdict};

pub use process::run;

/// The hidden command.
const COMMAND: &str = "pam-helper";

/// How long PAM has for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much longer the helper has for its own, in which it ends what PAM hangs in.
const MARGIN: Duration = Duration::from_secs(2);

/// Where Linux-PAM looks for a service.
const SERVICES: [&str; 3] = ["/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d"];

/// Whom to let in, as the helper is told.
#[derive(Clone, Debug, Args)]
pub struct HelperArgs {
    /// The service of PAM.
    #[arg(long)]
    service: String,
    /// Accounts that may come in.
    #[arg(long)]
    user: Vec<String>,
    /// Groups whose members may.
    #[arg(long)]
    group: Vec<String>,
    /// Whether to answer one request by asking PAM, and end.
    #[arg(long)]
    once: bool,
}

impl HelperArgs {
    /// This program as the process that they are for, which has nothing of ours but what it is given.
    fn command(&self) -> Command {
        // Not by its name: that may be another version's by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("rpcapd").arg(COMMAND).arg("--service").arg(&self.service);
        let all = [("--user", &self.user), ("--group", &self.group)];
        for (option, names) in all {
            command.args(names.iter().map(|name| format!("{option}={name}")));
        }
        command.env_clear().env("PATH", OsStr::new("/usr/sbin:/usr/bin:/sbin:/bin"));
        command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        // What a terminal's keys do to the daemon is not for it.
        command.process_group(0);
        command
    }
}

/// The helper, from the daemon's side.
pub(super) struct Helper {
    state: Mutex<State>,
    /// Never waited for: it lives as long as the daemon.
    process: Child,
}

struct State {
    line: Line,
    asked: u64,
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helper").finish_non_exhaustive()
    }
}

impl Helper {
    /// Starts the helper, if there is to be one, with the rights that the daemon has now.
    pub(super) fn start(cli: &Cli) -> anyhow::Result<Option<Self>> {
        if !cli.pam {
            return Ok(None);
        }
        let service = cli.pam_service.clone();
        // What has no file is "other" to PAM, which on some systems lets in whoever has an account.
        if !SERVICES.iter().any(|directory| Path::new(directory).join(&service).is_file()) {
            bail!("--pam: there is no /etc/pam.d/{service}: install packaging/pam/rpcapd there");
        }
        let names = |names: &Option<super::Names>| names.clone().unwrap_or_default().0;
        let (user, group) = (names(&cli.pam_users), names(&cli.pam_groups));
        let args = HelperArgs { service, user, group, once: false };
        let (line, theirs) = Line::pair().context("--pam: a socket for the helper")?;
        let process = args.command().stdin(theirs).spawn().context("--pam: starting the helper")?;
        let helper = Self { state: Mutex::new(State { line, asked: 0 }), process };
        match helper.ask(&Request { number: 0, user: "", from: "", password: b"" }) {
            Ok(()) => {}
            Err(no) => bail!("--pam: {}", no.reason()),
        }
        if !nix::unistd::geteuid().is_root() {
            tracing::warn!("--pam without root's rights: most modules check no other account then");
        }
        let pid = helper.process.id();
        tracing::info!("accounts of this host are let in by PAM, asked by process {pid}");
        Ok(Some(helper))
    }

    /// Whether PAM lets somebody in, and if not, why. One at a time; it takes as long as PAM does,
    /// but no longer than `PATIENCE` and a little.
    pub(super) fn login(
        &self,
        from: IpAddr,
        user: &str,
        password: &[u8],
    ) -> Result<(), &'static str> {
        let from = from.to_string();
        let request = Request { number: 0, user, from: &from, password };
        if user.is_empty() || !request.fits() {
            return Err(No::Malformed.reason());
        }
        self.ask(&request).map_err(No::reason)
    }

    fn ask(&self, request: &Request<'_>) -> Verdict {
        let mut state = lock(&self.state);
        state.asked += 1;
        let number = state.asked;
        let packet = Request { number, ..*request }.write();
        let deadline = Instant::now() + PATIENCE + MARGIN;
        state.line.ask(number, &packet, deadline, None).unwrap_or(Err(No::Gone))
    }
}
