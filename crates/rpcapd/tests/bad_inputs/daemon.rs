//! A daemon to be mistreated.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};

use crate::peer::Peer;
use crate::savefile::{self, Packet};
use crate::suite::{self, Shared};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rpcapd");

/// The device that every daemon here has.
pub(crate) const DEVICE: &str = "demo0";

/// What must happen soon, happens within this time, however loaded the host is.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The log may be a little behind what the peer sees.
const LOGGED_SOON: Duration = Duration::from_secs(5);

/// No line of the log is longer, whatever is sent.
const LINE_MAX: usize = 2048;

/// How a daemon is started.
pub(crate) struct Options<'a> {
    pub(crate) bind: &'a str,
    pub(crate) port: u16,
    /// `-n`
    pub(crate) null_auth: bool,
    /// Packets of the device.
    pub(crate) packets: Vec<Packet>,
    /// More devices: their names, and the bytes of their savefiles.
    pub(crate) devices: &'a [(&'a str, Vec<u8>)],
    /// Most descriptors that it may have open.
    pub(crate) descriptors: Option<u32>,
    pub(crate) args: &'a [&'a str],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1",
            port: 0,
            null_auth: true,
            packets: savefile::burst(24),
            devices: &[],
            descriptors: None,
            args: &[],
        }
    }
}

/// A daemon's process. It is killed when this goes out of scope, and must be ended by
/// [`Self::finish`] before that, if the test comes so far.
pub(crate) struct Daemon {
    child: Option<Child>,
    /// If other tests use it too.
    pub(crate) shared: Option<Shared>,
    pid: u32,
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    /// What the log must say, and in how many lines.
    expected: RefCell<Vec<(String, usize)>>,
    files: Option<Directory>,
    /// Where the session of [`Self::finish`] comes from.
    guest: Option<IpAddr>,
    /// What the log calls that session.
    stranger: Option<String>,
    finished: bool,
}

impl Daemon {
    /// With a burst of packets to capture, and all options at their defaults.
    pub(crate) fn start() -> Self {
        suite::shared().unwrap_or_else(|| Self::with(Options::default()))
    }

    pub(crate) fn with_args(args: &[&str]) -> Self {
        Self::with(Options { args, ..Options::default() })
    }

    pub(crate) fn with_packets(packets: Vec<Packet>) -> Self {
        Self::with(Options { packets, ..Options::default() })
    }

    pub(crate) fn with(options: Options<'_>) -> Self {
        let files = Directory::new();
        let mut command = match options.descriptors {
            None => command(),
            Some(limit) => limited(limit),
        };
        command.args(["-b", options.bind, "-p", &options.port.to_string()]);
        command.args(["--status-socket", "none"]);
        // A system call that the sandbox should allow ends the daemon, so that the test sees it.
        command.args(["--sandbox", "kill"]);
        if options.null_auth {
            command.arg("-n");
        }
        let packets = savefile::bytes(&options.packets);
        for (name, bytes) in [(DEVICE, packets)].iter().chain(options.devices) {
            let savefile = files.write(&format!("{name}.pcap"), bytes);
            command.arg("--replay").arg(format!("{name}={}", savefile.display()));
        }
        command.args(options.args);
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let mut daemon = Self::watch(child.id(), (Ipv4Addr::UNSPECIFIED, 0).into(), stderr);
        daemon.child = Some(child);
        daemon.files = Some(files);
        let line = daemon.logged("listening on ");
        let (_, address) = line.split_once("listening on ").unwrap();
        daemon.address = address.parse().unwrap();
        if daemon.address.is_ipv6() {
            daemon.guest = Some(daemon.address.ip());
        }
        daemon
    }

