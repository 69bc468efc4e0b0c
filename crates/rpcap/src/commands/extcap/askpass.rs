//! Asks for a password in a window.
//!
//! Wireshark hands everything that is typed into its dialogs over on a command line, where every
//! user of the host can read it. So the password is not asked for there: a program for just that
//! shows a window, with dots for letters, and answers over a pipe.

use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::commands::password;
use crate::interrupt::Interrupts;

/// Between two looks whether the answer is there.
const GLANCE: Duration = Duration::from_millis(50);

/// Asks for a password. `prompt` says whose.
pub(super) fn ask(prompt: &str, interrupts: &Interrupts) -> anyhow::Result<String> {
    for (program, arguments) in programs(prompt) {
        let mut command = Command::new(&program);
        // What it complains about would be taken for ours.
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e).with_context(|| format!("cannot start {}", program.display())),
        };
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if interrupts.stop.load(Relaxed) {
                let _ = child.kill();
            }
            std::thread::sleep(GLANCE);
        };
        if !status.success() {
            bail!("no password was given");
        }
        let answer = child.stdout.take().context("the password's window has no output")?;
        return Ok(password::first_line(answer)?);
    }
    bail!(
        "nothing here can ask for a password; name a password file, or install ssh-askpass or zenity"
    );
}

/// What can ask, the user's own choice first: all print the answer.
fn programs(prompt: &str) -> Vec<(OsString, Vec<String>)> {
    let mut all = Vec::new();
    for variable in ["RPCAP_ASKPASS", "SSH_ASKPASS"] {
        if let Some(program) = env::var_os(variable).filter(|program| !program.is_empty()) {
            all.push((program, vec![prompt.to_owned()]));
        }
    }
    // Without a screen they would fail as if nobody had given one.
    if cfg!(unix) && ["DISPLAY", "WAYLAND_DISPLAY"].iter().all(|v| env::var_os(v).is_none()) {
        return all;
    }
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    all.push(("ssh-askpass".into(), words(&[prompt])));
    all.push((
        "zenity".into(),
        words(&["--entry", "--hide-text", "--title", "rpcap", "--text", prompt]),
    ));
    all.push(("kdialog".into(), words(&["--password", prompt])));
    all
}
