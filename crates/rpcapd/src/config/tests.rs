use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;
use crate::settings::Settings;

mod hostile;
/// The page is of the options on Linux.
#[cfg(unix)]
mod manual;
mod save;

/// A directory of a test's own, gone when it is.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rpcapd-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn args(file: &Path, more: &[&str]) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["rpcapd".into(), "-f".into(), file.into()];
    args.extend(more.iter().map(OsString::from));
    args
}

/// Loads this text as a file of this name, behind a command line.
fn load_text(name: &str, text: impl AsRef<[u8]>, more: &[&str]) -> Result<Config, Vec<String>> {
    let scratch = Scratch::new();
    let file = scratch.write(name, text);
    let directory = format!("{}{}", scratch.0.display(), std::path::MAIN_SEPARATOR);
    load(&args(&file, more))
        .map_err(|e| e.0.iter().map(|line| line.replace(&directory, "")).collect())
}

fn toml(text: &str) -> Result<Config, Vec<String>> {
    load_text("c.toml", text, &[])
}

fn ini(text: impl AsRef<[u8]>) -> Result<Config, Vec<String>> {
    load_text("c.ini", text, &[])
}

/// The same settings by the command line alone.
fn by_hand(arguments: &[&str]) -> Cli {
    let args = ["rpcapd"].iter().chain(arguments).map(OsString::from);
    load(&args.collect::<Vec<_>>()).unwrap().cli
}

#[track_caller]
fn assert_same(config: &Config, arguments: &[&str]) {
    let expected = by_hand(arguments);
    assert!(config.cli.same_settings(&expected), "{:#?}\nis not\n{expected:#?}", config.cli);
}

#[test]
fn every_kind_of_value() {
    let config = toml(
        r#"
        null-auth = true
        dry-run = false
        port = 0x7d2
        "udpstr-mtu" = 1_472
        buffer = "4194304"
        init-timeout = 0.5
        allow = ["10.0.0.0/8", "host;fd00::1"]
        active = ["a", "b,2004,ifname=eth0"]
        nice = [-5, 1000]
        threads = "-1,-1"
        bind-device = '''
          two
          lines'''
        "#,
    );
    let expected = [
        "-n",
        "-t1472",
        "-z4194304",
        "--init-timeout=0.5",
        "-l10.0.0.0/8,host,fd00::1",
        "-aa",
        "-ab,2004,ifname=eth0",
        "-e-5,1000",
        "-c-1,-1",
        "--bind-device=          two\n          lines",
    ];
    assert_same(&config.unwrap(), &expected);
}

#[test]
fn collectors_may_have_what_is_theirs() {
    let config = toml(
        r#"
        active = "a"
        [[peer]]
        host = "fd00::1"
        [[peer]]
        host = "b"
        port = 2004
        ifname = "eth0"
        ifaddr = "10.0.0.0/8"
        snaplen = 96
        udpstr-mtu = 0
        bind-device = "eth9"
        tls = false
        "#,
    )
    .unwrap();
    let peers = Settings::new(config.cli.clone()).unwrap().peers;
    let shown: Vec<_> = peers.iter().map(|p| p.to_string()).collect();
    assert_eq!(shown, ["a:2003", "[fd00::1]:2003", "b:2004 (ifname=eth0,ifaddr=10.0.0.0/8)"]);
    let last = &peers[2];
    assert_eq!(last.snaplen, Some(96));
    assert_eq!((last.udpstr_mtu, last.bind_device.as_deref()), (Some(0), Some("eth9")));
    assert_eq!((last.tls, peers[1].tls), (Some(false), None));
    let mut cli = config.cli;
    cli.peers[0].tls = Some(true);
    let error = Settings::new(cli).unwrap_err();
    assert_eq!(error, "[[peer]] [fd00::1]:2003: tls = true needs --tls and its certificate");
}

#[test]
fn the_command_line_wins_as_a_whole() {
    let file = "port = 1\nallow = '10.0.0.0/8'\nactive = ['a', 'b']\n[[peer]]\nhost = 'c'\n";
    let load = |more: &[&str]| load_text("c.toml", file, more).unwrap();
    let all = ["-p1", "-l10.0.0.0/8", "-aa", "-ab", "-ac"];
    assert_same(&load(&[]), &all);
    assert_same(&load(&["-p", "2002"]), &["-l10.0.0.0/8", "-aa", "-ab", "-ac"]);
    assert_same(&load(&["-a", "d"]), &["-p1", "-l10.0.0.0/8", "-ad"]);
    assert_same(&load(&["-l", "::1", "--"]), &["-p1", "-l::1", "-aa", "-ab", "-ac"]);
    let ini = load_text("c.ini", "PassiveClient = a\nNullAuthPermit = NO\n", &["-n"]).unwrap();
    assert_same(&ini, &["-la", "-n"]);
}

