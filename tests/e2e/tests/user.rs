//! `--user`: what is left of root's rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use e2e::frames::{EXPERIMENT_FILTER, Source, frames, numbers};
use e2e::lab::{for_the_daemon, service_user};
use e2e::process::run;
use e2e::programs::program;
use e2e::{Client, Daemon, Lab, Needs, Process, Start, wait_until};
use nix::sys::signal::Signal;
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
        "CapBnd: 0000000000002000".to_owned(),
        "CapAmb: 0000000000000000".to_owned(),
        "NoNewPrivs: 1".to_owned(),
        "Seccomp: 2".to_owned(),
    ];
    let keys = [
        &["Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"][..],
        &["NoNewPrivs:", "Seccomp:"],
    ];
    let keys = keys.concat();
    let threads = rights(&daemon, &keys);
    assert!(threads.len() >= 4, "main, signals, session, pump: {threads:?}");
    for thread in threads {
        assert_eq!(thread, wanted);
    }
    assert_eq!(daemon.process.lines("running as nobody with CAP_NET_RAW").len(), 1);

    // All threads have three filters, and the one that forwards another one.
    let filters = rights(&daemon, &["Seccomp_filters:"]).concat();
    let count = |n: &str| filters.iter().filter(|f| **f == format!("Seccomp_filters: {n}")).count();
    assert_eq!((count("4"), count("3")), (1, filters.len() - 1), "{filters:?}");
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

#[test]
fn roots_daemon_becomes_the_service_user_unless_it_is_told_not_to() {
    let Some(lab) = Lab::new() else { return };
    let user = service_user();
    let daemon = Daemon::start_with(&lab, &["-n", "-e", "-7,1000"]);
    assert_eq!(daemon.status("Uid"), u64::from(user.uid.as_raw()));
    let warned = daemon.process.lines("useradd").len();
    assert_eq!(warned, usize::from(user.name != "rpcapd"));
    // A right of root's that a thread has without being root.
    let mut client = Client::on_b0(&daemon);
    let _data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    match may_raise_limits() {
        true => wait_until("the thread that captures is preferred", || nice(&daemon).contains(&-7)),
        false => drop(daemon.process.wait_for_line("nice value not set: Permission denied")),
    }
    daemon.finish();

    let daemon = Daemon::start_with(&lab, &["-n", "--user", "root"]);
    assert_eq!(daemon.status("Uid"), 0);
    assert_eq!(daemon.status("Seccomp"), 2);
    assert_eq!(daemon.process.lines("WARN --user root: the daemon keeps ALL RIGHTS").len(), 1);
    daemon.finish();
}

/// Whether root may do here what it may elsewhere (`CAP_SYS_RESOURCE`, number 24).
fn may_raise_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("this process's status");
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("rights");
    u64::from_str_radix(rights.trim(), 16).expect("a number") & (1 << 24) != 0
}

/// The nice values of its threads.
fn nice(daemon: &Daemon) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.process.pid())).expect("its threads");
    let of_thread = |stat: String| {
        // What comes before is a name in parentheses; the nice value is field 19.
        stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
    };
    let stats = tasks.flatten().filter_map(|t| fs::read_to_string(t.path().join("stat")).ok());
    stats.filter_map(of_thread).collect()
}

#[test]
fn an_ordinary_user_gives_up_what_capturing_does_not_take() {
    let Some(lab) = Lab::with(Needs { programs: &["setpriv"], ..Needs::default() }) else { return };
    let mut command = lab.net.b.command("setpriv");
    command
        .args(["--reuid", "1", "--regid", "1", "--clear-groups"])
        .args(["--inh-caps", "-all,+net_raw,+net_admin,+dac_override"])
        .args(["--ambient-caps", "-all,+net_raw,+net_admin,+dac_override", "--"])
        .arg(e2e::lab::for_every_user(&lab, &program("rpcapd")))
        .args(["-n", "-b", "127.0.0.1", "-p", "0"]);
    let daemon = Daemon::run(&lab, &mut command, 1);
    for thread in rights(&daemon, &["Uid:", "CapPrm:", "CapInh:", "CapAmb:"]) {
        let none = "0000000000000000";
        let wanted = ["Uid: 1 1 1 1".to_owned(), format!("CapInh: {none}")];
        assert_eq!(thread[..2], wanted);
        assert_eq!(thread[2..], ["CapPrm: 0000000000002000".to_owned(), format!("CapAmb: {none}")]);
    }
    daemon.finish();
}

/// What root could read, and the daemon cannot, is told at the start and at the reload, which changes
/// nothing; so is what the sandbox keeps from it.
#[test]
fn files_that_only_root_can_read_are_told() {
    let Some(lab) = Lab::new() else { return };
    let [config, elsewhere] = ["own/rpcapd.toml", "elsewhere/users"].map(|name| lab.path(name));
    let write = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
    };
    write(&config, "null-auth = true\n");
    write(&elsewhere, "");
    let daemon = Daemon::start_with(&lab, &["-f", config.to_str().expect("a path of ours")]);
    daemon.process.wait_for_line("rpcapd.toml: Permission denied");
    let uid = service_user().uid;
    for (text, told) in [
        (None, format!("user {uid} must be able to read it")),
        (Some(format!("users = {elsewhere:?}\n")), "named at the start: restart".to_owned()),
    ] {
        if let Some(text) = text {
            fs::write(&config, format!("null-auth = true\n{text}")).expect("a configuration");
            for_the_daemon(&config);
            for_the_daemon(&elsewhere);
        }
        daemon.process.signal(Signal::SIGHUP);
        let line = daemon.process.wait_for_line(&told);
        assert!(line.contains("configuration not changed: "), "{line}");
    }
    // The old settings are in force.
    Client::on_b0(&daemon).close();
    daemon.finish();
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
