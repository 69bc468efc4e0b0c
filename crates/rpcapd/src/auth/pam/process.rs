//! The helper's own process, and the one that it starts for each request.
//!
//! Modules of PAM may hang, crash or call exit. So the helper asks them nothing itself: each request is
//! given to a process that is ended when it has answered, or when its time is over.

use std::fs::{self, OpenOptions};
use std::io;
use std::time::Instant;

use anyhow::{Context, ensure};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Group, User, getgrouplist};
use rustix::process::{
    DumpableBehavior, Pid, Signal as Fatal, WaitOptions, getpid, kill_process, set_child_subreaper,
    set_dumpable_behavior, set_parent_process_death_signal, wait,
};
use zeroize::{Zeroize, Zeroizing};

use super::line::{Line, No, REQUEST_MAX, Request, Verdict};
use super::{HelperArgs, PATIENCE};
use crate::background;

/// What the hidden command does.
pub fn run(args: &HelperArgs) -> anyhow::Result<()> {
    let line = start(args).context("this command is for the daemon only")?;
    match args.once {
        true => answer_one(args, line),
        false => serve(args, line),
    }
    Ok(())
}

/// Nothing is left open of what the daemon was started with, and passwords are not dumped.
fn start(args: &HelperArgs) -> anyhow::Result<Line> {
    background::close_all()?;
    let line = Line::of_stdin()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    ensure!(!args.service.is_empty(), "there is no service");
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_name(c"rpcapd-pam")?;
    Ok(line)
}

/// Answers as long as the daemon lives.
fn serve(args: &HelperArgs, mut daemon: Line) {
    // It ends with the daemon, which the same signals reach, and not before.
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]);
    // What modules start and leave behind becomes a child of this process.
    if signals.thread_block().is_err() || set_child_subreaper(Some(getpid())).is_err() {
        return;
    }
    let mut buffer = Zeroizing::new([0; REQUEST_MAX + 1]);
    while let Some(packet) = daemon.receive(&mut buffer) {
        let Some(number) = Request::read(packet).map(|request| request.number) else { continue };
        let verdict = match delegate(args, &daemon, number, packet) {
            Ok(Some(verdict)) => verdict,
            // The daemon is gone.
            Ok(None) => return,
            Err(_) => Err(No::System),
        };
        if daemon.answer(number, verdict).is_err() {
            return;
        }
        buffer.zeroize();
    }
}

/// Has a process of its own answer a request; `None` if the daemon ends meanwhile.
fn delegate(
    args: &HelperArgs,
    daemon: &Line,
    number: u64,
    packet: &[u8],
) -> io::Result<Option<Verdict>> {
    let (mut line, theirs) = Line::pair()?;
    let mut child = args.command().arg("--once").stdin(theirs).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    let verdict = line.ask(number, packet, deadline, Some(daemon.as_fd()));
    child.kill()?;
    child.wait()?;
    end_children();
    Ok(verdict.map(|verdict| match verdict {
        Err(No::Gone) => Err(No::Crashed),
        other => other,
    }))
}

/// Ends what modules have started, however far it went from its parent.
fn end_children() {
    // A kernel that does not tell leaves them alone.
    while let Ok(children) = fs::read_to_string("/proc/thread-self/children")
        && !children.is_empty()
    {
        let pids = children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        for pid in pids {
            let _ = kill_process(pid, Fatal::KILL);
        }
        // Each of those that end may have left children of its own.
        if wait(WaitOptions::empty()).is_err() {
            return;
        }
    }
}

/// Answers the one request that this process is for.
fn answer_one(args: &HelperArgs, mut helper: Line) {
    if set_parent_process_death_signal(Some(Fatal::KILL)).is_err() {
        return;
    }
    let mut buffer = Zeroizing::new([0; REQUEST_MAX + 1]);
    let Some(request) = helper.receive(&mut buffer).and_then(Request::read) else { return };
    // It fails if the helper is gone.
    let _ = helper.answer(request.number, verdict(args, &request));
}

fn verdict(args: &HelperArgs, request: &Request<'_>) -> Verdict {
    if request.user.is_empty() {
        return pam::available().map_err(|_| No::Library);
    }
    if !may_come_in(args, request.user) {
        return Err(No::NotAllowed);
    }
    let attempt = pam::Attempt {
        service: &args.service,
        user: request.user,
        password: request.password,
        from: request.from,
    };
    pam::authenticate(&attempt).map_err(|refusal| match refusal {
        pam::Refusal::NoLibrary(_) => No::Library,
        pam::Refusal::Malformed => No::Malformed,
        pam::Refusal::Authentication(_) => No::Authentication,
        pam::Refusal::Account(_) => No::Account,
        pam::Refusal::OtherUser => No::OtherUser,
        pam::Refusal::System(_) => No::System,
    })
}

/// Whether the operator lets this account in. Asked before PAM, so that nobody can try passwords of
/// other accounts here, or have them locked. Root is let in by its name alone, as a member of no group.
fn may_come_in(args: &HelperArgs, name: &str) -> bool {
    let Ok(Some(account)) = User::from_name(name) else { return false };
    // Some services take "ALICE" for alice; the rights are looked up by the name that was given.
    if account.name != name {
        return false;
    }
    let is_named = args.user.iter().any(|user| user == name);
    if account.uid.is_root() || is_named {
        return is_named;
    }
    let Ok(name) = std::ffi::CString::new(name) else { return false };
    let Ok(groups) = getgrouplist(&name, account.gid) else { return false };
    let is_member = |group: &String| matches!(Group::from_name(group), Ok(Some(group)) if groups.contains(&group.gid));
    args.group.iter().any(is_member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_comes_in_by_name_only() {
        let args = |user: &[&str], group: &[&str]| HelperArgs {
            service: "rpcapd".to_owned(),
            user: user.iter().map(|s| (*s).to_owned()).collect(),
            group: group.iter().map(|s| (*s).to_owned()).collect(),
            once: true,
        };
        assert!(!may_come_in(&args(&[], &[]), "root"));
        assert!(!may_come_in(&args(&["daemon"], &["root"]), "root"));
        assert!(may_come_in(&args(&["root"], &[]), "root"));
        assert!(may_come_in(&args(&[], &["daemon"]), "daemon"), "its own group");
        assert!(!may_come_in(&args(&[], &["root", "no-such-group"]), "daemon"));
        assert!(!may_come_in(&args(&["no-such-user"], &[]), "no-such-user"));
    }
}