#[test]
fn errors_say_where_and_what_is_allowed() {
    let failed = |text: &str| toml(text).unwrap_err();
    assert_eq!(failed("port = 1\nport = 2"), ["c.toml:2:1: duplicate key"]);
    assert_eq!(
        failed("# ä\nudpstr-mtu = 12\nipv4-only = 'yes'\nsnaplen = 0\nlatency = [1]"),
        [
            "c.toml:2:14: udpstr-mtu = \"12\": expected 0 or a number from 256 to 65000",
            "c.toml:3:13: ipv4-only: expected true or false, not a string",
            "c.toml:4:11: snaplen = \"0\": 0 is not in 1..=262144",
            "c.toml:5:11: latency: expected a string or a number, not a list",
        ]
    );
    assert_eq!(
        failed("port = 'http'\nallow = ['10.0.0.1', '10.0.0.0/33']\nallow2 = 1\nsave = 'x'"),
        [
            "c.toml:1:8: port = \"http\": expected a whole number",
            "c.toml:2:22: allow = \"10.0.0.0/33\": \"10.0.0.0/33\" is not an address or a prefix such \
             as 10.0.0.0/8 or fd00::/8",
            "c.toml:3:1: \"allow2\": there is no such key: is allow meant?",
            "c.toml:4:1: \"save\": only the command line can say this",
        ]
    );
    assert_eq!(
        failed("[[peer]]\nport = 0\nsnaplen = 'x'\n[[peer]]\nhost = 'a b'\n"),
        [
            "c.toml:2:8: port = \"0\": expected a number from 1 to 65535, or DEFAULT",
            "c.toml:3:11: snaplen = \"x\": expected a whole number",
            "c.toml:1:1: [[peer]]: host is missing: expected a name or an address",
            "c.toml:5:8: host = \"a b\": expected a name or an address",
        ]
    );
    assert_eq!(
        failed("[[peer]]\nhost = 'a'\nifmac = 'x'\n"),
        ["c.toml:3:1: \"ifmac\": [[peer]] has no such key; there are host, port, ifname, ifaddr, \
             tls, filter, snaplen, udpstr-mtu, bind-device"]
    );
    for (text, part) in [
        (
            "user = 'no such user'",
            if cfg!(unix) { "this host has no such user" } else { "Unix only" },
        ),
        ("threads = 100000", "core 100000"),
        ("threads = [0, 0, 0]", "c.toml:1:1: threads: expected single, N or A,B"),
        ("allow = []", "c.toml:1:1: allow: the list of allowed hosts is empty"),
        ("bind-device = \"e\\u001bth0\"", "c.toml:1:15: bind-device: the character '\\u{1b}'"),
        ("bind = ", "c.toml:1:8: "),
        ("zzzzz = 1", "there is no such key; there are bind, port, "),
        ("peer = 1", "expected [[peer]]"),
        ("peer = [{ host = 'a' }, 1]", "c.toml:1:25: peer: expected [[peer]]"),
        ("a = { b = 1 }\n", "c.toml:1:1: \"a\""),
        ("port = { b = 1 }\n", "expected a string or a number, not a table"),
        ("[port]\nb = 1\n", "expected a string or a number, not a table"),
        ("active-only = true", "c.toml: --active-only, but"),
        ("active = ['a', 'a']", "to be called twice"),
    ] {
        let errors = match toml(text) {
            Err(errors) => errors.join("\n"),
            Ok(config) => config.blame(&Settings::new(config.cli.clone()).unwrap_err()),
        };
        assert!(errors.contains(part), "{text}: {errors}");
    }
}

/// Libpcap compiles filters, and is loaded for it. Without it a test says that it cannot run.
fn has_libpcap(test: &str) -> bool {
    let works = capture::libpcap::compile("tcp", capture::LinkType::ETHERNET, 100, true);
    if let Err(reason) = &works {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
    }
    works.is_ok()
}

#[test]
fn filters_are_compiled_when_they_are_read() {
    if !has_libpcap("filters_are_compiled_when_they_are_read") {
        return;
    }
    let config =
        toml("filter = '''tcp or\nudp'''\n[[peer]]\nhost = 'a'\nfilter = 'icmp'\n").unwrap();
    assert_eq!(config.cli.filter.as_deref(), Some("tcp or\nudp"));
    assert_eq!(config.cli.peers[0].filter.as_deref(), Some("icmp"));
    let errors = toml("filter = 'tcp porrt 1'\n[[peer]]\nhost = 'a'\nfilter = ' ('\n").unwrap_err();
    assert!(errors[0].starts_with("c.toml:1:10: filter = \"tcp porrt 1\": "), "{errors:?}");
    assert!(errors[1].starts_with("c.toml:4:10: filter = \" (\": "), "{errors:?}");
}

/// They name a user to run as.
#[cfg(unix)]
#[test]
fn files_of_both_dialects() {
    let extrahop = ini(include_str!("../../tests/golden/extrahop.ini")).unwrap();
    assert_same(
        &extrahop,
        &[
            "-a192.0.2.10,2003,ifname=eth0",
            "-a192.0.2.10,2003,ifaddr=10.20.0.0/16",
            "-aeda.example.com,2003,ifname=eth1,ifaddr=2001:db8::/32",
            "-a192.0.2.11,2004",
            "-l198.51.100.7,198.51.100.8,eda.example.com",
            "-n",
            "--user=root",
        ],
    );
    let libpcap = ini(include_str!("../../tests/golden/libpcap.ini")).unwrap();
    assert_same(&libpcap, &["-l198.51.100.7,fd00::7", "-a192.0.2.10,2003", "-a192.0.2.11"]);
    assert!(extrahop.notes.is_empty() && libpcap.notes.is_empty());
}

#[test]
fn the_sample_is_correct() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rpcapd.toml");
    let config = load(&args(&path, &[])).unwrap();
    Settings::new(config.cli).unwrap();
    // What is commented out is correct as well.
    if !has_libpcap("the_sample_is_correct") {
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    let all: String =
        text.lines().map(|l| format!("{}\n", l.strip_prefix('#').unwrap_or(l))).collect();
    let all = all.lines().filter(|l| !l.starts_with(' ')).collect::<Vec<_>>().join("\n");
    let config = toml(&all).unwrap();
    assert!(config.given.len() > 15 && config.peers.len() == 2, "{all}");
}
