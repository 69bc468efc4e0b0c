//! What is special to `--backend libpcap`. Everything else runs over it with `RPCAP_BACKEND=libpcap`.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use e2e::client::{Client, Start};
use e2e::process::{Process, run};
use e2e::programs::program;
use e2e::{Daemon, Lab, Needs, wait_until};

/// `DLT_NFLOG`
const NFLOG: u32 = 239;

#[test]
fn netfilters_log_is_a_device_of_libpcaps_alone() {
    let needs = Needs { programs: &["nft", "ping"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let nft = |words: &str| run(lab.net.b.command("nft").args(words.split(' ')));
    nft("add table ip t");
    nft("add chain ip t out { type filter hook output priority 0 ; }");
    nft("add rule ip t out icmp type echo-request log group 0");

    let names = |daemon: &Daemon| {
        let devices = Client::connect(daemon).devices().unwrap();
        devices.into_iter().map(|d| String::from_utf8(d.name).unwrap()).collect::<Vec<_>>()
    };
    let daemon = Daemon::start_with(&lab, &["-n", "--backend", "af-packet"]);
    assert!(!names(&daemon).contains(&"nflog".to_owned()));
    daemon.finish();

    // It takes CAP_NET_ADMIN, which a daemon that becomes an ordinary user gives up.
    let daemon = Daemon::start_with(&lab, &["-n", "--backend", "libpcap"]);
    assert!(names(&daemon).contains(&"nflog".to_owned()));
    let refused = Client::connect(&daemon).open("nflog").unwrap_err();
    assert!(refused.text.contains("nflog"), "{refused}");
    daemon.finish();

    let daemon = Daemon::start_with(&lab, &["-n", "--backend", "libpcap", "--user", "root"]);
    let mut client = Client::connect(&daemon);
    assert_eq!(client.open("nflog").unwrap(), NFLOG);
    let data = client.start(&Start::default()).unwrap();
    run(lab.net.b.command("ping").args(["-c", "3", "-i", "0.01", "-p", "a55a", "127.0.0.1"]));
    wait_until("packets of the log", || data.count() >= 3);
    client.end_capture().unwrap();
    let got = data.wait_for_end();
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|p| p.data.ends_with(&[0xa5, 0x5a, 0xa5, 0x5a])), "{got:?}");
    daemon.finish()[0].check_all_sent(3);
}

#[test]
fn without_libpcap_the_daemon_says_what_to_install() {
    let needs = Needs { programs: &["mount"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    // In a mount namespace, which `ip netns exec` makes.
    let hidden = |options: &str| {
        let script = format!(
            "for file in $(ldconfig -p | sed -n 's/.*libpcap.so.* => //p'); do
                 mount --bind /dev/null \"$(readlink -f \"$file\")\" || exit 99
             done
             exec {} -n -b 127.0.0.1 -p 0 --status-socket none {options}",
            program("rpcapd").display()
        );
        let mut command = lab.net.b.command("sh");
        command.args(["-c", &script]);
        command
    };
    let mut daemon = Process::start(&mut hidden("--backend libpcap"));
    assert_eq!(daemon.wait().code(), Some(1));
    let said = daemon.stderr();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("capturing needs libpcap, which is missing"), "{said}");
    assert!(said.contains("install libpcap0.8 (Debian, Ubuntu)"), "{said}");
    // Linux's own ring needs none of it.
    Daemon::run(&lab, &mut hidden("--backend af-packet"), 1).finish();
}
