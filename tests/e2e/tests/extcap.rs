//! Remote devices as interfaces of Wireshark, by way of Debian's tshark and dumpcap, run by a user
//! without rights.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::certs::made;
use e2e::frames::{EXPERIMENT_FILTER, Source, frame, numbers};
use e2e::lab::for_every_user;
use e2e::peer::{self, PeerDaemon};
use e2e::process::run;
use e2e::programs::program;
use e2e::{Daemon, Lab, Needs, Process, savefile, wait_until};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{User, mkfifo};

/// How many packets a capture takes.
const PACKETS: usize = 50;

/// A user in namespace `b`, with a home, and with the program where their Wireshark looks.
struct Desk {
    lab: Lab,
    user: User,
}

impl Desk {
    fn new() -> Option<Self> {
        Self::with(false)
    }

    fn with(peers: bool) -> Option<Self> {
        let programs = &["tshark", "dumpcap", "setpriv"];
        let lab = Lab::with(Needs { peers, programs, ..Needs::default() })?;
        let user = User::from_name("nobody").expect("the users").expect("nobody");
        let desk = Self { lab, user };
        for directory in ["home", "home/.config", "home/.config/rpcap"] {
            desk.own(&desk.lab.path(directory));
        }
        let program = for_every_user(&desk.lab, &program("rpcap"));
        let folder = desk.lab.path("extcap");
        let said =
            run(desk.command(&program).args(["extcap", "install", "--directory"]).arg(&folder));
        assert!(said.starts_with("installed: "), "{said}");
        Some(desk)
    }

    fn own(&self, directory: &Path) {
        fs::create_dir(directory).expect("a directory");
        chown(directory, Some(self.user.uid.as_raw()), Some(self.user.gid.as_raw()))
            .expect("its owner");
    }

    /// A command that this user gives.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.lab.net.b.command("setpriv");
        let (uid, gid) = (self.user.uid.to_string(), self.user.gid.to_string());
        command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "env", "-i"]);
        command.arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin").arg("LANG=C.UTF-8");
        command.arg(format!("HOME={}", self.lab.path("home").display()));
        command.arg(format!("WIRESHARK_EXTCAP_DIR={}", self.lab.path("extcap").display()));
        command.arg(format!("RPCAP_ASKPASS={}", self.lab.path("askpass").display()));
        command.arg(program.as_ref());
        command
    }

    /// The program as Wireshark calls it.
    fn rpcap(&self) -> Command {
        self.command(self.lab.path("extcap").join("rpcap"))
    }

    fn hosts(&self, text: &str) {
        fs::write(self.lab.path("home/.config/rpcap/hosts.toml"), text).expect("the hosts");
    }

    fn devices(&self) -> PathBuf {
        self.lab.path("home/.cache/rpcap/devices.json")
    }

    /// tshark, capturing into a file.
    fn tshark(&self, arguments: &[&str], file: &str) -> Process {
        let mut command = self.command("tshark");
        command.args(arguments).arg("-w").arg(self.lab.path(file));
        Process::start(&mut command)
    }

    /// Has tshark capture, and stop by itself.
    #[track_caller]
    fn capture(&self, arguments: &[&str]) {
        self.feed(self.begin(arguments));
    }

    fn begin(&self, arguments: &[&str]) -> Process {
        let wanted = format!("packets:{PACKETS}");
        let arguments = [&["-a", &wanted, "-f", EXPERIMENT_FILTER], arguments].concat();
        self.tshark(&arguments, "out.pcapng")
    }

    /// Sends packets all the while until tshark has enough: they have to be consecutive.
    #[track_caller]
    fn feed(&self, mut tshark: Process) {
        let source = Source::new(&self.lab.net.a, "a0");
        let mut next = 1;
        let deadline = Instant::now() + e2e::PATIENCE;
        while tshark.is_running() {
            assert!(Instant::now() < deadline, "{}", tshark.said());
            source.send(&frame(next, 100));
            next += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        tshark.wait_success();
        let said = tshark.said();
        assert!(!said.contains("Error by extcap pipe"), "{said}");
        let got = numbers(&savefile::read(&self.lab.path("out.pcapng")).packets);
        let first = got.first().copied().unwrap_or_else(|| panic!("no packets: {said}"));
        let expected: Vec<_> = (first..).take(PACKETS).collect();
        assert_eq!(got, expected, "{said}");
    }

    /// The one sentence that a capture which cannot begin ends with.
    #[track_caller]
    fn refusal(&self, arguments: &[&str]) -> String {
        let mut tshark = self.tshark(arguments, "none.pcapng");
        tshark.wait();
        let lines = tshark.lines("Error by extcap pipe: ");
        let [line] = lines.as_slice() else { panic!("{arguments:?}: {}", tshark.said()) };
        let (_, sentence) = line.split_once("Error by extcap pipe: ").expect("an error");
        // What follows is tshark's own.
        let (_, rest) = tshark.stderr().split_once(sentence).map(own).expect("its place");
        assert!(rest.trim().starts_with("0 packets captured"), "{}", tshark.said());
        sentence.to_owned()
    }
}

