//! The sandbox holds: what it is to refuse is refused, and works without it.
#![cfg(target_os = "linux")]

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::chroot;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Uid, getppid, getuid, setuid};
use rpcapd::sandbox::{Mode, Part, Paths, enter, forwarding_only};
use rustix::fs::{MemfdFlags, memfd_create};
use socket2::{Domain, Protocol, Socket, Type};

/// What the process in the sandbox is to try, and where.
const ATTEMPT: &str = "RPCAPD_TEST_ATTEMPT";
const DIRECTORY: &str = "RPCAPD_TEST_DIRECTORY";
const MODE: &str = "RPCAPD_TEST_MODE";

const AF_BLUETOOTH: i32 = 31;

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Works,
    Refused,
    Killed,
}
use Outcome::{Killed, Refused, Works};

/// Attempts, what becomes of them in the sandbox, and whether only root could do them without it.
const ATTEMPTS: [(&str, Outcome, bool); 20] = [
    ("reading a file of its own", Works, false),
    ("reading a file that came later", Works, false),
    ("looking up a name", Works, false),
    ("a thread", Works, false),
    ("a UDP socket", Works, false),
    ("reading another file", Refused, false),
    ("reading another process's memory map", Refused, false),
    ("writing a file of its own", Refused, false),
    ("making a socket's file", Refused, false),
    ("removing another file", Refused, false),
    ("another process", Refused, false),
    ("a signal to another process", Refused, false),
    ("a file in memory", Refused, false),
    ("a Bluetooth socket", Refused, true),
    ("a raw IP socket", Refused, true),
    ("another program", Killed, false),
    ("ptrace", Killed, false),
    ("becoming another user", Killed, true),
    ("another root directory", Killed, true),
    ("a socket, where packets are forwarded", Refused, false),
];

fn attempt(what: &str, directory: &Path) -> io::Result<()> {
    let (own, other) = (directory.join("own"), directory.join("other"));
    match what {
        "reading a file of its own" => fs::read(own.join("file")).map(drop),
        "reading a file that came later" => fs::read(own.join("new")).map(drop),
        "looking up a name" => {
            std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1)).map(drop)
        }
        "a thread" => thread::Builder::new().spawn(|| ()).map(|t| drop(t.join())),
        "a UDP socket" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "reading another file" => fs::read(other.join("file")).map(drop),
        "reading another process's memory map" => {
            fs::read(format!("/proc/{}/maps", getppid())).map(drop)
        }
        "writing a file of its own" => fs::write(own.join("file"), "changed"),
        "making a socket's file" => UnixListener::bind(own.join("socket")).map(drop),
        "removing another file" => fs::remove_file(other.join("file")),
        "another process" => Command::new("/bin/true").spawn().map(|mut c| drop(c.wait())),
        "a signal to another process" => Ok(kill(getppid(), Signal::SIGWINCH)?),
        "a file in memory" => Ok(memfd_create("x", MemfdFlags::CLOEXEC).map(drop)?),
        // A kernel may have none; it is then refused in another way.
        "a Bluetooth socket" => {
            match Socket::new(Domain::from(AF_BLUETOOTH), Type::RAW, Some(1.into())) {
                Err(e) if e.raw_os_error() != Some(Errno::EPERM as i32) => Ok(()),
                result => result.map(drop),
            }
        }
        "a raw IP socket" => Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).map(drop),
        "another program" => Err(Command::new("/bin/true").exec()),
        // The answer of a kernel that lets one try: there is no such tracee.
        "ptrace" => match ptrace::detach(getppid(), None) {
            Err(Errno::ESRCH) => Ok(()),
            result => Ok(result?),
        },
        "becoming another user" => Ok(setuid(Uid::from_raw(65_534))?),
        "another root directory" => chroot(directory),
        "a socket, where packets are forwarded" => {
            let thread = thread::spawn(|| {
                forwarding_only();
                UdpSocket::bind("127.0.0.1:0").map(drop)
            });
            thread.join().expect("the thread")
        }
        _ => panic!("what is {what}?"),
    }
}

/// Only in a process of its own, which `prison` starts.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn prisoner() {
    let Ok(what) = std::env::var(ATTEMPT) else { return };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).expect("a directory"));
    let mode = match std::env::var(MODE).as_deref() {
        Ok("off") => Mode::Off,
        _ => Mode::Enforce,
    };
    let paths = Paths {
        read: vec![directory.join("own")],
        remove: Vec::new(),
        names: true,
        libpcap: false,
    };
    let sandbox = enter(mode, &paths).expect("the sandbox");
    let parts = [sandbox.landlock, sandbox.seccomp];
    println!("PARTS={}", parts.iter().all(|p| *p == Part::Full));
    println!("OUTCOME={:?}", attempt(&what, &directory).map_err(|e| e.to_string()));
}

/// What becomes of an attempt in this mode; `None`: this kernel has no sandbox.
fn prison(what: &str, mode: &str) -> Option<(Outcome, String)> {
    let name = format!("sandbox-{}-{mode}-{}", std::process::id(), what.replace([' ', '\''], "-"));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for part in ["own", "other"] {
        fs::create_dir_all(directory.join(part)).expect("a directory");
        fs::write(directory.join(part).join("file"), "text").expect("a file");
    }
    fs::write(directory.join("own/new"), "text").expect("a file");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "prisoner", "--ignored", "--nocapture", "--test-threads=1"])
        .envs([(ATTEMPT, what), (MODE, mode)])
        .env(DIRECTORY, &directory)
        .output()
        .expect("a process");
    fs::remove_dir_all(&directory).expect("removing it");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("PARTS="), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    if mode == "enforce" && said.contains("PARTS=false") {
        return None;
    }
    let outcome = match output.status.signal() {
        Some(signal) if signal == Signal::SIGSYS as i32 => Killed,
        Some(_) => panic!("{what}: {}", output.status),
        None if said.contains("OUTCOME=Err") => Refused,
        None => Works,
    };
    Some((outcome, said))
}

#[test]
fn what_is_not_allowed_is_refused_and_works_without_the_sandbox() {
    for (what, expected, takes_root) in ATTEMPTS {
        let Some((outcome, said)) = prison(what, "enforce") else {
            assert!(std::env::var_os("RPCAP_REQUIRE_ALL").is_none(), "no sandbox on this kernel");
            eprintln!("SKIPPED: no sandbox on this kernel");
            return;
        };
        assert_eq!(outcome, expected, "{what}: {said}");
        if !takes_root || getuid().is_root() {
            let (without, said) = prison(what, "off").expect("a mode that is always there");
            assert_eq!(without, Works, "{what}, without a sandbox: {said}");
        }
    }
}
