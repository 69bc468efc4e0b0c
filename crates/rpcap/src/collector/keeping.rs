//! Keeps the rules up to date: the policy when it is to be read again, names by the clock.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::policy::{Names, Policy};
use super::shared::{Rules, Shared};
use crate::journal::Journal;
use crate::text::harmless_line;

/// How often the names in a policy are looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);
/// How long a name may take.
const LOOK_UP: Duration = Duration::from_secs(5);

/// What keeps the rules. One task for all of it, so that nothing is undone by an older result.
pub(super) struct Keeping {
    pub(super) path: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) rules: watch::Sender<Arc<Rules>>,
    /// Asks for the policy to be read again.
    pub(super) reload: mpsc::Receiver<()>,
}

impl Keeping {
    /// Works for ever.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(LOOK_UP_EVERY);
        tick.reset();
        loop {
            tokio::select! {
                Some(()) = self.reload.recv() => self.reload().await,
                _ = tick.tick() => self.look_up().await,
            }
        }
    }

    /// Reads the policy again. One that does not load changes nothing.
    async fn reload(&mut self) {
        let (shared, journal) = (&self.shared, &self.shared.journal);
        let loaded = Policy::load(&self.path).map_err(|e| e.to_string());
        let ready = loaded.and_then(|p| shared.outputs.prepare(&p).map(|()| p));
        let policy = match ready {
            Ok(policy) => policy,
            Err(error) => {
                // It quotes lines of the file.
                let error = harmless_line(&error);
                return journal.warn(&format!("{error}; the old policy stays"));
            }
        };
        let place = |policy: &Policy| policy.tools().map(|tools| tools.listen);
        let (old, new) = (place(&self.rules.borrow().policy), place(&policy));
        if new.is_some() && new != old {
            journal.warn("[tools] listen is read at the start only: restart the collector");
        }
        let known = Arc::clone(&self.rules.borrow());
        let names = look_up(&policy, &known.names).await;
        shared.filters.clear();
        shared.outputs.retain(&policy);
        warn(&policy, journal);
        self.rules.send_replace(Arc::new(Rules { policy, names }));
        journal.info("the policy was read again");
    }

    async fn look_up(&mut self) {
        let rules = Arc::clone(&self.rules.borrow());
        let names = look_up(&rules.policy, &rules.names).await;
        if names != rules.names {
            let policy = rules.policy.clone();
            self.rules.send_replace(Arc::new(Rules { policy, names }));
        }
    }
}

/// Says what is dangerous about a policy.
pub(super) fn warn(policy: &Policy, journal: &Journal) {
    for warning in policy.warnings() {
        journal.warn(&warning);
    }
}

/// The addresses of a policy's hosts. One that cannot be looked up keeps those that were known: a
/// resolver that is away for a moment is no reason to end captures.
pub(super) async fn look_up(policy: &Policy, known: &Names) -> Names {
    let hosts: BTreeSet<String> = policy.hosts().map(str::to_owned).collect();
    let mut names = Names::default();
    let mut looking = JoinSet::new();
    for host in hosts {
        if let Some(addresses) = known.of(&host) {
            names.insert(host.clone(), addresses.to_vec());
        }
        looking.spawn(async move {
            let found = tokio::time::timeout(LOOK_UP, lookup_host((host.clone(), 0))).await;
            let mut addresses: Vec<_> = found.ok()?.ok()?.map(|a| a.ip().to_canonical()).collect();
            // Servers turn the order from answer to answer.
            addresses.sort_unstable();
            addresses.dedup();
            Some((host, addresses))
        });
    }
    while let Some(found) = looking.join_next().await {
        if let Ok(Some((host, addresses))) = found {
            names.insert(host, addresses);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn a_host_that_cannot_be_looked_up_keeps_its_addresses() {
        // No name server is asked for a label of 64 letters.
        let lost = format!("{}.example", "x".repeat(64));
        let text = format!(
            "[output.o]\ndirectory = \"d\"\n[[agent]]\nhost = [\"{lost}\", \"127.0.0.1\"]\n"
        );
        let policy = Policy::parse(&text, Path::new("")).unwrap();
        let (old, new) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1]));
        let mut known = Names::default();
        for host in [&lost, "127.0.0.1", "no longer in the policy"] {
            known.insert(host.to_owned(), vec![old]);
        }
        let names = look_up(&policy, &known).await;
        assert_eq!(names.of(&lost), Some(&[old][..]));
        assert_eq!(names.of("127.0.0.1"), Some(&[new][..]));
        assert_eq!(names.of("no longer in the policy"), None);
        assert_eq!(look_up(&policy, &Names::default()).await.of(&lost), None);
    }
}