fn own((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

/// Options of the interface for any host, as tshark takes them.
fn options(options: &[(&str, &str)]) -> Vec<String> {
    let named = options.iter().map(|(key, value)| format!("extcap.rpcap.{key}:{value}"));
    ["-i".to_owned(), "rpcap".to_owned()]
        .into_iter()
        .chain(named.flat_map(|option| ["-o".to_owned(), option]))
        .collect()
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// A file of users, with alice and her password.
fn users(lab: &Lab, password: &str) -> String {
    let path = lab.path("users");
    let mut command = Command::new(program("rpcapd"));
    command.args(["user", "add", "alice", "--users"]).arg(&path).stdin(Stdio::piped());
    let mut child = command.spawn().expect("starting rpcapd");
    let mut stdin = child.stdin.take().expect("its standard input");
    stdin.write_all(format!("{password}\n").as_bytes()).expect("the password");
    drop(stdin);
    assert!(child.wait().expect("waiting for rpcapd").success());
    path.to_str().expect("a path of ours").to_owned()
}

#[test]
fn known_hosts_appear_once_they_were_asked() {
    let Some(desk) = Desk::new() else { return };
    let daemon = Daemon::start(&desk.lab);
    desk.hosts(&format!("[[host]]\nname = 'lab'\nurl = '{}'\n", daemon.url("")));
    let list = || run(desk.command("tshark").arg("-D"));
    let first = list();
    assert!(first.contains(" rpcap (Remote capture (RPCAP))"), "{first}");
    // By the process that was left in the background.
    wait_until("the host was asked", || {
        fs::read_to_string(desk.devices()).is_ok_and(|text| text.contains("\"b0\""))
    });
    let second = list();
    assert!(second.contains(" rpcap-lab-b0 (b0 at lab)"), "{second}");
    assert!(second.contains(" rpcap-lab-lo (lo at lab)"), "{second}");
    desk.capture(&["-i", "rpcap-lab-b0"]);
    // Wireshark's names for preferences have no hyphens.
    desk.capture(&["-i", "rpcap-lab-b0", "-o", "extcap.rpcap_lab_b0.transport:udpstr"]);
    let ledgers = daemon.finish();
    assert_eq!(ledgers.len(), 2);
}

#[test]
fn by_options_from_our_daemon_and_libpcaps() {
    let Some(desk) = Desk::with(true) else { return };
    let (ours, peer) = (Daemon::start(&desk.lab), PeerDaemon::start(&desk.lab));
    for (address, transport) in [
        (ours.address(), "tcp"),
        (ours.address(), "udp"),
        (ours.address(), "udpstr"),
        (peer.address(), "tcp"),
        (peer.address(), "udp"),
    ] {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let given = [("host", host.as_str()), ("port", &port), ("device", "b0")];
        let more = [("transport", transport), ("snaplen", "96"), ("promiscuous", "false")];
        desk.capture(&words(&options(&[&given[..], &more].concat())));
        let packets = savefile::read(&desk.lab.path("out.pcapng")).packets;
        assert!(packets.iter().all(|p| p.data.len() == 96 && p.len == 100), "{transport}");
    }
    ours.finish();
}

#[test]
fn encrypted() {
    let Some(desk) = Desk::new() else { return };
    let (pair, print) = made(&desk.lab, "own", &["127.0.0.1"]);
    let daemon = Daemon::start_with(&desk.lab, &[&["-n"], &pair.tls()[..]].concat());
    let port = daemon.address().port().to_string();
    let given = [("host", "127.0.0.1"), ("port", &port), ("device", "b0"), ("tls", "true")];
    let trust = [("trust", "fingerprint"), ("fingerprint", &print)];
    desk.capture(&words(&options(&[&given[..], &trust].concat())));
    desk.capture(&words(&options(&[&given[..], &trust, &[("transport", "udpstr")]].concat())));
    let other = "ab".repeat(32);
    let trust = [("trust", "fingerprint"), ("fingerprint", other.as_str())];
    let error = desk.refusal(&words(&options(&[&given[..], &trust].concat())));
    assert!(error.contains("fingerprint"), "{error}");
    let error = desk.refusal(&words(&options(&[&given[..], &[("sampling", "1/0")]].concat())));
    assert_eq!(error, "rpcap: sampling: N in 1/N is a number of at least 1");
    daemon.finish();
}

#[test]
fn two_interfaces_at_once() {
    let Some(desk) = Desk::new() else { return };
    let daemon = Daemon::start(&desk.lab);
    desk.hosts(&format!(
        "[[host]]\nname = 'x'\nurl = '{0}'\ndevices = ['b0']\n\
         [[host]]\nname = 'y'\nurl = '{0}'\ndevices = ['b0']\n",
        daemon.url("")
    ));
    let both = ["-i", "rpcap-x-b0", "-i", "rpcap-y-b0", "-f", EXPERIMENT_FILTER];
    let mut tshark = desk.tshark(&both, "both.pcapng");
    daemon.wait_for_captures(2);
    let source = Source::new(&desk.lab.net.a, "a0");
    source.send_all(&e2e::frames::frames(1..11));
    let file = desk.lab.path("both.pcapng");
    wait_until("both have them", || savefile::read_so_far(&file).len() >= 20);
    // As Wireshark's button for it.
    tshark.signal(Signal::SIGINT);
    tshark.wait_success();
    let mut got = numbers(&savefile::read(&file).packets);
    got.sort_unstable();
    let twice: Vec<_> = (1..11).flat_map(|n| [n, n]).collect();
    assert_eq!(got, twice);
    for ledger in daemon.wait_for_ledgers(2) {
        ledger.check_all_sent(10);
    }
    daemon.finish();
}

#[test]
fn errors_are_one_sentence() {
    let Some(desk) = Desk::new() else { return };
    let daemon = Daemon::start(&desk.lab);
    let port = daemon.address().port().to_string();
    let host = ("host", "127.0.0.1");
    let any = |more: &[(&str, &str)]| desk.refusal(&words(&options(more)));
    for (error, says) in [
        (any(&[]), "no host is named"),
        (any(&[host, ("port", "1")]), "cannot connect to 127.0.0.1:1 "),
        (any(&[host, ("port", "x")]), "`x` is not a port"),
        (any(&[host, ("port", &port)]), "no device is chosen in the interface's options; "),
        (any(&[host, ("port", &port), ("device", "nix")]), "refuses to open the device: nix: "),
        (any(&[host, ("port", &port), ("tls", "true")]), "TLS"),
    ] {
        assert!(error.starts_with("rpcap: ") && error.contains(says), "{says:?}: {error}");
    }
    desk.hosts("[[host]]\nurl = 'h'\ncolour = 1\n");
    let error = desk.refusal(&words(&options(&[host])));
    assert!(error.contains("hosts.toml: line 3: unknown field `colour`"), "{error}");
    daemon.finish();
}

#[test]
fn a_capture_filter_is_judged_as_it_is_typed() {
    let Some(desk) = Desk::new() else { return };
    let judge = |filter: &str| {
        let arguments = ["--extcap-interface", "rpcap", "--extcap-capture-filter", filter];
        run(desk.rpcap().args(arguments))
    };
    assert_eq!(judge("tcp port 80"), "");
    assert_eq!(judge("-x"), judge("-x"));
    assert!(judge("tcp prt 80").contains("syntax error"));
    assert_eq!(judge("tcp prt 80").lines().count(), 1);
}

#[test]
fn a_password_stands_on_no_command_line() {
    let Some(desk) = Desk::new() else { return };
    let password = "correct-horse-battery";
    let users = users(&desk.lab, password);
    let daemon = Daemon::start_with(&desk.lab, &["--users", &users, "--allow-cleartext-passwords"]);
    let port = daemon.address().port().to_string();
    let given = [("host", "127.0.0.1"), ("port", &port), ("device", "b0"), ("user", "alice")];
    let error = desk.refusal(&words(&options(&given)));
    assert!(error.contains("nothing here can ask for a password"), "{error}");

    // A window, as far as the program can tell.
    let window = desk.lab.path("askpass");
    let secret = desk.lab.path("secret");
    fs::write(&secret, format!("{password}\n")).expect("the password");
    let script = format!(
        "#!/bin/sh\necho \"$1\" > {0}.prompt\nread p < {0}\necho \"$p\"\n",
        secret.display()
    );
    fs::write(&window, script).expect("the window");
    fs::set_permissions(&window, fs::Permissions::from_mode(0o755)).expect("its mode");
    let mut tshark = desk.tshark(&words(&options(&given)), "none.pcapng");
    daemon.wait_for_captures(1);
    let lines = command_lines();
    assert!(lines.iter().any(|line| line.contains("--user alice")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(password)));
    tshark.signal(Signal::SIGINT);
    tshark.wait();
    let prompt = fs::read_to_string(secret.with_extension("prompt")).expect("what was asked");
    assert_eq!(prompt, "Password of alice at 127.0.0.1\n");
    // Nor is there a field for one.
    let config = run(desk.rpcap().args(["--extcap-interface", "rpcap", "--extcap-config"]));
    assert!(!config.contains("{type=password}"), "{config}");

    let file = ("passwordfile", secret.to_str().expect("a path of ours"));
    desk.capture(&words(&options(&[&given[..], &[file]].concat())));
    fs::write(&secret, "wrong\n").expect("another password");
    let error = desk.refusal(&words(&options(&[&given[..], &[file]].concat())));
    assert!(error.contains("refuses to authenticate"), "{error}");
    daemon.finish();
}

/// The command lines of all processes, with blanks between words.
fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = processes.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

#[test]
fn a_daemon_that_dials_in() {
    let Some(desk) = Desk::with(true) else { return };
    // It listens before the daemon calls: libpcap's calls again after half a minute.
    let wait = |port: &str, more: &[(&str, &str)]| {
        let given = [("wait", "true"), ("port", port), ("host", "127.0.0.1")];
        let tshark = desk.begin(&words(&options(&[&given[..], more].concat())));
        wait_until("it listens", || is_listening(&desk, port));
        tshark
    };
    let b0 = [("device", "b0")];
    let tshark = wait("4301", &b0);
    let ours = Daemon::calling(&desk.lab, &["-a", "127.0.0.1,4301"]);
    desk.feed(tshark);
    ours.wait_for_ledgers(1)[0].check();
    drop(ours);
    let tshark = wait("4302", &b0);
    let theirs = peer::calls(&desk.lab, &["127.0.0.1,4302"]);
    desk.feed(tshark);
    drop(theirs);
    // The interface that the daemon says to take.
    let tshark = wait("4303", &[("transport", "udpstr")]);
    let one = Daemon::calling(&desk.lab, &["-a", "127.0.0.1,4303,ifname=b0"]);
    desk.feed(tshark);
    drop(one);
    // Nobody calls, and it is not waited for any longer.
    let mut tshark = wait("4304", &b0);
    tshark.signal(Signal::SIGINT);
    tshark.wait();
    wait_until("it listens no more", || !is_listening(&desk, "4304"));
}

fn is_listening(desk: &Desk, port: &str) -> bool {
    let mut command = desk.lab.net.b.command("ss");
    !run(command.args(["-Hltn", &format!("sport = :{port}")])).is_empty()
}

/// A capture without Wireshark: its pipes are the test's.
struct Pipes<'a> {
    desk: &'a Desk,
    process: Process,
}

impl<'a> Pipes<'a> {
    fn start(desk: &'a Desk, port: u16) -> Self {
        let path = |name| desk.lab.path(name);
        for name in ["fifo", "in", "out"] {
            mkfifo(&path(name), Mode::from_bits_truncate(0o600)).expect("a pipe");
            chown(path(name), Some(desk.user.uid.as_raw()), None).expect("its owner");
        }
        let mut command = desk.rpcap();
        command.args(["--capture", "--extcap-interface", "rpcap", "--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string(), "--device", "b0"]);
        command.args(["--extcap-capture-filter", EXPERIMENT_FILTER, "--fifo"]).arg(path("fifo"));
        command.arg("--extcap-control-in").arg(path("in"));
        command.arg("--extcap-control-out").arg(path("out"));
        Self { desk, process: Process::start(&mut command) }
    }

    fn open(&self, name: &str, writing: bool) -> File {
        let mut options = File::options();
        options.read(!writing).write(writing);
        options.open(self.desk.lab.path(name)).expect("a pipe")
    }
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let Some(desk) = Desk::new() else { return };
    let daemon = Daemon::start(&desk.lab);
    let mut pipes = Pipes::start(&desk, daemon.address().port());
    let reader = pipes.open("fifo", false);
    daemon.wait_for_captures(1);
    // Not a packet has come, so that writing would not tell.
    drop(reader);
    pipes.process.wait_success();
    assert_eq!(pipes.process.said(), "");
    daemon.wait_for_ledgers(1)[0].check();
    daemon.finish();
}

#[test]
fn a_window_does_not_hang_when_the_capture_fails() {
    let Some(desk) = Desk::new() else { return };
    let mut pipes = Pipes::start(&desk, 1);
    let paths = ["in", "out", "fifo"].map(|name| desk.lab.path(name));
    // Wireshark opens them late, and waits for the other ends.
    let opening = std::thread::spawn(move || {
        let toolbar = File::options().write(true).open(&paths[0]).expect("a pipe");
        let shown = File::open(&paths[1]).expect("a pipe");
        let mut stream = Vec::new();
        File::open(&paths[2]).expect("a pipe").read_to_end(&mut stream).expect("the stream");
        drop((toolbar, shown));
        stream
    });
    wait_until("all were opened, and the stream ended", || opening.is_finished());
    let stream = opening.join().expect("no panic");
    assert!(stream.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "{stream:?}");
    assert_eq!(pipes.process.wait().code(), Some(3));
    let said = pipes.process.said();
    assert!(said.starts_with("rpcap: cannot connect to 127.0.0.1:1 "), "{said}");
}

#[test]
fn the_toolbar_pauses_and_changes_the_filter() {
    let Some(desk) = Desk::new() else { return };
    let daemon = Daemon::start(&desk.lab);
    let mut pipes = Pipes::start(&desk, daemon.address().port());
    let mut reader = pipes.open("fifo", false);
    let file = desk.lab.path("out.pcapng");
    let mut copy = File::create(&file).expect("a file");
    let copying = std::thread::spawn(move || std::io::copy(&mut reader, &mut copy));
    let mut toolbar = pipes.open("in", true);
    let mut shown = pipes.open("out", false);
    let mut say = |control: u8, command: u8, payload: &[u8]| {
        let mut message = vec![b'T', 0, 0, payload.len() as u8 + 2, control, command];
        message.extend_from_slice(payload);
        toolbar.write_all(&message).expect("a message");
    };
    // Whatever comes out, until there is such a text.
    let mut wait_for = |text: &str| {
        let (mut seen, mut some) = (Vec::new(), [0; 512]);
        let deadline = Instant::now() + e2e::PATIENCE;
        while !String::from_utf8_lossy(&seen).contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {seen:?}");
            let n = shown.read(&mut some).expect("the toolbar's pipe");
            assert!(n > 0, "no {text:?} in {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&some[..n]);
        }
    };
    let source = Source::new(&desk.lab.net.a, "a0");
    let seen = |count: usize| {
        wait_until("packets are there", || savefile::read_so_far(&file).len() >= count);
    };
    // A text left over from an earlier capture does not undo the capture filter.
    say(1, 1, b"tcp");
    say(0, 0, b"");
    wait_for(EXPERIMENT_FILTER);
    source.send(&frame(1, 100));
    seen(1);
    say(0, 1, &[1]);
    wait_for("paused: the host sends no packets\n");
    source.send(&frame(2, 100));
    say(1, 1, b"ether proto 0x88b5 and greater 200");
    wait_for("paused: the host sends no packets\n");
    say(1, 1, b"no filter at all");
    wait_for("syntax error");
    source.send(&frame(3, 300));
    say(0, 1, &[0]);
    wait_for("the host sends packets for: ether proto 0x88b5 and greater 200\n");
    source.send(&frame(4, 100));
    source.send(&frame(5, 300));
    seen(2);
    pipes.process.signal(Signal::SIGTERM);
    wait_for("The ledger adds up");
    pipes.process.wait_success();
    assert_eq!(pipes.process.said(), "");
    copying.join().expect("the copy").expect("copying");
    assert_eq!(numbers(&savefile::read(&file).packets), [1, 5]);
    daemon.finish();
}

#[test]
fn interfaces_are_listed_at_once_with_the_network_unplugged() {
    let Some(desk) = Desk::new() else { return };
    desk.hosts(
        "[[host]]\nurl = 'rpcaps://10.9.0.1'\ndevices = ['eth0', 'eth1']\n\
         [[host]]\nurl = 'server.example'\ndevices = ['eth0']\n\
         [[host]]\nurl = '192.0.2.7'\n",
    );
    let cache = desk.devices();
    fs::create_dir_all(cache.parent().expect("a directory")).expect("the cache");
    let device = |n: u32| format!("{{\"name\":\"v{n}\",\"description\":\"\",\"up\":true}}");
    let devices: Vec<_> = (0..100).map(device).collect();
    let text = format!("{{\"hosts\":{{\"rpcap://192.0.2.7:2002\":[{}]}}}}", devices.join(","));
    fs::write(&cache, text).expect("the cache");
    desk.lab.net.b.ip("link set b0 down");
    desk.lab.net.b.ip("link set lo down");
    let program = desk.lab.path("rpcap");
    let home = desk.lab.path("home");
    let fastest = |arguments: &[&str], lines: usize| {
        let once = || {
            // Each time it is time to have the hosts asked.
            let _ = fs::remove_file(cache.with_extension("asked"));
            let mut command = Command::new(&program);
            command.args(arguments).env("HOME", &home).env_remove("XDG_CONFIG_HOME");
            command.env_remove("XDG_CACHE_HOME").stderr(Stdio::inherit());
            let began = Instant::now();
            let output = command.output().expect("running it");
            let took = began.elapsed();
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(text.lines().count(), lines, "{text}");
            took
        };
        desk.lab.net.b.enter(|| (0..10).map(|_| once()).min().expect("a time"))
    };
    // Of ten times the fastest: the rest is what the machine does beside.
    let took = fastest(&["--extcap-interfaces", "--extcap-version=4.0"], 1 + 1 + 3 + 100 + 3);
    assert!(took < Duration::from_millis(50), "{took:?}");
    let of_one = ["--extcap-interface", "rpcap-192.0.2.7-v99"];
    for (what, lines) in [("--extcap-dlts", 1), ("--extcap-config", 4 + 3)] {
        let took = fastest(&[&of_one[..], &[what]].concat(), lines);
        assert!(took < Duration::from_millis(50), "{what}: {took:?}");
    }
}

#[test]
fn the_button_asks_the_host_for_its_devices() {
    let Some(desk) = Desk::with(true) else { return };
    let daemon = PeerDaemon::start(&desk.lab);
    let port = daemon.address().port().to_string();
    let reload = |port: &str| {
        let mut command = desk.rpcap();
        command.args(["--extcap-config", "--extcap-interface", "rpcap"]);
        command.args(["--extcap-reload-option", "device", "--host", "127.0.0.1", "--port", port]);
        run(&mut command)
    };
    let answer = reload(&port);
    assert!(answer.contains("{value=b0}{display=b0}"), "{answer}");
    assert!(answer.lines().all(|line| line.starts_with("value {arg=3}{value=")), "{answer}");
    // They can still be chosen when the dialog is opened again.
    let config = run(desk.rpcap().args(["--extcap-config", "--extcap-interface", "rpcap"]));
    assert!(config.contains(&answer), "{config}");
    let answer = reload("1");
    assert!(answer.contains("{display=cannot connect to 127.0.0.1:1 "), "{answer}");
    assert_eq!(answer.lines().count(), 1);
}

#[test]
fn it_can_be_taken_away_again_and_leaves_others_alone() {
    let Some(desk) = Desk::new() else { return };
    let folder = desk.lab.path("extcap");
    let extcap = |what: &str| {
        let mut command = desk.command(desk.lab.path("rpcap"));
        Process::start(command.args(["extcap", what, "--directory"]).arg(&folder))
    };
    extcap("install").wait_success();
    extcap("uninstall").wait_success();
    assert!(!folder.join("rpcap").exists());
    let mut again = extcap("uninstall");
    assert_eq!(again.wait().code(), Some(1));
    assert!(again.stderr().contains("it is not installed"), "{}", again.stderr());
    fs::write(folder.join("rpcap"), "#!/bin/sh\n").expect("another program");
    for what in ["install", "uninstall"] {
        let mut refused = extcap(what);
        assert_eq!(refused.wait().code(), Some(1));
        assert!(refused.stderr().contains("is something else"), "{}", refused.stderr());
    }
    assert!(folder.join("rpcap").exists());
    // Without a folder of one's own in this Wireshark, one is told what to do.
    fs::remove_file(folder.join("rpcap")).expect("removing it");
    let said = run(desk.command(desk.lab.path("rpcap")).args(["extcap", "install"]));
    let link = desk.lab.path("home/.local/lib/wireshark/extcap/rpcap");
    assert!(said.contains(&format!("installed: {} -> ", link.display())), "{said}");
    assert!(link.exists());
}
