//! `exec:COMMAND`: the standard input of a command, which is started again when it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::pipe::End;
use super::readers::Readers;
use super::transport::Transport;
use super::{Pauses, Work};

/// How long a command may go on once its input has ended.
const AFTER_END: Duration = Duration::from_secs(3);
/// The same after SIGTERM.
const AFTER_SIGTERM: Duration = Duration::from_secs(1);
/// Both.
pub(super) const ENDING: Duration = AFTER_END.saturating_add(AFTER_SIGTERM);
/// Between two looks at whether it has ended.
const GLANCE: Duration = Duration::from_millis(20);

pub(super) fn prepare(command: &str, readers: &Arc<Readers>) -> io::Result<Work> {
    // The first start tells whether there is a shell at all.
    let mut first = Some(shell(command)?);
    let (command, readers) = (command.to_owned(), Arc::clone(readers));
    Ok(Box::new(move || {
        let mut pauses = Pauses::default();
        loop {
            let started = Instant::now();
            match first.take().map_or_else(|| shell(&command), Ok) {
                Ok(child) => {
                    let pid = child.id();
                    match run(child, &readers) {
                        Ok(status) => readers.say(&format!("process {pid} ended: {status}")),
                        Err(error) => readers.warn(&format!("process {pid}: {error}")),
                    }
                    pauses.after(started);
                }
                Err(error) => readers.warn(&format!("cannot be started: {error}")),
            }
            if !readers.wait(pauses.next()) {
                return;
            }
        }
    }))
}

/// In a process group of its own: Ctrl-C is for this program, which then ends the other.
fn shell(command: &str) -> io::Result<Child> {
    Command::new("sh").args(["-c", command]).stdin(Stdio::piped()).process_group(0).spawn()
}

fn run(mut child: Child, readers: &Readers) -> io::Result<ExitStatus> {
    let input = child.stdin.take().map(End::new).transpose();
    if let Ok(Some(end)) = input {
        let who = format!("process {}", child.id());
        // Its input ends with this.
        readers.serve(&who, &mut Transport::Pipe(end));
    }
    if let Some(status) = wait(&mut child, AFTER_END)? {
        return Ok(status);
    }
    let group = Pid::from_raw(child.id().cast_signed());
    let _ = killpg(group, Signal::SIGTERM);
    if let Some(status) = wait(&mut child, AFTER_SIGTERM)? {
        return Ok(status);
    }
    let _ = killpg(group, Signal::SIGKILL);
    child.wait()
}

fn wait(child: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + time;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() > until {
            return Ok(status);
        }
        std::thread::sleep(GLANCE);
    }
}
