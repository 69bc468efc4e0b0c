//! `rpcapd.exe` as a service, under Wine.
//!
//! Wine has a service manager, no virtual accounts, privileges or rights of files, and no logons that
//! succeed. Its event log goes nowhere but shows what it is given.

#[path = "windows_service/wine.rs"]
mod wine;

use std::fs;
use std::process::Command;

use e2e::frames::{numbers, send_datagrams};
use e2e::process::run;
use e2e::programs::workspace;
use e2e::{Client, Lab, Process, savefile, wait_until};
use rpcap_proto::wire::Device;
use wine::Wine;

const DIRECTORY: &str = r"C:\Program Files\rpcapd";
const PROGRAM: &str = r"C:\Program Files\rpcapd\rpcapd.exe";
const CONFIG: &str = r"C:\Program Files\rpcapd\rpcapd.toml";

/// Codes of ControlService.
const PAUSE: &str = "2";
const CONTINUE: &str = "3";
const PARAM_CHANGE: &str = "6";

/// Sends a control code to the service.
fn control(wine: &Wine<'_>, code: &str) {
    let program = wine.lab.path("control.exe");
    if !program.exists() {
        let source = workspace().join("tests/e2e/tests/windows_service/control.c");
        run(Command::new("x86_64-w64-mingw32-gcc").arg("-o").arg(&program).arg(source));
    }
    wine.run(program.to_str().expect("a path of ours"), &["rpcapd", code]);
}

