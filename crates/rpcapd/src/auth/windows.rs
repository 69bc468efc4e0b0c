//! Accounts of Windows.
//!
//! A logon may wait for a domain's controller, as long as that likes, so a thread of its own asks.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use win::accounts::{Account, Refusal};
use zeroize::Zeroizing;

use super::{NAME_MAX, Names, PASSWORD_MAX};
use crate::cli::Cli;

/// How long Windows has for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

const LATE: &str = "Windows did not answer in time";

/// Who is let in, or why not: for the log, not for the client.
type Verdict = Result<String, &'static str>;

/// A question to the thread.
struct Job {
    name: String,
    password: Zeroizing<Vec<u8>>,
    deadline: Instant,
    answer: SyncSender<Verdict>,
}

/// Whom to let in.
struct Allowed {
    users: Vec<Account>,
    groups: Vec<String>,
}

/// Asks Windows about names and passwords, one at a time.
pub(super) struct Logons(SyncSender<Job>);

impl fmt::Debug for Logons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logons").finish_non_exhaustive()
    }
}

impl Logons {
    /// Starts the thread, if these options want it. Every account that they name must be there.
    pub(super) fn start(cli: &Cli) -> anyhow::Result<Option<Self>> {
        if !cli.accounts() {
            return Ok(None);
        }
        let allowed = Allowed::new(cli)?;
        // One more may wait behind one that hangs; whoever comes then is told at once.
        let (ask, asked) = sync_channel(1);
        let answer = move || allowed.answer(&asked);
        thread::Builder::new().name("logons".to_owned()).spawn(answer)?;
        Ok(Some(Self(ask)))
    }

    /// The account that this name and this password let in, as it is called here.
    pub(super) fn login(&self, name: &str, password: &[u8]) -> Verdict {
        if name.len() > NAME_MAX || password.len() > PASSWORD_MAX {
            return Err("no name and password that could be somebody's");
        }
        let (answer, answered) = sync_channel(1);
        let job = Job {
            name: name.to_owned(),
            password: Zeroizing::new(password.to_vec()),
            deadline: Instant::now() + PATIENCE,
            answer,
        };
        self.0.try_send(job).map_err(|_| LATE)?;
        answered.recv_timeout(PATIENCE).unwrap_or(Err(LATE))
    }
}

/// Whether every account that these options name is there.
pub(crate) fn check(cli: &Cli) -> anyhow::Result<()> {
    Allowed::new(cli).map(drop)
}

impl Allowed {
    fn new(cli: &Cli) -> anyhow::Result<Self> {
        let names = |list: &Option<Names>| list.clone().unwrap_or_default().0;
        let find = |name: &String| {
            let account = Account::find(name);
            account.with_context(|| format!("--windows-users: the account {}", name.escape_debug()))
        };
        let users = names(&cli.windows_users).iter().map(find).collect::<Result<_, _>>()?;
        let groups = names(&cli.windows_groups).iter().map(|name| name.to_lowercase()).collect();
        Ok(Self { users, groups })
    }

    fn answer(&self, asked: &Receiver<Job>) {
        while let Ok(job) = asked.recv() {
            // Nobody waits any more for what came behind one that hung.
            if Instant::now() < job.deadline {
                // It fails if it took too long itself.
                let _ = job.answer.send(self.verdict(&job.name, &job.password));
            }
        }
    }

    fn verdict(&self, name: &str, password: &[u8]) -> Verdict {
        let account = Account::find(name).map_err(|_| "no such account")?;
        // Before Windows sees the password, so that nobody can try those of other accounts here, or
        // have them locked.
        if !self.has(&account) {
            return Err("neither --windows-users nor --windows-groups has this account");
        }
        account.check(password).map_err(|refusal| match refusal {
            Refusal::Malformed => "no password that could be somebody's",
            Refusal::Refused(code) => reason(code),
            Refusal::Other => "Windows logged somebody else on",
        })?;
        Ok(account.short_name())
    }

    /// The administrator that every Windows has is let in by name alone, as a member of no group.
    fn has(&self, account: &Account) -> bool {
        if self.users.contains(account) {
            return true;
        }
        let is_member = || {
            let groups = account.local_groups().unwrap_or_default();
            groups.iter().any(|group| self.groups.contains(&group.to_lowercase()))
        };
        !account.is_administrator() && !self.groups.is_empty() && is_member()
    }
}

/// Why a logon was refused (winerror.h).
fn reason(code: i32) -> &'static str {
    match code {
        1311 => "no domain controller answers",
        1326 => "wrong password",
        1327..=1329 => "the account may not be used here or now",
        1330 | 1907 => "the password has expired",
        1331 => "the account is disabled",
        1385 => "the account may not log on from the network",
        1793 => "the account has expired",
        1909 => "the account is locked",
        _ => "Windows refuses the logon",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Account {
        Account::find(&std::env::var("USERNAME").unwrap()).unwrap()
    }

    #[test]
    fn accounts_that_are_not_named_are_not_asked_about() {
        let nobody = Allowed { users: Vec::new(), groups: vec!["no such group".to_owned()] };
        let not_named = "neither --windows-users nor --windows-groups has this account";
        assert_eq!(nobody.verdict(&me().full_name(), b"secret"), Err(not_named));
        assert_eq!(nobody.verdict("no-such-account-here", b"secret"), Err("no such account"));
    }

    #[test]
    fn a_wrong_password_lets_nobody_in() {
        let allowed = Allowed { users: vec![me()], groups: Vec::new() };
        let (ask, asked) = sync_channel(1);
        thread::spawn(move || allowed.answer(&asked));
        let logons = Logons(ask);
        let name = me().full_name();
        assert!(logons.login(&name, b"surely not this one").is_err());
        assert_eq!(logons.login(&name, b""), Err("no password that could be somebody's"));
        assert!(logons.login(&"x".repeat(NAME_MAX + 1), b"secret").is_err());
    }

    #[test]
    fn whoever_comes_while_windows_hangs_is_told_so() {
        let (ask, asked) = sync_channel(1);
        let logons = Logons(ask);
        let (answer, _) = sync_channel(1);
        let password = Zeroizing::new(Vec::new());
        let deadline = Instant::now();
        logons.0.send(Job { name: String::new(), password, deadline, answer }).unwrap();
        assert_eq!(logons.login("somebody", b"secret"), Err(LATE));
        drop(asked);
        assert_eq!(logons.login("somebody", b"secret"), Err(LATE));
    }
}
