//! Everything a test has for itself.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::unistd::{User, chown};

use crate::net::Net;
use crate::programs;
use crate::skip;

/// What a test needs beyond root and network namespaces.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// Libpcap's programs.
    pub peers: bool,
    /// Programs of the system.
    pub programs: &'a [&'a str],
    /// MTU of the cable, in bytes.
    pub mtu: u32,
}

impl Default for Needs<'_> {
    fn default() -> Self {
        Self { peers: false, programs: &["tcpdump"], mtu: 1500 }
    }
}

/// A network, a directory, and the programs; all of it goes away with this value.
#[derive(Debug)]
pub struct Lab {
    /// The network.
    pub net: Net,
    directory: Directory,
    peers: Option<PathBuf>,
}

impl Lab {
    /// A lab with a network and nothing else that is special.
    pub fn new() -> Option<Self> {
        Self::with(Needs::default())
    }

    /// A lab with libpcap's programs.
    pub fn with_peers() -> Option<Self> {
        Self::with(Needs { peers: true, ..Needs::default() })
    }

    /// A lab with what is needed. `None` if that is not to be had, which is said.
    pub fn with(needs: Needs<'_>) -> Option<Self> {
        match Self::build(needs) {
            Ok(lab) => Some(lab),
            Err(why) => {
                skip(&why);
                None
            }
        }
    }

    fn build(needs: Needs<'_>) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("not root: no capturing, no network namespaces".to_owned());
        }
        if let Some(name) = needs.programs.iter().find(|n| !programs::installed(n)) {
            return Err(format!("{name} is not installed"));
        }
        let peers = needs.peers.then(programs::peers).transpose()?;
        Ok(Self { net: Net::new(needs.mtu)?, directory: Directory::new(), peers })
    }

    /// The path of a file of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    /// One of libpcap's programs, to run in `b`.
    pub fn peer(&self, name: &str) -> Command {
        let peers = self.peers.as_ref().expect("the test asked for peers");
        self.net.b.command(peers.join(name))
    }

    /// The client under test, to run in `b`.
    pub fn rpcap(&self) -> Command {
        self.net.b.command(programs::program("rpcap"))
    }

    /// The system's tcpdump, to run in `b`. It stays root: what it writes is ours to read.
    pub fn tcpdump(&self) -> Command {
        let mut command = self.net.b.command("tcpdump");
        command.args(["-Z", "root"]);
        command
    }
}

#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Relaxed);
        let path = env::temp_dir().join(format!("rpt-{}-{n}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // Programs that run as other users write and read here.
        let mode = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&path, mode).expect("opening a directory to others");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The user that root's daemon runs as.
pub fn service_user() -> User {
    let user = |name| User::from_name(name).expect("the users");
    user("rpcapd").or_else(|| user("nobody")).expect("a user without rights")
}

/// Gives a file to the user that root's daemon runs as, who has to read it again.
pub fn for_the_daemon(path: &Path) {
    let user = service_user();
    chown(path, Some(user.uid), Some(user.gid))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Copies a program to where every user may run it.
pub fn for_every_user(lab: &Lab, program: &Path) -> PathBuf {
    let to = lab.path(&program.file_name().expect("a program has a name").to_string_lossy());
    fs::copy(program, &to).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("making it executable");
    to
}