#[test]
fn installed_started_captured_from_read_again_stopped_and_removed() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let options = ["-n", "-b", "127.0.0.1", "-p", "2002", "--status-socket", "none"];
    let install = ["install", "--to", DIRECTORY, "--config", CONFIG, "--"];
    let said = wine.service(&[&install[..], &options].concat());
    assert!(said.contains(&format!("install the service rpcapd: {PROGRAM}")), "{said}");

    let service = wine.registry("rpcapd").expect("the service");
    let command = format!(r#""{PROGRAM}" -d -f "{CONFIG}""#);
    for value in [command.as_str(), r"NT SERVICE\rpcapd", "Remote Packet Capture (rpcapd)"] {
        assert!(service.contains(value), "{value} in {service}");
    }
    let source = wine.registry(r"EventLog\Application\rpcapd").expect("the event source");
    assert!(source.contains("EventCreate.exe"), "{source}");

    assert_eq!(wine.service(&["start"]), "rpcapd: the service runs\n");
    assert_eq!(wine.service(&["start"]), "rpcapd: the service was running already\n");
    wine.wait_for_event("trace", "listening on 127.0.0.1:2002");

    // A session that is there for the rest of this.
    let address = "127.0.0.1:2002".parse().expect("an address");
    let mut session = Client::connect_from(&lab.net.b, address);
    let devices = session.devices().expect("a list of devices");
    let is_lo = |device: &&Device| String::from_utf8_lossy(&device.description).contains("lo");
    let lo = devices.iter().find(is_lo).expect("Wine has the interface's name in the description");
    let url = format!("rpcap://127.0.0.1:2002/{}", String::from_utf8_lossy(&lo.name));
    let mut capture = lab.rpcap();
    capture.args(["capture", &url, "-f", "udp and greater 100", "-c", "20", "-w"]);
    let mut capture = Process::start(capture.arg(lab.path("out.pcap")));
    capture.wait_for_line("capturing from");
    send_datagrams(&lab.net.b, "127.0.0.1", 0..20, 200);
    capture.wait_success();
    let got = savefile::read(&lab.path("out.pcap"));
    assert_eq!(numbers(&got.packets), (0..20).collect::<Vec<_>>());

    let config = wine.drive().join("Program Files/rpcapd/rpcapd.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    let change = |more: &str| fs::write(&config, format!("{text}{more}\n")).expect("writing it");
    change("max-sessions = 9");
    control(&wine, PAUSE);
    wine.wait_for_event("trace", "configuration read again: changed: max-sessions;");
    assert_eq!(wine.state(), "PAUSED", "after the configuration was read as well");
    change("snaplen = 99");
    control(&wine, CONTINUE);
    wine.wait_for_event("trace", "configuration read again: changed: max-sessions, snaplen;");
    assert_eq!(wine.state(), "RUNNING");
    change("no-such-key = 1");
    control(&wine, PARAM_CHANGE);
    wine.wait_for_event("err", "configuration not changed: ");
    assert_eq!(wine.state(), "RUNNING");
    session.devices().expect("the session goes on");

    assert_eq!(wine.service(&["stop"]), "rpcapd: the service has stopped\n");
    assert_eq!(wine.state(), "STOPPED");
    wine.wait_for_event("trace", "the service is to stop: ending");
    wine.wait_for_event("trace", "session ended");
    assert!(session.receive().is_none(), "the session ended");

    // Now it cannot start, which the manager hears at once.
    let said = wine.refused(&["start"]);
    assert!(said.contains("the event log (Application) says why"), "{said}");
    wine.wait_for_event("err", "no-such-key");

    let said = wine.service(&["uninstall"]);
    assert!(said.contains("stop and remove the service rpcapd"), "{said}");
    assert_eq!(wine.registry(r"EventLog\Application\rpcapd"), None);
    assert_eq!(wine.service(&["uninstall"]), "rpcapd: there is no such service\n");
    assert!(wine.refused(&["start"]).contains("1060"));
    assert!(config.exists(), "the configuration stays");
}

#[test]
fn an_upgrade_keeps_the_configuration_and_the_service_runs_again() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    // As the installer of ExtraHop's rpcapd leaves it.
    let directory = wine.drive().join("Program Files/rpcapd");
    fs::create_dir_all(&directory).expect("its directory");
    let ini = format!(r"{DIRECTORY}\rpcapd.ini");
    let text = "ActiveClient = 127.0.0.1, 9\r\n\r\nNullAuthPermit = YES\r\n";
    fs::write(directory.join("rpcapd.ini"), text).expect("its configuration");
    wine.service(&["install", "--to", DIRECTORY, "--", "-v", "-f", &ini]);
    wine.service(&["uninstall"]);
    let command = format!(r#""{PROGRAM}" -v -d -f "{ini}""#);
    wine.run("sc", &["create", "rpcapd", "binPath=", &command]);
    wine.run("sc", &["start", "rpcapd"]);
    wait_until("it runs", || wine.state() == "RUNNING");
    wine.wait_for_event("warn", "connecting to 127.0.0.1:9: ");

    let said = wine.service(&["install", "--to", DIRECTORY, "--", "-v", "-f", &ini]);
    assert!(said.contains("start the service again"), "{said}");
    assert_eq!(wine.state(), "RUNNING");
    let service = wine.registry("rpcapd").expect("the service");
    assert!(service.contains(r"NT SERVICE\rpcapd"), "{service}");

    let keep = ["install", "--config", CONFIG, "--keep-config", "--", "-n", "-a", "127.0.0.1,9"];
    assert!(wine.service(&keep).contains("save OPTIONS"));
    let said = wine.service(&keep);
    assert!(said.contains(&format!("{CONFIG} is kept: OPTIONS are not heeded")), "{said}");
    let text = fs::read_to_string(directory.join("rpcapd.toml")).expect("the new configuration");
    assert_eq!(text, "null-auth = true\nactive = [\"127.0.0.1,9\"]\n");
    let only = ["install", "--config", CONFIG, "--config-only", "--", "-n", "-a", "127.0.0.1,10"];
    assert!(wine.service(&only).ends_with("rpcapd.toml\n"), "it does nothing else");
    let text = fs::read_to_string(directory.join("rpcapd.toml")).expect("the new configuration");
    assert!(text.contains("127.0.0.1,10"), "{text}");
}

#[test]
fn mistakes_come_to_light_before_anything_is_done() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    for (arguments, reason) in [
        (&["install", "--", "--no-such-option"][..], "--no-such-option"),
        (&["install", "--", "-f", "rpcapd.toml"], "expected a full path"),
        (&["install", "--", "-f", r"C:\nowhere.toml"], "nowhere.toml"),
        (&["install", "--", "-v", "-n"], "nobody to call"),
        (&["install", "--", "status"], "OPTIONS"),
        (&["install", "--keep-config", "--", "-n"], "--config"),
        (&["install", "--", "--windows-users", "no-such-account"], "no-such-account"),
    ] {
        let said = wine.refused(arguments);
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
    let dry = ["install", "--dry-run", "--to", DIRECTORY, "--config", CONFIG, "--", "-n"];
    let said = wine.service(&dry);
    assert_eq!(said.matches("would do: ").count(), 4, "{said}");
    assert_eq!(wine.registry("rpcapd"), None);
    assert_eq!(wine.registry(r"EventLog\Application\rpcapd"), None);
    assert!(!wine.drive().join("Program Files/rpcapd").exists());
    let mut alone = Process::start(&mut wine.rpcapd(&["-d", "-n"]));
    assert!(!alone.wait().success());
    assert!(alone.stderr().contains("rpcapd service install"), "{}", alone.said());
    check_script(&wine);
}

#[test]
fn npcap_decides_whom_it_runs_as() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    const NPCAP: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\npcap\Parameters";
    let admin_only = |value| {
        let value = ["/v", "AdminOnly", "/t", "REG_DWORD", "/d", value, "/f"];
        wine.run("reg", &[&["add", NPCAP][..], &value].concat());
    };
    let install = |account: &[&str]| {
        let said = wine.service(&[&["install"][..], account, &["--", "-n"]].concat());
        // Seen once in a busy run: reg found nothing.
        let mut service = None;
        wait_until("the service is registered", || {
            service = wine.registry("rpcapd");
            service.is_some()
        });
        (said, service.unwrap_or_default())
    };
    let (said, _) = install(&[]);
    assert!(said.contains("there is a wpcap.dll but no Npcap"), "Wine's: {said}");
    admin_only("1");
    let (said, service) = install(&[]);
    assert!(said.contains("Npcap is restricted to administrators: the service runs as the system"));
    assert!(service.contains("LocalSystem"), "{service}");
    let (said, service) = install(&["--account", "virtual"]);
    assert!(said.contains("the service will find no devices"), "{said}");
    assert!(service.contains(r"NT SERVICE\rpcapd"), "{service}");
    admin_only("0");
    let (said, service) = install(&[]);
    assert!(!said.contains("pcap is") && !said.contains("wpcap.dll"), "{said}");
    assert!(service.contains(r"NT SERVICE\rpcapd"), "{service}");
    let (_, service) = install(&["--account", "system"]);
    assert!(service.contains("LocalSystem"), "{service}");
}

