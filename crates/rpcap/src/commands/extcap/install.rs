//! Puts the program where Wireshark looks for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rpcap::extcap::folders::{self, Folders};
use rpcap::extcap::places;

use crate::cli::ExtcapFolder;
use crate::say::say;

/// What the link is called.
const NAME: &str = if cfg!(windows) { "rpcap.bat" } else { "rpcap" };

/// Where a user's capture programs are for a Wireshark that has such a folder.
const PERSONAL: &str = ".local/lib/wireshark/extcap";

pub(super) fn install(args: &ExtcapFolder) -> anyhow::Result<()> {
    let (folder, looked_at) = folder(args)?;
    let link = folder.join(NAME);
    if !is_ours(&link)? {
        bail!("{} is something else; move it away first", link.display());
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    fs::create_dir_all(&folder).with_context(|| cannot("make", &folder))?;
    remove(&link)?;
    make(&program, &link).with_context(|| cannot("write", &link))?;
    say!("installed: {} -> {}", link.display(), program.display());
    if !looked_at {
        say!(
            "The Wireshark of this host does not look there: start it with WIRESHARK_EXTCAP_DIR={}, \
             or install with --system.",
            folder.display()
        );
    }
    Ok(())
}

pub(super) fn uninstall(args: &ExtcapFolder) -> anyhow::Result<()> {
    let link = folder(args)?.0.join(NAME);
    if fs::symlink_metadata(&link).is_err() {
        bail!("it is not installed: there is no {}", link.display());
    }
    if !is_ours(&link)? {
        bail!("{} is something else; it stays", link.display());
    }
    remove(&link)?;
    say!("removed: {}", link.display());
    Ok(())
}

/// The folder, and whether this host's Wireshark looks there, as far as that can be told.
fn folder(args: &ExtcapFolder) -> anyhow::Result<(PathBuf, bool)> {
    if let Some(directory) = &args.directory {
        return Ok((directory.clone(), true));
    }
    let known = ask();
    if args.system {
        let folder = known.and_then(|folders| folders.global);
        return Ok((
            folder.context(
                "tshark is not installed, so that nobody says where Wireshark looks; use --directory",
            )?,
            true,
        ));
    }
    let home = places::home().context("this user has no home directory; use --directory")?;
    Ok(match known {
        Some(Folders { personal: Some(folder), .. }) => (folder, true),
        Some(_) => (home.join(PERSONAL), false),
        None => (home.join(PERSONAL), true),
    })
}

/// Asks whichever of Wireshark's programs is there.
fn ask() -> Option<Folders> {
    ["tshark", "wireshark"].iter().find_map(|program| {
        let mut command = Command::new(program);
        command.args(["-G", "folders"]).stdin(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(folders::parse(&String::from_utf8_lossy(&output.stdout)))
    })
}

/// Whether there is nothing, or a link to this program, perhaps from another place.
fn is_ours(link: &Path) -> anyhow::Result<bool> {
    match fs::symlink_metadata(link) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e).with_context(|| cannot("look at", link)),
        Ok(_) if cfg!(windows) => Ok(fs::read_to_string(link).is_ok_and(|t| t.contains("rpcap"))),
        Ok(_) => Ok(fs::read_link(link).is_ok_and(|to| to.file_name() == Some("rpcap".as_ref()))),
    }
}

fn remove(link: &Path) -> anyhow::Result<()> {
    match fs::remove_file(link) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| cannot("remove", link))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make(program: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(program, link)
}

/// Links are for administrators there.
#[cfg(not(unix))]
fn make(program: &Path, link: &Path) -> io::Result<()> {
    fs::write(link, format!("@\"{}\" %*\r\n", program.display()))
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}", path.display())
}
