//! Accounts of this host and services of PAM that are there for a test and go away with it. The
//! end-to-end tests use this file too.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// The password of every account here.
pub(crate) const PASSWORD: &str = "Correct-horse-7";

/// A name that nobody else's test has.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("rpcapd-t{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}

/// Whether accounts and services can be made here. Where everything is required, they must.
pub(crate) fn can_be_made() -> bool {
    let can = nix::unistd::geteuid().is_root()
        && Command::new("useradd").arg("--help").stdout(Stdio::null()).status().is_ok();
    if !can {
        assert!(std::env::var_os("RPCAP_REQUIRE_ALL").is_none(), "no root, or no useradd");
        eprintln!("SKIPPED: making accounts needs root, and useradd");
    }
    can
}

/// Runs a program that changes accounts; what went wrong. Two of them cannot at the same time.
fn attempt(program: &str, args: &[&str], input: &str) -> Result<(), String> {
    let mut said = String::new();
    for _ in 0..200 {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        let sent = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        match (output.status.success(), said.contains("lock")) {
            (true, _) => return Ok(()),
            (false, true) => thread::sleep(Duration::from_millis(100)),
            (false, false) => break,
        }
        drop(sent);
    }
    Err(format!("{program} {args:?}: {said}"))
}

/// The same for what has to go well.
pub(crate) fn change(program: &str, args: &[&str], input: &str) {
    attempt(program, args, input).unwrap();
}

/// An account of this host.
pub(crate) struct Account(pub(crate) String);

impl Account {
    pub(crate) fn new() -> Self {
        let account = Self(unique());
        let shell = ["--no-create-home", "--shell", "/usr/sbin/nologin"];
        change("useradd", &[&shell[..], &[&account.0]].concat(), "");
        let line = format!("{}:{PASSWORD}\n", account.0);
        change("chpasswd", &["-c", "SHA512"], &line);
        account
    }

    /// The same, changed as usermod does.
    pub(crate) fn changed(args: &[&str]) -> Self {
        let account = Self::new();
        change("usermod", &[args, &[&account.0]].concat(), "");
        account
    }

    /// The same, its age changed as chage does.
    pub(crate) fn aged(args: &[&str]) -> Self {
        let account = Self::new();
        change("chage", &[args, &[&account.0]].concat(), "");
        account
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // The test's own failure says more.
        let _ = attempt("userdel", &[&self.0], "");
    }
}

/// A group of this host.
pub(crate) struct Group(pub(crate) String);

impl Group {
    pub(crate) fn of(members: &[&Account]) -> Self {
        let group = Self(unique());
        change("groupadd", &[&group.0], "");
        for member in members {
            change("usermod", &["-aG", &group.0, &member.0], "");
        }
        group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = attempt("groupdel", &[&self.0], "");
    }
}

/// A service of PAM.
pub(crate) struct Service(pub(crate) String);

impl Service {
    /// One that does with passwords and accounts what Debian does.
    pub(crate) fn new() -> Self {
        Self::saying("auth required pam_unix.so\naccount required pam_unix.so\n")
    }

    /// One whose file says this.
    pub(crate) fn saying(text: &str) -> Self {
        let service = Self(unique());
        fs::write(service.path(), text).unwrap();
        service
    }

    fn path(&self) -> PathBuf {
        format!("/etc/pam.d/{}", self.0).into()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path());
    }
}
