//! `rpcapd user`: adds, removes and lists users.

use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use argon2::{Argon2, PasswordHasher};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::file::{self, Entries, Entry, Owner, ReadError};
use super::{By, PASSWORD_MAX, User, Users};
use crate::files;

/// What to do with the file of users.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user, or change one. The password is asked for on the terminal; otherwise it is the
    /// first line of standard input
    Add {
        /// The user's name
        name: String,

        /// The user needs no password but a certificate that --tls-client-ca of the daemon takes;
        /// NAME is the first DNS name in its subjectAltName
        #[arg(long)]
        certificate: bool,

        /// The user has an account of this host, whose password is asked for by way of PAM; the name
        /// "*" is for all accounts that are not named
        #[arg(long, conflicts_with = "certificate")]
        pam: bool,

        /// Devices that there are for the user, as --devices of the daemon has them [default: all
        /// that there are]
        #[arg(long, value_name = "PATTERNS")]
        devices: Option<String>,

        /// A filter (pcap-filter(7)) that packets must pass besides the user's own
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,

        /// Most bytes of each packet that the user may have
        #[arg(long, value_name = "BYTES")]
        snaplen: Option<u32>,

        /// Where the users are.
        #[command(flatten)]
        place: Place,
    },
    /// Remove a user
    Remove {
        /// The user's name
        name: String,

        /// Where the users are.
        #[command(flatten)]
        place: Place,
    },
    /// List the users and what they may do
    List {
        /// Where the users are.
        #[command(flatten)]
        place: Place,
    },
}

/// Where the users are.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The file of users, as --users of the daemon has it
    #[arg(long, value_name = "FILE", 
          default_value_os_t = files::configuration("/etc/rpcapd.users", "rpcapd.users"))]
    users: PathBuf,
}

/// Does as told. A running daemon hears of it with its next reload.
pub fn run(command: &UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add { name, certificate, pam, devices, filter, snaplen, place } => {
            let entry = Entry {
                password: None,
                certificate: *certificate,
                pam: *pam,
                devices: devices.clone(),
                filter: filter.clone(),
                snaplen: *snaplen,
            };
            add(&place.users, name, entry)
        }
        UserCommand::Remove { name, place } => {
            let mut entries = file::read(&place.users, anybody)?;
            if entries.remove(name).is_none() {
                bail!("{}: there is no user {}", place.users.display(), name.escape_debug());
            }
            save(&place.users, &entries)
        }
        UserCommand::List { place } => list(&place.users),
    }
}

fn add(path: &Path, name: &str, mut entry: Entry) -> anyhow::Result<()> {
    let mut entries = match file::read(path, anybody) {
        Err(ReadError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Entries::default()
        }
        other => other?,
    };
    if !entry.certificate && !entry.pam {
        let hash = Argon2::default().hash_password(password()?.as_bytes());
        let hash = hash.map_err(|e| anyhow::anyhow!("hashing the password: {e}"))?;
        entry.password = Some(hash.to_string());
    }
    file::user(name, &entry).map_err(anyhow::Error::msg)?;
    entries.insert(name.to_owned(), entry);
    save(path, &entries)
}

/// Root may manage the file of the user that the daemon runs as, as others cannot get at it. Whether
/// that is the user, the daemon will see.
fn anybody(_owner: Owner) -> bool {
    true
}

fn save(path: &Path, entries: &Entries) -> anyhow::Result<()> {
    file::write(path, entries).with_context(|| format!("writing {}", path.display()))
}

fn list(path: &Path) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    for (name, user) in Users::read(path, anybody)?.0 {
        let User { password, certificate, pam, .. } = &user;
        let ways = [
            password.is_some().then_some(By::Password),
            certificate.then_some(By::Certificate),
            pam.then_some(By::Account),
        ];
        let ways: Vec<_> = ways.into_iter().flatten().map(|by| by.to_string()).collect();
        write!(out, "{} by={}", name.escape_debug(), ways.join(","))?;
        if let Some(devices) = &user.rights.devices {
            write!(out, " devices={devices}")?;
        }
        if let Some(filter) = &user.rights.filter {
            write!(out, " filter={filter:?}")?;
        }
        if let Some(snaplen) = user.rights.snaplen {
            write!(out, " snaplen={snaplen}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The new password: asked for twice, or read from standard input.
fn password() -> anyhow::Result<Zeroizing<String>> {
    let password = if stdin().is_terminal() {
        let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new);
        let password = ask("Password: ").context("asking for the password")?;
        if ask("The same again: ").context("asking for the password")? != password {
            bail!("these were two passwords");
        }
        password
    } else {
        let mut line = Zeroizing::new(String::new());
        stdin().read_line(&mut line).context("reading the password")?;
        Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    match password.len() {
        0 => bail!("an empty password lets everybody in"),
        n if n > PASSWORD_MAX => bail!("a password has at most {PASSWORD_MAX} bytes"),
        _ if password.contains('\0') => bail!("a password has no byte 0"),
        _ => Ok(password),
    }
}
