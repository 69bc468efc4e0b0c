use std::env::VarError;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
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
        Some(path) => first_line(path)
            .with_context(|| format!("cannot read the password from {}", path.display()))?,
        None => match std::env::var(VARIABLE) {
            Ok(password) => password,
            Err(VarError::NotUnicode(_)) => bail!("{VARIABLE} is not UTF-8"),
            Err(VarError::NotPresent) => {
                rpassword::prompt_password(format!("Password of {user}: ")).with_context(|| {
                    format!("no terminal to ask for a password; use {VARIABLE} or --password-file")
                })?
            }
        },
    };
    Ok(Credentials::Password { user, password })
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let mut line = String::new();
    BufReader::new(File::open(path)?.take(LONGEST + 2)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
