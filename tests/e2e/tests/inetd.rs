//! `--inetd`: one client, whose connection the daemon is started with.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use e2e::frames::{EXPERIMENT_FILTER, Source, frames, numbers};
use e2e::programs::program;
use e2e::{Client, Lab, Needs, Process, Start};
use nix::sys::signal::Signal;

/// A session with a capture.
fn use_it(lab: &Lab, mut client: Client) {
    assert_eq!(client.open("b0"), Ok(1));
    let data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    Source::new(&lab.net.a, "a0").send_all(&frames(0..4));
    data.wait_for(4);
    client.end_capture().expect("ENDCAP");
    assert_eq!(numbers(&data.wait_for_end()), [0, 1, 2, 3]);
    client.close();
}

#[test]
fn nothing_but_the_protocol_gets_into_the_connection() {
    let Some(lab) = Lab::new() else { return };
    let listener = lab.net.b.enter(|| TcpListener::bind("127.0.0.1:0").expect("listening"));
    let address = listener.local_addr().expect("its address");
    let mut command = lab.net.b.command(program("rpcapd"));
    command.args(["--inetd", "-n", "--debug"]);
    // As inetd does it: all three are the connection.
    let inetd = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let end = || Stdio::from(OwnedFd::from(stream.try_clone().expect("another end")));
        command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("starting rpcapd")
    });
    let client = Client::connect_from(&lab.net.b, address);
    let mut daemon = inetd.join().expect("the thread that accepts");
    use_it(&lab, client);
    assert!(daemon.wait().expect("its end").success());
}

#[test]
fn what_is_no_connection_is_refused() {
    let mut daemon = Process::start(Command::new(program("rpcapd")).args(["--inetd", "-n"]));
    assert_eq!(daemon.wait().code(), Some(1));
    let said = daemon.stderr();
    assert!(said.contains("--inetd: standard input is not a client's TCP connection"), "{said}");
}

/// systemd leaves standard error to the log.
#[test]
fn each_connection_has_a_daemon_of_its_own_that_can_be_ended() {
    let needs = Needs { programs: &["systemd-socket-activate"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    // Nobody else is in this namespace.
    let address: SocketAddr = "127.0.0.1:2002".parse().expect("an address");
    let mut command = lab.net.b.command("systemd-socket-activate");
    command.args(["--listen", &address.to_string(), "--accept", "--inetd"]);
    let activator = Process::start(command.arg(program("rpcapd")).args(["--inetd", "-n"]));
    activator.wait_for_line("Listening on ");
    use_it(&lab, Client::connect_from(&lab.net.b, address));
    activator.wait_for_line("capture ended: ");
    let mut others = [(); 2].map(|()| Client::connect_from(&lab.net.b, address));
    for client in &mut others {
        assert_eq!(client.open("b0"), Ok(1));
    }
    activator.signal(Signal::SIGTERM);
    activator.wait_for_lines("session ended: daemon stops", 2);
}
