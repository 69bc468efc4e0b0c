//! The rights of root are given up once everything is open (`--user`): what is left is capturing.

use std::fmt;

use anyhow::{Context, bail, ensure};
use nix::unistd::{
    Gid, Uid, User, geteuid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid,
    setuid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
};

/// The right that is kept.
const KEPT: CapabilitySet = CapabilitySet::NET_RAW;

/// Whom the daemon is to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Servant {
    name: String,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
}

impl fmt::Display for Servant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--user {}", self.name.escape_debug())
    }
}

impl Servant {
    /// The user of this name.
    pub(crate) fn find(name: &str) -> anyhow::Result<Self> {
        let found = User::from_name(name).with_context(|| format!("--user {name:?}"))?;
        let User { uid, gid, .. } =
            found.with_context(|| format!("--user {name:?}: this host has no such user"))?;
        ensure!(!uid.is_root(), "--user {name:?}: choose a user with fewer rights than root's");
        Ok(Self { name: name.to_owned(), uid, gid })
    }

    /// Becomes this user, keeping `CAP_NET_RAW`. To be called before there are threads: capabilities
    /// are each thread's own.
    pub(crate) fn take_over(&self) -> anyhow::Result<()> {
        if geteuid() == self.uid {
            return Ok(());
        }
        if !geteuid().is_root() {
            bail!("{self}: only root can become another user");
        }
        let have = capabilities(None).with_context(|| format!("{self}: reading capabilities"))?;
        ensure!(have.permitted.contains(KEPT), "{self}: there is no CAP_NET_RAW to keep");
        let step = |what: &'static str| move || format!("{self}: {what}");
        set_keep_capabilities(true).with_context(step("keeping capabilities"))?;
        setgroups(&[self.gid]).with_context(step("leaving groups"))?;
        setresgid(self.gid, self.gid, self.gid).with_context(step("changing the group"))?;
        setresuid(self.uid, self.uid, self.uid).with_context(step("changing the user"))?;
        set_capabilities(None, WANTED).with_context(step("giving up capabilities"))?;
        set_keep_capabilities(false).with_context(step("keeping capabilities"))?;
        self.verify().with_context(step("giving up root's rights"))?;
        tracing::info!(
            "running as {} with CAP_NET_RAW; without CAP_NET_ADMIN send buffers (-u) are no larger \
             than net.core.wmem_max",
            self.name.escape_debug()
        );
        Ok(())
    }

    /// What the kernel says, not what was asked of it.
    fn verify(&self) -> anyhow::Result<()> {
        let (users, groups) = (getresuid()?, getresgid()?);
        let of_user = [users.real, users.effective, users.saved].iter().all(|u| *u == self.uid);
        let of_group = [groups.real, groups.effective, groups.saved].iter().all(|g| *g == self.gid);
        ensure!(of_user && of_group && getgroups()? == [self.gid], "the user is still another one");
        ensure!(capabilities(None)? == WANTED, "capabilities are still others");
        ensure!(setuid(Uid::from_raw(0)).is_err(), "root's rights can be had again");
        Ok(())
    }
}

const WANTED: CapabilitySets =
    CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
