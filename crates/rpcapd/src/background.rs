//! The daemon in the background (`-d`), as ExtraHop's: a session of its own, `/` as its directory,
//! nothing open of what it was started with.
//!
//! The program starts itself again, as a process without threads that could fork is not to be had
//! in safe code. The one that was started waits for the other one, so that an error at start still
//! reaches the terminal and the exit code.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;

/// The option, behind the program's name, that tells the second process what it is.
pub const MARK: &str = "--detached";

/// What the second process says when it is ready.
const READY: &[u8] = b"r";

/// Starts the daemon in the background and waits until it is ready, or failed.
pub fn start(args: &[OsString]) -> anyhow::Result<ExitCode> {
    let (name, rest) = args.split_first().context("starting without a name")?;
    let program = std::env::current_exe().context("-d: finding this program")?;
    let mut child = Command::new(program)
        .arg0(name)
        .arg(MARK)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("-d: starting in the background")?;
    let mut said = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.take(READY.len() as u64).read_to_end(&mut said).context("-d: waiting")?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    // It has said why.
    let status = child.wait().context("-d: waiting for the end")?;
    let code = status.code().and_then(|c| u8::try_from(c).ok()).filter(|c| *c != 0);
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// Leaves what the process was started with. To be called by the second process, before it opens
/// anything.
pub fn leave() -> io::Result<()> {
    close_all()?;
    rustix::process::setsid()?;
    Ok(())
}

/// Closes all that a process was started with but standard input, output and error. To be called
/// before it opens anything.
pub(crate) fn close_all() -> io::Result<()> {
    let open =
        fs::read_dir("/dev/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // The list's own descriptor is among them, and closed by then.
    let open: Vec<i32> = open.collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// Says that the daemon is ready, and leaves the terminal and the directory.
pub fn ready() -> io::Result<()> {
    std::env::set_current_dir("/")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stderr(&null)?;
    let mut starter = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdout(&null)?;
    // Who started it may be gone.
    let _ = starter.write_all(READY);
    Ok(())
}