    /// Follows the log of a daemon that runs, until the log ends.
    pub(crate) fn watch(pid: u32, address: SocketAddr, log: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Log::default());
        let reader = thread::spawn({
            let lines = Arc::clone(&lines);
            move || lines.fill(log)
        });
        Self {
            child: None,
            shared: None,
            pid,
            address,
            log: lines,
            reader: Some(reader),
            expected: RefCell::default(),
            files: None,
            guest: Some(Ipv4Addr::LOCALHOST.into()),
            stranger: None,
            finished: false,
        }
    }

    /// The session that [`Self::finish`] tries comes from here; from nowhere, and there is none.
    pub(crate) fn guest(mut self, guest: Option<IpAddr>) -> Self {
        self.guest = guest;
        self
    }

    /// Waits for a line that says `text`. In the end there must be exactly one such line.
    pub(crate) fn logged_once(&self, text: &str) -> String {
        self.logged_times(1, text)
    }

    /// Waits for this many lines that say `text`, or one of several texts with `|` between them. In
    /// the end there must be exactly as many. The last of them.
    pub(crate) fn logged_times(&self, count: usize, text: &str) -> String {
        self.expected.borrow_mut().push((text.to_owned(), count));
        self.log.wait(count, text)
    }

    /// Waits for a line that says `text`; there may be more.
    pub(crate) fn logged(&self, text: &str) -> String {
        self.log.wait(1, text)
    }

    /// The same for the `nth` of such lines, counted from 1.
    pub(crate) fn logged_nth(&self, nth: usize, text: &str) -> String {
        self.log.wait(nth, text)
    }

    /// Lines so far that say `text`.
    pub(crate) fn count_logged(&self, text: &str) -> usize {
        self.log.lines().iter().filter(|l| says(l, text)).count()
    }

    /// The daemon is as well as it was: it serves a stranger, ends in order when asked to, whoever
    /// is still connected, and its log is what it should be.
    pub(crate) fn finish(mut self) {
        if let Some(from) = self.guest {
            let mut peer = Peer::from(from, self.address);
            peer.authenticate();
            peer.in_sync();
            self.stranger = Some(format!("peer={}", peer.stream.local_addr().unwrap()));
        }
        match self.shared.take() {
            Some(shared) => self.leave(shared),
            None => self.end(Signal::SIGTERM),
        }
    }

    /// Leaves a daemon that others use too. Who is still connected goes when the test is over, and
    /// the next one waits for that.
    fn leave(&mut self, shared: Shared) {
        shared.end_log();
        self.reader.take().unwrap().join().unwrap();
        self.check_log();
        self.finished = true;
    }

    /// Sends the signal, upon which the daemon must end in order; checks the log.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.signal(signal);
        let status = wait(self.child.as_mut().expect("a daemon of the test's own"));
        self.reader.take().unwrap().join().unwrap();
        let log = self.log.lines().join("\n");
        assert_eq!(status.code(), Some(0), "{status}, log:\n{log}");
        self.check_log();
        self.finished = true;
    }

    fn check_log(&self) {
        let lines = self.log.lines();
        for line in &lines {
            assert!(!line.contains("panicked"), "{line}");
            assert!(is_log_line(line), "not a log line: {line:?}");
            assert!(line.len() <= LINE_MAX, "{} bytes in a line: {line}", line.len());
        }
        let is_strangers = |l: &str| self.stranger.as_ref().is_some_and(|s| l.contains(s));
        for (text, count) in self.expected.borrow().iter() {
            let said = |l: &&String| says(l, text) && !is_strangers(l);
            let said = lines.iter().filter(said).count();
            assert_eq!(said, *count, "lines that say {text:?}");
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid as i32), signal).unwrap();
    }

    pub(crate) fn fds(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    pub(crate) fn threads(&self) -> usize {
        self.status("Threads:")
    }

    /// Memory in use, in KiB.
    pub(crate) fn rss(&self) -> usize {
        self.status("VmRSS:")
    }

    /// Processor time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(self.proc("stat")).unwrap();
        // After the name, which may hold anything: state is field 3, user and system time 14, 15.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        Duration::from_millis(10 * ticks.map(|t| t.parse::<u64>().unwrap()).sum::<u64>())
    }

    /// Child processes that were not waited for, or were never meant to be.
    pub(crate) fn children(&self) -> String {
        fs::read_to_string(self.proc(&format!("task/{}/children", self.pid))).unwrap_or_default()
    }

    fn status(&self, field: &str) -> usize {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|l| l.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid).into()
    }

    /// Threads and descriptors in use.
    pub(crate) fn uses(&self) -> (usize, usize) {
        (self.threads(), self.fds())
    }

    /// Waits until no more threads and descriptors are in use than `before`.
    pub(crate) fn back_to(&self, before: (usize, usize)) {
        eventually("threads and descriptors are given back", || {
            self.uses() <= before && self.fds() <= before.1
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It fails if the daemon is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log.lines().join("\n"));
        } else {
            assert!(self.finished, "the test did not finish its daemon");
        }
    }
}

/// The program, its log kept and nothing else of it.
pub(crate) fn command() -> Command {
    with_log(Command::new(PROGRAM))
}

/// The same with a limit on the descriptors that it may have open.
fn limited(descriptors: u32) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"ulimit -n "$0" && exec "$@""#, &descriptors.to_string(), PROGRAM]);
    with_log(shell)
}

fn with_log(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Waits for a process that is about to end.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// A port that nobody listens on, and that the system gives to nobody who does not ask for it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Tests of other processes start elsewhere.
        let n = NEXT.fetch_add(1, Ordering::Relaxed) + 16 * std::process::id();
        let port = 20_000 + (n % 10_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a line says one of several texts with `|` between them.
fn says(line: &str, texts: &str) -> bool {
    texts.split('|').any(|text| line.contains(text))
}

/// A time, a level, and no control character.
fn is_log_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|w| w.starts_with("20") && w.ends_with('Z'))
        && matches!(words.next(), Some("INFO" | "WARN" | "ERROR"))
        && !line.chars().any(char::is_control)
}

/// What a daemon said on its standard error.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Log {
    fn fill(&self, log: impl Read) {
        for line in BufReader::new(log).split(b'\n') {
            // Bytes that are no text show up as a control character.
            let line = String::from_utf8(line.unwrap())
                .unwrap_or_else(|e| format!("\0{:?}", e.into_bytes()));
            self.lock().push(line);
            self.more.notify_all();
        }
    }

    fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // Somebody waited in vain, which does the lines no harm.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, count: usize, text: &str) -> String {
        let is_found = |l: &&String| says(l, text);
        let (lines, _) = self
            .more
            .wait_timeout_while(self.lock(), LOGGED_SOON, |lines| {
                lines.iter().filter(is_found).count() < count
            })
            .unwrap_or_else(PoisonError::into_inner);
        let found: Vec<_> = lines.iter().filter(is_found).collect();
        match found.get(count - 1) {
            Some(line) => (*line).clone(),
            None => panic!("{} of {count} lines that say {text:?}", found.len()),
        }
    }
}

/// Has a file belong to the user that root's daemon runs as, who has to read it again.
pub(crate) fn for_the_daemon(path: &Path) {
    if geteuid().is_root() {
        let users = ["rpcapd", "nobody"].map(|name| User::from_name(name).unwrap());
        let user = users.into_iter().flatten().next().unwrap();
        chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

/// A directory of a test's own, gone when it is.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("bad-inputs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
