//! Networks of a test's own, made of network namespaces.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns};

use crate::process::run;
use crate::wait_until;

/// Prefix of the names of all namespaces; the process's number follows.
const PREFIX: &str = "rpt-";

/// Where `ip netns` keeps its namespaces.
const DIRECTORY: &str = "/run/netns";

/// A network namespace that goes away with this value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, with nothing in it but `lo`, which is up.
    pub fn new(tag: &str) -> Result<Self, String> {
        static SWEPT: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep);
        let n = NEXT.fetch_add(1, Relaxed);
        let name = format!("{PREFIX}{}-{n}-{tag}", std::process::id());
        let output = Command::new("ip")
            .args(["netns", "add", &name])
            .output()
            .map_err(|e| format!("ip: {e}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("no network namespaces here: {text}"));
        }
        let namespace = Self { name };
        namespace.ip("link set lo up");
        Ok(namespace)
    }

    /// Its name, as `ip netns` has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs `program` in it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs `ip` with the words of `arguments`.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        let mut command = Command::new("ip");
        run(command.args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// Runs many `ip` commands, one a line.
    #[track_caller]
    pub fn ip_batch(&self, lines: &str) {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting ip");
        let mut stdin = child.stdin.take().expect("its standard input is a pipe");
        // If it ends early its error text says why.
        let _ = stdin.write_all(lines.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("waiting for ip");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip -batch: {text}\n{lines}");
    }

    /// Runs `work` on a thread that is in this namespace. Sockets made there stay in it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.name, work)
    }

    /// Waits until an interface is running: the kernel takes a moment to see both ends of a cable,
    /// and until then drops what is sent.
    #[track_caller]
    pub fn wait_for_carrier(&self, device: &str) {
        self.enter(|| {
            wait_until("a cable is plugged in", || {
                let mut interfaces = getifaddrs().expect("the interfaces");
                interfaces.any(|i| {
                    i.interface_name == device && i.flags.contains(InterfaceFlags::IFF_RUNNING)
                })
            });
        });
    }

    /// How many bytes an interface has sent.
    pub fn sent_bytes(&self, device: &str) -> u64 {
        let text = self.ip(&format!("-s -j link show dev {device}"));
        let json: serde_json::Value = serde_json::from_str(&text).expect("ip prints JSON");
        json[0]["stats64"]["tx"]["bytes"].as_u64().expect("ip tells what was sent")
    }

    /// How many times promiscuous mode is asked for on an interface.
    pub fn promiscuity(&self, device: &str) -> u64 {
        let text = self.ip(&format!("-d -j link show dev {device}"));
        let json: serde_json::Value = serde_json::from_str(&text).expect("ip prints JSON");
        json[0]["promiscuity"].as_u64().expect("ip tells the promiscuity")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Runs `work` on a thread that is in the namespace of this name.
pub(crate) fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let path = Path::new(DIRECTORY).join(name);
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let inside = move || {
        setns(file, CloneFlags::CLONE_NEWNET).expect("entering a network namespace");
        work()
    };
    match thread::scope(|s| s.spawn(inside).join()) {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn delete(name: &str) {
    let output = Command::new("ip").args(["netns", "del", name]).output();
    if let Ok(output) = output
        && !output.status.success()
    {
        eprintln!("ip netns del {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Removes what tests left behind that were killed.
fn sweep() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            delete(&name);
        }
    }
}

/// MAC address of `a0`.
pub const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
/// MAC address of `b0`.
pub const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

/// Two namespaces and a cable between them: `a0` (10.9.0.1) and `b0` (10.9.0.2).
///
/// Offloads are as the kernel has them. Nothing is sent that no test sends: an IPv6 address would
/// bring multicast reports with it.
#[derive(Debug)]
pub struct Net {
    /// Where packets come from.
    pub a: Namespace,
    /// Where the daemon and its clients are.
    pub b: Namespace,
}

impl Net {
    /// The network, its cable with this MTU.
    pub fn new(mtu: u32) -> Result<Self, String> {
        let net = Self { a: Namespace::new("a")?, b: Namespace::new("b")? };
        let b = &net.b.name;
        net.a.ip_batch(&format!(
            "link add a0 mtu {mtu} address 02:00:00:00:00:0a type veth \
                 peer name b0 mtu {mtu} address 02:00:00:00:00:0b netns {b}\n\
             link set a0 addrgenmode none\n\
             addr add 10.9.0.1/24 dev a0\n\
             link set a0 up\n"
        ));
        net.b.ip_batch(
            "link set b0 addrgenmode none\n\
             addr add 10.9.0.2/24 dev b0\n\
             link set b0 up\n",
        );
        net.a.wait_for_carrier("a0");
        net.b.wait_for_carrier("b0");
        Ok(net)
    }
}
