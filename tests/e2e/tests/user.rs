//! `--user`: what is left of root's rights.

use std::fs;
use std::process::Command;

use e2e::frames::{EXPERIMENT_FILTER, Source, frames, numbers};
use e2e::process::run;
use e2e::programs::program;
use e2e::{Client, Daemon, Lab, Needs, Process, Start, wait_until};
use nix::unistd::User;
use rpcap_proto::wire::StartFlags;

/// A user that every host has.
const USER: &str = "nobody";

/// The lines of every thread's status that begin with one of `keys`.
fn rights(daemon: &Daemon, keys: &[&str]) -> Vec<Vec<String>> {
    let tasks = format!("/proc/{}/task", daemon.process.pid());
    let tasks = fs::read_dir(tasks).expect("its threads");
    let of_thread = |status: String| {
        let lines = status.lines().filter(|line| keys.iter().any(|key| line.starts_with(key)));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    // A thread may end meanwhile.
    let statuses = tasks.flatten().map(|task| fs::read_to_string(task.path().join("status")));
    statuses.filter_map(Result::ok).map(of_thread).collect()
}

#[test]
fn every_thread_can_capture_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    let user = User::from_name(USER).expect("the users").expect("nobody");
    let (pid, status) = (lab.path("pid"), lab.path("status"));
    let daemon = Daemon::start_with(
        &lab,
        &["-n", "--user", USER, "--pid-file", &pid.display().to_string(), "--status-socket"]
            .into_iter()
            .chain([status.display().to_string().as_str()])
            .collect::<Vec<_>>(),
    );
    let mut client = Client::on_b0(&daemon);
    let flags = StartFlags(StartFlags::PROMISC.0 | StartFlags::DATAGRAM.0);
    let start = Start { flags, ..Start::filtered(EXPERIMENT_FILTER) };
    let data = client.start(&start).expect("STARTCAP");
    assert_eq!(lab.net.b.promiscuity("b0"), 1);
    Source::new(&lab.net.a, "a0").send_all(&frames(0..5));
    assert_eq!(numbers(&data.wait_for(5)), [0, 1, 2, 3, 4]);

    let (uid, gid) = (user.uid, user.gid);
    let wanted = [
        format!("Uid: {uid} {uid} {uid} {uid}"),
        format!("Gid: {gid} {gid} {gid} {gid}"),
        format!("Groups: {gid}"),
        // CAP_NET_RAW is number 13.
        "CapInh: 0000000000000000".to_owned(),
        "CapPrm: 0000000000002000".to_owned(),
        "CapEff: 0000000000002000".to_owned(),
        "CapAmb: 0000000000000000".to_owned(),
    ];
    let keys = ["Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
    let threads = rights(&daemon, &keys);
    assert!(threads.len() >= 4, "main, signals, session, pump: {threads:?}");
    for thread in threads {
        assert_eq!(thread, wanted);
    }
    assert_eq!(daemon.process.lines("running as nobody with CAP_NET_RAW").len(), 1);

    client.end_capture().expect("ENDCAP");
    let mut command = Command::new(program("rpcapd"));
    run(command.arg("status").arg("--status-socket").arg(&status));
    client.close();
    daemon.finish();
    assert!(!pid.exists() && !status.exists(), "files are left behind");
}

#[test]
fn users_that_are_no_good_are_refused() {
    let Some(lab) = Lab::with(Needs { programs: &["setpriv"], ..Needs::default() }) else { return };
    let fails = |command: &mut Command, reason: &str| {
        let plain = ["-n", "-b", "127.0.0.1", "-p", "0", "--status-socket", "none"];
        let mut failed = Process::start(command.args(plain));
        assert!(!failed.wait().success());
        assert!(failed.stderr().contains(reason), "{}", failed.stderr());
    };
    let rpcapd = || lab.net.b.command(program("rpcapd"));
    fails(rpcapd().args(["--user", "no-such-user"]), "no such user");
    let mut without = lab.net.b.command("setpriv");
    without.args(["--bounding-set", "-net_raw", "--"]).arg(program("rpcapd"));
    fails(without.args(["--user", USER]), "no CAP_NET_RAW to keep");
    let program = e2e::lab::for_every_user(&lab, &program("rpcapd"));
    let mut nobody = lab.net.b.command("setpriv");
    nobody.args(["--reuid", "1", "--regid", "1", "--clear-groups", "--"]).arg(program);
    fails(nobody.args(["--user", USER]), "only root can become another user");
}

/// In a directory that the user may not write to, the file cannot go; it then names nobody.
#[test]
fn a_file_that_cannot_be_removed_is_emptied() {
    let Some(lab) = Lab::new() else { return };
    let directory = lab.path("run");
    fs::create_dir(&directory).expect("a directory");
    let pid = directory.join("pid");
    let daemon =
        Daemon::start_with(&lab, &["-n", "--user", USER, "--pid-file", &pid.display().to_string()]);
    wait_until("it is ready", || daemon.process.lines("running as nobody").len() == 1);
    daemon.finish();
    assert_eq!(fs::read_to_string(&pid).expect("the file"), "");
}
