//! The daemon under a service manager: what it tells, and what it is handed.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use e2e::programs::{program, workspace};
use e2e::{Client, Daemon, Lab, Needs, PATIENCE, Process, Start, wait_until};
use nix::sys::signal::Signal;

/// The service manager's end of the line.
struct Manager {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Manager {
    fn new(lab: &Lab) -> Self {
        let socket = UnixDatagram::bind(lab.path("notify")).expect("a socket");
        // As systemd's is: the daemon is somebody else's.
        let everybody = fs::Permissions::from_mode(0o777);
        fs::set_permissions(lab.path("notify"), everybody).expect("its mode");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        Self { socket, said: Vec::new() }
    }

    /// A daemon that talks to it.
    fn daemon(&self, lab: &Lab, watchdog: &str, arguments: &[&str]) -> Daemon {
        let mut command = lab.net.b.command(program("rpcapd"));
        command.env("NOTIFY_SOCKET", lab.path("notify")).env("WATCHDOG_USEC", watchdog);
        command.args(["-n", "-b", "127.0.0.1", "-p", "0"]).args(arguments);
        Daemon::run(lab, &mut command, 1)
    }

    /// Waits until a message has this line, from the last one waited for on.
    fn wait_for(&mut self, line: &str) -> String {
        let mut found = None;
        wait_until(&format!("{line}; so far {:?}", self.said), || {
            let mut buf = [0; 4096];
            if let Ok(n) = self.socket.recv(&mut buf) {
                let message = String::from_utf8_lossy(&buf[..n]).into_owned();
                if message.lines().any(|l| l == line) {
                    found = Some(message.clone());
                }
                self.said.push(message);
            }
            found.is_some()
        });
        found.expect("it was waited for")
    }
}

#[test]
fn systemd_is_told_how_it_goes() {
    let Some(lab) = Lab::new() else { return };
    let mut manager = Manager::new(&lab);
    let file = lab.path("rpcapd.toml");
    fs::write(&file, "active = [\"127.0.0.1,1\"]\n").expect("writing a configuration");
    let daemon = manager.daemon(&lab, "400000", &["-f", &file.display().to_string()]);
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains(&format!("MAINPID={}", daemon.process.pid())), "{ready}");
    manager.wait_for("STATUS=0 sessions, 0 captures, 0 of 1 collector connected");
    // Signs of life go on while nothing happens.
    for _ in 0..4 {
        manager.wait_for("WATCHDOG=1");
    }
    let mut client = Client::on_b0(&daemon);
    client.start(&Start::default()).expect("STARTCAP");
    manager.wait_for("STATUS=1 session, 1 capture, 0 of 1 collector connected");
    daemon.process.signal(Signal::SIGHUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
    client.close();
    daemon.finish();
    manager.wait_for("STOPPING=1");
}

/// One that cannot start is never said to be ready.
#[test]
fn systemd_is_not_told_ready_of_a_daemon_that_cannot_start() {
    let Some(lab) = Lab::new() else { return };
    let manager = Manager::new(&lab);
    let mut daemon = Process::start(
        lab.net.b.command(program("rpcapd")).env("NOTIFY_SOCKET", lab.path("notify")).args([
            "-b",
            "192.0.2.1",
            "--status-socket",
            "none",
        ]),
    );
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(manager.socket.recv(&mut [0; 4096]).is_err());
}

#[test]
fn sockets_that_are_handed_over_take_the_place_of_those_asked_for() {
    let needs = Needs { programs: &["systemd-socket-activate"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    // Nobody else is in this namespace.
    let addresses = ["127.0.0.1:2002", "[::1]:2002"];
    let mut command = lab.net.b.command("systemd-socket-activate");
    for address in addresses {
        command.args(["--listen", address]);
    }
    let mut activator = Process::start(
        command.arg(program("rpcapd")).args(["-n", "-p", "1"]).args(["--status-socket", "none"]),
    );
    activator.wait_for_lines("Listening on ", addresses.len());
    // The connection that starts the daemon waits for it.
    let clients = addresses.map(|address| {
        let address: SocketAddr = address.parse().expect("an address");
        let mut client = Client::connect_from(&lab.net.b, address);
        assert_eq!(client.open("b0"), Ok(1));
        client
    });
    assert_eq!(activator.lines("INFO listening on ").len(), 2, "{}", activator.said());
    clients.into_iter().for_each(Client::close);
    activator.signal(Signal::SIGTERM);
    activator.wait_success();
}

#[test]
fn what_is_handed_over_and_is_no_listener_is_refused() {
    let needs = Needs { programs: &["systemd-socket-activate"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let mut command = lab.net.b.command("systemd-socket-activate");
    command.args(["--listen", &lab.path("unix").display().to_string()]);
    let mut daemon = Process::start(command.arg(program("rpcapd")).arg("-n"));
    daemon.wait_for_line("Listening on ");
    let _started = std::os::unix::net::UnixStream::connect(lab.path("unix")).expect("a socket");
    assert_eq!(daemon.wait_for(PATIENCE).code(), Some(1));
    assert!(daemon.stderr().contains("socket 0 of LISTEN_FDS"), "{}", daemon.stderr());
}

/// What systemd makes of them, and how exposed it thinks they are: 20 is 2.0 of 10.
#[test]
fn the_units_are_sound_and_narrow() {
    if !e2e::programs::installed("systemd-analyze") {
        return e2e::skip("systemd-analyze is not installed");
    }
    let directory = workspace().join("packaging/systemd");
    let units = ["rpcapd.service", "rpcapd.socket", "rpcap-listen.service"];
    let analyze = |command: &str, options: &[&str], units: &[&str]| {
        Command::new("systemd-analyze")
            .arg(command)
            .args(options)
            .args(units.iter().map(|u| directory.join(u)))
            .output()
            .expect("systemd-analyze")
    };
    let output = analyze("verify", &["--man=no", "--recursive-errors=no"], &units);
    let said = String::from_utf8_lossy(&output.stderr);
    // The programs are not installed, and other units of the host are not ours.
    let ours = said.lines().filter(|l| l.contains("rpcap") && !l.contains("is not executable"));
    assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new(), "{said}");
    for unit in units.iter().filter(|u| u.ends_with(".service")) {
        let output = analyze("security", &["--offline=true", "--threshold=20"], &[unit]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("exposure level"), "{said}");
    }
}
