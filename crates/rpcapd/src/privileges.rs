//! Root's rights are given up once everything is open (`--user`): what is left is capturing.

use std::fs;

use anyhow::{Context, bail, ensure};
use nix::unistd::{
    Gid, Uid, User, geteuid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid,
    setuid,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_ambient_set,
    capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
};

/// The right that is kept.
const KEPT: CapabilitySet = CapabilitySet::NET_RAW;

/// The user that root's daemon runs as, and the one that takes its place where it is missing.
const SERVICE: &str = "rpcapd";
const FALLBACK: &str = "nobody";

const NO_SERVICE_USER: &str = "there is no user rpcapd, so the daemon runs as nobody, which others \
    may do too: useradd --system --shell /usr/sbin/nologin rpcapd";

/// Another user, to be become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Servant {
    name: String,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
}

/// Whom the daemon is to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Somebody else. `fallback`: for want of the service user.
    Servant { servant: Servant, fallback: bool },
    /// Whoever started it.
    Same,
    /// Root, with all its rights.
    Root,
}

impl Role {
    /// By `--user`, or what is done without it.
    pub(crate) fn of(user: Option<&str>) -> anyhow::Result<Self> {
        let root = geteuid().is_root();
        match user {
            Some("root") if root => Ok(Self::Root),
            Some(name) => {
                let servant = Servant::find(name)?;
                let servant = servant.with_context(|| format!("--user {name:?}: no such user"))?;
                match geteuid() {
                    uid if uid == servant.uid => Ok(Self::Same),
                    uid if uid.is_root() => Ok(Self::Servant { servant, fallback: false }),
                    _ => bail!("--user {name:?}: only root can become another user"),
                }
            }
            None if !root => Ok(Self::Same),
            None => {
                let (servant, fallback) = match Servant::find(SERVICE)? {
                    Some(servant) => (servant, false),
                    None => (Servant::find(FALLBACK)?.with_context(no_user)?, true),
                };
                // The root of a namespace of its own that has no other user is an ordinary user.
                match maps(servant.uid) {
                    true => Ok(Self::Servant { servant, fallback }),
                    false => Ok(Self::Same),
                }
            }
        }
    }

    /// The user to be become.
    pub(crate) fn servant(&self) -> Option<&Servant> {
        match self {
            Self::Servant { servant, .. } => Some(servant),
            _ => None,
        }
    }

    /// Takes the role: nothing but `CAP_NET_RAW` is left, unless it is root's. To be called before
    /// there are threads: capabilities are each thread's own. `nice` is the lowest nice value that a
    /// thread may want to have.
    pub(crate) fn assume(&self, nice: Option<i32>) -> anyhow::Result<()> {
        match self {
            Self::Root => {
                tracing::warn!(
                    "--user root: the daemon keeps ALL RIGHTS OF ROOT, and whoever takes it over has \
                     them; leave --user out"
                );
                Ok(())
            }
            Self::Same => give_up(None).context("giving up rights that capturing does not need"),
            Self::Servant { servant, fallback } => {
                if *fallback {
                    tracing::warn!("{NO_SERVICE_USER}");
                }
                let Servant { name, .. } = servant;
                if let Some(nice @ ..0) = nice {
                    // A thread may then have it without a right of its own. If not, the thread says so.
                    let limit = Some(20 - i64::from(nice)).and_then(|n| u64::try_from(n).ok());
                    let _ = setrlimit(Resource::Nice, Rlimit { current: limit, maximum: limit });
                }
                give_up(Some(servant)).with_context(|| {
                    format!("becoming user {} (--user root stays root)", name.escape_debug())
                })?;
                tracing::info!(
                    "running as {} with CAP_NET_RAW; without CAP_NET_ADMIN send buffers (-u) are no \
                     larger than net.core.wmem_max",
                    name.escape_debug()
                );
                Ok(())
            }
        }
    }
}

fn no_user() -> String {
    format!("this host has neither a user {SERVICE} nor {FALLBACK}: make one, or say --user")
}

/// Whether this user namespace has a user.
fn maps(uid: Uid) -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return true };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let uid = u64::from(uid.as_raw());
        first.zip(count).is_some_and(|(first, count)| (first..first + count).contains(&uid))
    })
}

impl Servant {
    /// The user of this name.
    fn find(name: &str) -> anyhow::Result<Option<Self>> {
        let found = User::from_name(name).with_context(|| format!("--user {name:?}"))?;
        let Some(User { uid, gid, .. }) = found else { return Ok(None) };
        ensure!(!uid.is_root(), "--user {name:?}: choose a user with fewer rights than root's");
        Ok(Some(Self { name: name.to_owned(), uid, gid }))
    }
}

/// Gives up everything but `CAP_NET_RAW`, which who does not change user need not have.
fn give_up(servant: Option<&Servant>) -> anyhow::Result<()> {
    let have = capabilities(None).context("reading capabilities")?;
    let kept = have.permitted & KEPT;
    ensure!(servant.is_none() || kept == KEPT, "there is no CAP_NET_RAW to keep");
    let may_bound = have.effective.contains(CapabilitySet::SETPCAP);
    // What cannot be had again does no harm in the bounding set: no_new_privs.
    if may_bound {
        for capability in others() {
            remove_capability_from_bounding_set(capability).context("the bounding set")?;
        }
    }
    if let Some(Servant { uid, gid, .. }) = servant {
        set_keep_capabilities(true).context("keeping capabilities")?;
        setgroups(&[*gid]).context("leaving groups")?;
        setresgid(*gid, *gid, *gid).context("changing the group")?;
        setresuid(*uid, *uid, *uid).context("changing the user")?;
    }
    // Kernels before 4.3 have none.
    let _ = clear_ambient_capability_set();
    let wanted =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, wanted).context("giving up capabilities")?;
    set_keep_capabilities(false).context("keeping capabilities")?;
    // What the kernel says, not what was asked of it.
    ensure!(capabilities(None)? == wanted, "capabilities are still others");
    let ambient = others().chain([KEPT]).any(|c| capability_is_in_ambient_set(c).unwrap_or(false));
    ensure!(!ambient, "there are still ambient capabilities");
    let bounding = others().any(|c| capability_is_in_bounding_set(c).unwrap_or(false));
    ensure!(!may_bound || !bounding, "the bounding set is still a larger one");
    servant.map_or(Ok(()), Servant::verify)
}

/// All capabilities of this kernel but the one that is kept.
fn others() -> impl Iterator<Item = CapabilitySet> {
    let all = (0..64).map(|n| CapabilitySet::from_bits_retain(1 << n));
    all.take_while(|c| capability_is_in_bounding_set(*c).is_ok()).filter(|c| *c != KEPT)
}

impl Servant {
    fn verify(&self) -> anyhow::Result<()> {
        let (users, groups) = (getresuid()?, getresgid()?);
        let of_user = [users.real, users.effective, users.saved].iter().all(|u| *u == self.uid);
        let of_group = [groups.real, groups.effective, groups.saved].iter().all(|g| *g == self.gid);
        ensure!(of_user && of_group && getgroups()? == [self.gid], "the user is still another one");
        ensure!(setuid(Uid::from_raw(0)).is_err(), "root's rights can be had again");
        Ok(())
    }
}
