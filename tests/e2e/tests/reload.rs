//! The daemon reads its configuration file again while it captures.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;

use e2e::frames::{Source, assert_frames, frames};
use e2e::process::run;
use e2e::programs::program;
use e2e::{Client, Collector, Daemon, Lab, Start};
use nix::sys::signal::Signal;

/// A daemon in `b` with a configuration file, which it reads again when told to.
struct Configured {
    daemon: Daemon,
    file: PathBuf,
    /// How often that went well, and how often not.
    reloads: [usize; 2],
}

impl Configured {
    #[track_caller]
    fn start(lab: &Lab, text: &str, sockets: usize) -> Self {
        let file = lab.path("rpcapd.toml");
        fs::write(&file, text).expect("writing a configuration");
        let mut command = lab.net.b.command(program("rpcapd"));
        command.arg("-f").arg(&file);
        Self { daemon: Daemon::run(lab, &mut command, sockets), file, reloads: [0, 0] }
    }

    /// The line that tells what came of the new text.
    #[track_caller]
    fn reload(&mut self, text: &str, well: bool) -> String {
        fs::write(&self.file, text).expect("writing a configuration");
        self.daemon.process.signal(Signal::SIGHUP);
        let count = &mut self.reloads[usize::from(!well)];
        *count += 1;
        let line = if well { "configuration read again: " } else { "configuration not changed: " };
        self.daemon.process.wait_for_lines(line, *count).remove(*count - 1)
    }
}

/// A collector, as a `[[peer]]` has it.
fn peer(collector: &Collector, more: &str) -> String {
    let address = collector.address();
    format!("[[peer]]\nhost = '{}'\nport = {}\n{more}\n", address.ip(), address.port())
}

#[test]
fn collectors_come_and_go_and_captures_of_the_others_go_on() {
    let Some(lab) = Lab::new() else { return };
    let [stays, goes, comes] = [(); 3].map(|()| Collector::new(&lab.net.b, "127.0.0.1"));
    let [stays_text, goes_text, comes_text] =
        [&stays, &goes, &comes].map(|c| peer(c, "ifname = 'b0'"));
    let head = "null-auth = true\nbind = '127.0.0.1'\nport = 0\n";
    let mut configured = Configured::start(&lab, &format!("{head}{stays_text}{goes_text}"), 1);
    let mut passive = Client::on_b0(&configured.daemon);
    let mut staying = stays.accept();
    let mut going = goes.accept();
    let start = |client: &mut Client| {
        assert_eq!(client.open("b0"), Ok(1));
        client.start(&Start::default()).expect("a capture")
    };
    let data = [&mut passive, &mut staying, &mut going].map(start);
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(1..401);
    source.send_all(&sent[..100]);
    data.iter().for_each(|d| drop(d.wait_for(100)));

    // A file with a mistake changes nothing, whatever else is in it.
    let line = configured.reload(&format!("{head}snaplen = 0\n{comes_text}"), false);
    assert!(line.contains("rpcapd.toml:4:11: snaplen"), "{line}");
    source.send_all(&sent[100..200]);
    data.iter().for_each(|d| drop(d.wait_for(200)));

    // The new snaplen is for those who come now.
    let line = configured.reload(&format!("{head}snaplen = 60\n{stays_text}{comes_text}"), true);
    let expected = "changed: snaplen, peer; collectors: 1 new, 1 called no more; sessions ended: 0";
    assert!(line.ends_with(expected), "{line}");
    assert_eq!(going.receive(), None, "the session of a collector that is called no more");
    data[2].wait_for_any_end();
    let mut coming = comes.accept();
    let new = start(&mut coming);
    source.send_all(&sent[200..]);
    assert_eq!(new.wait_for(200).len(), 200);
    assert!(new.packets().iter().all(|p| p.data.len() <= 60));
    assert_frames("passive", &sent, &data[0].wait_for(400));
    assert_frames("active", &sent, &data[1].wait_for(400));

    for client in [&mut passive, &mut staying, &mut coming] {
        client.end_capture().expect("ENDCAP");
    }
    let mut all = configured.daemon.finish();
    all.sort_by_key(|ledger| ledger.get("sent"));
    assert_eq!(all.iter().map(|l| l.get("sent")).collect::<Vec<_>>(), [200, 200, 400, 400]);
}

#[test]
fn the_port_changes_and_sessions_go_on() {
    let Some(lab) = Lab::new() else { return };
    let text = |port: u16, more: &str| {
        format!("null-auth = true\nbind = '127.0.0.1'\nport = {port}\n{more}")
    };
    // In a namespace of our own they are free, but for this one.
    let [first, second, taken] = [3001, 3002, 3003];
    let other = Collector::at(&lab.net.b, ([127, 0, 0, 1], taken).into());
    let mut configured = Configured::start(&lab, &text(first, ""), 1);
    let connects = |port: u16| lab.net.b.enter(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut client = Client::on_b0(&configured.daemon);
    let data = client.start(&Start::default()).expect("a capture");
    let source = Source::new(&lab.net.a, "a0");
    let sent = frames(1..101);
    source.send_all(&sent[..50]);
    data.wait_for(50);

    let line = configured.reload(&text(taken, "max-sessions = 1\n"), false);
    assert!(line.contains("listening on 127.0.0.1:3003"), "{line}");
    assert!(connects(first));
    drop(other);
    let line = configured.reload(&text(second, "debug = true\n"), true);
    assert!(line.contains("changed: debug, port;"), "{line}");
    assert!(line.ends_with("heeded after a restart only: debug"), "{line}");
    assert!(connects(second) && !connects(first));
    let active = "null-auth = true\nactive = '127.0.0.1,9'\nactive-only = true\n";
    configured.reload(active, true);
    assert!(!connects(second));
    configured.reload(&text(first, ""), true);
    assert!(connects(first));

    source.send_all(&sent[50..]);
    assert_frames("all the time", &sent, &data.wait_for(100));
    client.end_capture().expect("ENDCAP");
    Client::connect(&configured.daemon).close();
    client.close();
    configured.daemon.finish();
}

#[test]
fn a_file_is_checked_printed_saved_and_converted() {
    let Some(lab) = Lab::new() else { return };
    let ini = lab.path("rpcapd.ini");
    fs::write(&ini, "ActiveClient = 127.0.0.1, 9, ifname=b0\r\nNullAuthPermit = YES").unwrap();
    let rpcapd = || lab.net.b.command(program("rpcapd"));
    let said = run(rpcapd().arg("check-config").arg(&ini));
    assert_eq!(said, format!("{}: correct\n", ini.display()));
    let printed = run(rpcapd().args(["print-config", "-p", "0", "-f"]).arg(&ini));
    assert!(printed.contains("port = 0  # command line\n"), "{printed}");
    assert!(printed.contains(&format!("null-auth = true  # {}:2:1\n", ini.display())), "{printed}");

    let toml = lab.path("rpcapd.toml");
    let mut command = rpcapd();
    command.args(["-b", "127.0.0.1", "-p", "0", "-f"]).arg(&ini).arg("-s").arg(&toml);
    let daemon = Daemon::run(&lab, &mut command, 1);
    Client::connect(&daemon).close();
    daemon.finish();
    // All of it is in the new file.
    let mut command = rpcapd();
    let daemon = Daemon::run(&lab, command.arg("-f").arg(&toml), 1);
    assert!(daemon.address().ip().is_loopback());
    daemon.process.wait_for_line("collector=127.0.0.1:9 (ifname=b0)");
    Client::connect(&daemon).close();
    daemon.finish();
}
