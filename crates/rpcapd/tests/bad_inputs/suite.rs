//! One daemon for many tests: what is wrong only after all of it has happened.
//!
//! The test here starts a daemon, and then this program once more, whose tests find that daemon in
//! their environment and use it wherever they would have started one with all options at their
//! defaults. They go one by one, as each looks at all of the log from its beginning to its end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon::{DEVICE, Daemon, Directory, command, eventually, wait};
use crate::message::Start;
use crate::peer::Peer;
use crate::savefile;

/// Where the daemon is that tests share: its process, address and log.
const SHARED: &str = "RPCAPD_TEST_SHARED";

/// The modules with tests that use it.
const MODULES: [&str; 7] = ["d1::", "d2::", "d3::", "d4::", "d5::", "d5_data::", "d6::"];

/// A file that others write to, from where it ends now, until it is told that this is all.
struct Tail {
    file: File,
    enough: Arc<AtomicBool>,
}

impl Tail {
    fn new(path: &str) -> io::Result<(Self, Arc<AtomicBool>)> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(0))?;
        let enough = Arc::new(AtomicBool::new(false));
        Ok((Self { file, enough: Arc::clone(&enough) }, enough))
    }
}

impl Read for Tail {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            // In this order, or what comes in between is missed.
            let enough = self.enough.load(SeqCst);
            let n = self.file.read(buf)?;
            if n > 0 || enough {
                return Ok(n);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The log of a daemon that tests share.
pub(crate) struct Shared {
    enough: Arc<AtomicBool>,
}

impl Shared {
    /// What the log holds now is all of it.
    pub(crate) fn end_log(&self) {
        self.enough.store(true, SeqCst);
    }
}

/// Follows a daemon by what [`SHARED`] says: process, threads, address and log.
fn follow(text: &str) -> Daemon {
    let [pid, threads, address, log] = text.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
    let most: usize = threads.parse().unwrap();
    // What sessions of others say at their end is not for this test's log.
    let tasks = format!("/proc/{pid}/task");
    eventually("sessions end", || std::fs::read_dir(&tasks).unwrap().count() <= most);
    let (tail, enough) = Tail::new(log).unwrap();
    let mut daemon = Daemon::watch(pid.parse().unwrap(), address.parse().unwrap(), tail);
    daemon.shared = Some(Shared { enough });
    daemon
}

/// The daemon that tests share, in a process that is to use one.
pub(crate) fn shared() -> Option<Daemon> {
    std::env::var(SHARED).ok().map(|text| follow(&text))
}

#[test]
fn after_everything_the_same_daemon_is_as_it_was() {
    if std::env::var_os(SHARED).is_some() {
        return;
    }
    let files = Directory::new();
    let savefile = files.write("device.pcap", &savefile::bytes(&savefile::burst(24)));
    let log = files.write("log", b"");
    let replay = format!("{DEVICE}={}", savefile.display());
    let mut command = command();
    command.args(["-b", "127.0.0.1", "-p", "0", "-n", "--sandbox", "kill"]);
    command.args(["--status-socket", "none", "--replay"]);
    command.arg(replay).stderr(File::options().append(true).open(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let mut address = None;
    eventually("it listens", || {
        let said = std::fs::read_to_string(&log).unwrap();
        let line = said.lines().find_map(|l| Some(l.split_once("listening on ")?.1.to_owned()));
        address = line;
        address.is_some()
    });
    let place = |threads| {
        format!("{} {threads} {} {}", child.id(), address.as_deref().unwrap(), log.display())
    };
    // As it is after a first capture.
    let daemon = follow(&place(usize::MAX));
    let captures = |n| {
        for _ in 0..n {
            let mut peer = Peer::opened(&daemon);
            let mut data = peer.capture(&Start::default());
            assert_eq!(data.take(24).len(), 24);
            peer.endcap();
            assert_eq!(data.rest(), []);
        }
    };
    captures(20);
    eventually("sessions end", || daemon.threads() <= 4);
    let (uses, rss) = (daemon.uses(), daemon.rss());

    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--test-threads", "1"]).args(MODULES).env(SHARED, place(uses.0));
    let output = tests.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    captures(20);
    daemon.back_to(uses);
    let growth = daemon.rss().saturating_sub(rss);
    // What the allocator keeps for the next session.
    assert!(growth < 4 * 1024, "{growth} KiB more");
    let sessions = daemon.count_logged("session started");
    assert!(sessions > 200, "{sessions}");
    daemon.logged_times(sessions, "session ended");
    eprintln!("{sessions} sessions, {growth} KiB more");
    let pid = Pid::from_raw(child.id() as i32);
    daemon.finish();
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(wait(&mut child).code(), Some(0));
}
