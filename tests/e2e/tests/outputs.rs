//! Several outputs at once: what becomes of one is nothing to another.

use std::path::Path;
use std::process::Command;

use e2e::frames::{EXPERIMENT_FILTER, Source, assert_frames, frame, frames_of_many_sizes};
use e2e::listener::Listener;
use e2e::process::run;
use e2e::savefile::{self, Packet};
use e2e::{Daemon, Lab, Process};

/// The packets of all files in a directory.
fn kept(directory: &Path) -> Vec<Packet> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut files: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files.iter().flat_map(|file| savefile::read(file).packets).collect()
}

#[test]
fn a_full_disk_of_one_output_is_nothing_to_another() {
    let Some(lab) = Lab::new() else { return };
    let small = lab.path("small");
    std::fs::create_dir(&small).expect("a directory");
    let mut mount = Command::new("mount");
    run(mount.args(["-t", "tmpfs", "-o", "size=700k", "tmpfs"]).arg(&small));
    let policy = format!(
        "[output.small]\nto = \"directory:small\"\n[output.files]\ndirectory = \"captures\"\n\
         [[agent]]\nfilter = \"{EXPERIMENT_FILTER}\"\ninterfaces = [\"b0\"]\n\
         output = [\"small\", \"files\"]\n"
    );
    let listener = Listener::start(&lab, &lab.net.b, "127.0.0.1", &policy);
    let daemon = Daemon::calling(&lab, &["-a", &listener.active()]);
    listener.wait_for_captures(1);
    let sent: Vec<_> = (0..1000).map(|n| frame(n, 1000)).collect();
    Source::new(&lab.net.a, "a0").send_all(&sent);
    listener.process.wait_for_line("small/");
    let got = listener.finish();
    assert_frames("the other output", &sent, &got.packets);
    let account = &got.accounts["127.0.0.1 b0"];
    assert_eq!((account.get("sent"), account.get("delivered")), (1000, 1000), "{}", account.line);
    let written = kept(&small).len() as u64;
    assert!((1..1000).contains(&written), "{written}");
    assert_eq!(account.get("written"), 1000 + written, "{}", account.line);
    assert_eq!(account.get("not-written"), 1000 - written, "{}", account.line);
    run(Command::new("umount").arg(&small));
    daemon.finish();
}

#[test]
fn a_capture_is_given_to_others_while_it_is_written() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let (file, first, second) = (lab.path("all.pcapng"), lab.path("first"), lab.path("second"));
    let url = format!("rpcap://{}/b0", daemon.address());
    let to = [&first, &second].map(|path| format!("directory:{}", path.display()));
    let mut command = lab.rpcap();
    command.args(["capture", &url, "-f", EXPERIMENT_FILTER, "-c", "300", "-w"]).arg(&file);
    let mut client = Process::start(command.args(["--to", &to[0], "--to", &to[1]]));
    client.wait_for_line("capturing from");
    let sent = frames_of_many_sizes(1..301);
    Source::new(&lab.net.a, "a0").send_all(&sent);
    client.wait_success();
    assert_frames("the file", &sent, &savefile::read(&file).packets);
    for directory in [&first, &second] {
        assert_frames("an output", &sent, &kept(directory));
        let line = client.wait_for_line(&format!("to {}: ", directory.display()));
        assert!(line.ends_with("300 = 300 taken + 0 not taken + 0 too many at once"), "{line}");
    }
    daemon.finish();
}

#[test]
fn an_output_that_cannot_be_had_ends_it_before_anything_is_captured() {
    let Some(lab) = Lab::new() else { return };
    let daemon = Daemon::start(&lab);
    let url = format!("rpcap://{}/b0", daemon.address());
    for (to, code, why) in [
        ("directory:/proc/none", 8, "cannot write to /proc/none"),
        ("cable:a", 2, "is none of directory:DIR"),
    ] {
        let output = lab.rpcap().args(["capture", &url, "--to", to]).output().expect("rpcap");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(why), "{said}");
    }
    daemon.finish();
}