/// Wine's logons never succeed, so that only refusals can be seen.
#[test]
fn accounts_that_are_not_named_and_wrong_passwords_let_nobody_in() {
    let Some(lab) = Lab::new() else { return };
    let Some(wine) = Wine::start(&lab) else { return };
    let me = wine.run("cmd", &["/c", "echo %USERNAME%"]);
    let options = ["-b", "127.0.0.1", "-p", "2002", "--status-socket", "none"];
    let accounts = ["--allow-cleartext-passwords", "--windows-users", me.trim()];
    let daemon = Process::start(wine.rpcapd(&options).args(accounts));
    daemon.wait_for_line("listening on ");
    let log_in = |name: &str| {
        let mut command = lab.rpcap();
        command.args(["devices", "--user", name, "127.0.0.1:2002"]).env("RPCAP_PASSWORD", "x");
        let mut client = Process::start(&mut command);
        assert!(!client.wait().success());
        assert!(client.said().contains("Authentication failed"), "{}", client.said());
    };
    log_in("Guest");
    daemon.wait_for_line("password refused: ");
    log_in(&me.trim().to_uppercase());
    daemon.wait_for_lines("password refused: ", 2);
}

/// The file that the script fetches has what it looks for, and its options are options of the program.
fn check_script(wine: &Wine<'_>) {
    let script = workspace().join("packaging/windows/install-rpcapd.ps1");
    let script = fs::read_to_string(script).expect("the installer");
    let programs = std::env::var_os("RPCAP_WINDOWS").expect("Wine started");
    let zip = run(Command::new(workspace().join("scripts/windows-zip")).arg(programs));
    assert!(script.contains(zip.trim().rsplit('/').next().expect("a name")), "{zip}");
    let list = run(Command::new("python3").args(["-m", "zipfile", "-l", zip.trim()]));
    for name in ["rpcapd.exe", "rpcap.exe", "install-rpcapd.ps1", "LICENSE-MIT"] {
        assert!(list.contains(name), "{list}");
    }
    let help = wine.service(&["install", "--help"]);
    let code = script.split("#>").nth(1).expect("what is behind the help");
    let words = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let options: Vec<_> = words.filter(|word| word.len() > 2 && word.starts_with("--")).collect();
    assert!(options.contains(&"--keep-config"), "{options:?}");
    for option in options {
        assert!(help.contains(option), "{option} in {help}");
    }
}
