//! How far a daemon's clock is from the client's: in files, in the report, in the collector's status.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use e2e::frames::{EXPERIMENT_FILTER, Source, frames};
use e2e::peer::PeerDaemon;
use e2e::process::run;
use e2e::programs::program;
use e2e::{Daemon, Lab, Listener, Needs, Process, savefile, wait_until};

/// An offset and its error, in nanoseconds.
type Offset = (i64, u64);

/// Debian's libfaketime; the loader knows what `$LIB` is on this machine.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// Every offset that a file has, in order.
#[track_caller]
fn offsets(file: &Path) -> Vec<Offset> {
    let bytes = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let text = String::from_utf8_lossy(&bytes);
    // The index of a file has descriptions and statistics once more.
    let text = text.split("rpcapix1").next().unwrap_or_default();
    let offsets = text.split("clock-offset-ns=").skip(1).map(|rest| {
        let (offset, rest) = rest.split_once(" error-ns=").expect("an error");
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let error = rest[..digits].parse().expect("a number");
        (offset.parse().expect("a number"), error)
    });
    offsets.collect()
}

/// Whether `seconds` is a clock's distance, as far as can be said.
#[track_caller]
fn check(what: &str, (offset, error): Offset, seconds: i64) {
    let off = offset.abs_diff(seconds * 1_000_000_000);
    assert!(off <= error, "{what}: {offset} is off by {off}, more than {error}");
    // On one host the way takes microseconds, and a busy machine some milliseconds.
    assert!(error < 500_000_000, "{what}: {error}");
}

/// What this host's system is called.
fn system() -> String {
    let told =
        run(Command::new("sh").args(["-c", ". /etc/os-release; echo $PRETTY_NAME, $(uname -srm)"]));
    told.trim_end().to_owned()
}

/// Captures ten packets.
#[track_caller]
fn capture(lab: &Lab, url: &str, arguments: &[&str], file: &Path) -> Process {
    let mut command = lab.rpcap();
    command.args(["capture", url, "-c", "10", "-f", EXPERIMENT_FILTER]).args(arguments);
    let mut client = Process::start(command.arg("-w").arg(file));
    client.wait_for_line("capturing from");
    Source::new(&lab.net.a, "a0").send_all(&frames(1..11));
    client.wait_success();
    assert_eq!(savefile::read(file).packets.len(), 10);
    client
}

#[test]
fn files_and_the_report_say_how_far_it_is() {
    let Some(lab) = Lab::with(Needs { programs: &["capinfos"], ..Needs::default() }) else {
        return;
    };
    let daemon = Daemon::start(&lab);
    let system = format!("Operating system = {}", system());
    // Datagrams do not wait, so that the beginning of the file does not know yet.
    for (transport, said) in [(&[][..], 2), (&["--udp"][..], 1)] {
        let file = lab.path("a.pcapng");
        let client = capture(&lab, &daemon.url("b0"), transport, &file);
        let found = offsets(&file);
        assert_eq!(found.len(), said, "{transport:?}: {found:?}");
        for offset in found {
            check("the file", offset, 0);
        }
        client.wait_for_line("The daemon's clock is 0.");
        // It shows one comment of an interface.
        let capinfos = run(lab.net.b.command("capinfos").arg(&file));
        assert!(capinfos.contains(&system), "{capinfos}");
        assert!(capinfos.contains("Comment = captured by rpcap from 127.0.0.1:"), "{capinfos}");
    }
    daemon.finish();
}

#[test]
fn other_daemons_have_no_clock_to_tell() {
    let Some(lab) = Lab::with_peers() else { return };
    let daemon = PeerDaemon::start(&lab);
    let file = lab.path("a.pcapng");
    let client = capture(&lab, &daemon.url("b0"), &[], &file);
    assert_eq!(offsets(&file), []);
    assert_eq!(client.lines("clock"), Vec::<String>::new());
}

#[test]
fn the_times_of_a_savefile_are_nobodys_clock() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let (recorded, file) = (lab.path("r.pcap"), lab.path("a.pcapng"));
    capture(&lab, &daemon.url("b0"), &[], &recorded);
    daemon.finish();
    let device = format!("old={}", recorded.display());
    let daemon = Daemon::start_with(&lab, &["-n", "--replay", &device]);
    let mut command = lab.rpcap();
    command.args(["capture", &daemon.url("old"), "-c", "10", "-w"]).arg(&file);
    Process::start(&mut command).wait_success();
    assert_eq!((savefile::read(&file).packets.len(), offsets(&file).len()), (10, 0));
    daemon.finish();
}

#[test]
fn a_clock_that_is_wrong_by_seconds_is_found_to_be() {
    let Some(lab) = Lab::with(Needs { programs: &["faketime"], ..Needs::default() }) else {
        return;
    };
    let mut command = lab.net.b.command(program("rpcapd"));
    command
        .env("LD_PRELOAD", FAKETIME)
        .env("FAKETIME", "-7")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    // What is preloaded makes calls of its own.
    command.args(["-b", "127.0.0.1", "-p", "0", "-n", "--sandbox", "off"]);
    let daemon = Daemon::run(&lab, &mut command, 1);
    let file = lab.path("a.pcapng");
    let client = capture(&lab, &daemon.url("b0"), &[], &file);
    let found = offsets(&file);
    assert_eq!(found.len(), 2, "{found:?}");
    for offset in found {
        check("the file", offset, -7);
    }
    let line = client.wait_for_line("The daemon's clock is ");
    assert!(line.contains(" ms behind this host's, give or take "), "{line}");
    daemon.finish();
}

#[test]
fn the_collector_says_it_in_its_status_and_at_the_beginning_of_each_file() {
    let Some(lab) = Lab::new() else { return };
    let policy = format!(
        "[output.files]\ndirectory = \"captures\"\nfile-time = \"2s\"\n\n\
         [[agent]]\ninterfaces = [\"b0\"]\nfilter = \"{EXPERIMENT_FILTER}\"\n"
    );
    let socket = lab.path("status");
    let arguments = ["--port", "0", "--status", socket.to_str().expect("UTF-8")];
    let listener = Listener::start_with(&lab, &lab.net.b, "127.0.0.1", &policy, &arguments);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let status = || -> serde_json::Value {
        let stream = UnixStream::connect(&socket).expect("connecting");
        serde_json::from_reader(stream).expect("JSON")
    };
    let number = |key: &str| status()["agents"][0][key].as_i64();
    wait_until("clocks are compared", || number("clock-offset-ns").is_some());
    let error = number("clock-error-ns").expect("an error");
    check("the status", (number("clock-offset-ns").expect("an offset"), error.unsigned_abs()), 0);
    let source = Source::new(&lab.net.a, "a0");
    source.send_all(&frames(1..11));
    wait_until("a file is complete", || {
        listener.files().iter().any(|f| f.extension().is_some_and(|e| e == "pcapng"))
    });
    source.send_all(&frames(11..21));
    wait_until("all packets are there", || listener.count_so_far() == 20);
    let got = listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(20);
    assert!(got.files.len() >= 2, "{:?}", got.files);
    let system = system();
    for file in &got.files {
        let bytes = fs::read(file).expect("a file");
        assert!(bytes.windows(system.len()).any(|w| w == system.as_bytes()), "no {system}");
        let found = offsets(file);
        assert_eq!(found.len(), 2, "{}: {found:?}", file.display());
        found.into_iter().for_each(|offset| check("a file", offset, 0));
    }
    daemon.finish();
}
