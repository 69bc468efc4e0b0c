use std::env::VarError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use rpcap::client::Credentials;

use crate::cli::Connect;

/// Where a password may stand that must not be on a command line.
const VARIABLE: &str = "RPCAP_PASSWORD";

/// The longest that the protocol carries.
const LONGEST: u64 = 65_535;

/// Who the user is: nobody, unless a name is given.
pub(super) fn credentials(options: &Connect) -> anyhow::Result<Credentials> {
    let Some(user) = options.user.clone() else {
        return Ok(Credentials::Null);
    };
    let password = match &options.password_file {
        Some(path) => of_file(path)?,
        None => match of_environment()? {
            Some(password) => password,
            None => {
                rpassword::prompt_password(format!("Password of {user}: ")).with_context(|| {
                    format!("no terminal to ask for a password; use {VARIABLE} or --password-file")
                })?
            }
        },
    };
    Ok(Credentials::Password { user, password })
}

/// The first line of a file.
pub(super) fn of_file(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read the password from {}", path.display());
    first_line(File::open(path).with_context(cannot)?).with_context(cannot)
}

/// What stands in the environment, if anything does.
pub(super) fn of_environment() -> anyhow::Result<Option<String>> {
    match std::env::var(VARIABLE) {
        Ok(password) => Ok(Some(password)),
        Err(VarError::NotUnicode(_)) => bail!("{VARIABLE} is not UTF-8"),
        Err(VarError::NotPresent) => Ok(None),
    }
}

/// The first line of what can be read, at most as long as a password can be.
pub(super) fn first_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(LONGEST + 2)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
