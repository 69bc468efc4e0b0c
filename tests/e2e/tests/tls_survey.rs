//! What the daemon agrees to, as those see it who look for weak spots.

use std::collections::BTreeSet;
use std::process::Stdio;

use e2e::certs::made;
use e2e::process::run;
use e2e::{Daemon, Lab, Needs};

const NEEDS: Needs<'_> =
    Needs { peers: false, programs: &["sslscan", "nmap", "openssl"], mtu: 1500 };

/// A daemon with TLS on IPv4.
fn daemon(lab: &Lab) -> Daemon {
    let (pair, _) = made(lab, "own", &["localhost"]);
    Daemon::start_with(lab, &[&["-n"], &pair.tls()[..]].concat())
}

/// Every version below 1.2 is off; what is left encrypts and authenticates in one (AEAD), with keys
/// that are made for the connection.
#[test]
fn sslscan_sees_nothing_old() {
    let Some(lab) = Lab::with(NEEDS) else { return };
    let daemon = daemon(&lab);
    let address = daemon.address().to_string();
    let said = run(lab.net.b.command("sslscan").args(["--no-colour", &address]));
    let enabled: Vec<_> = said.lines().filter(|l| l.trim_end().ends_with("enabled")).collect();
    assert_eq!(enabled, ["TLSv1.2   enabled", "TLSv1.3   enabled"], "{said}");
    let of_suites = |l: &&str| l.starts_with("Preferred") || l.starts_with("Accepted");
    let suites: BTreeSet<_> =
        said.lines().filter(of_suites).filter_map(|l| l.split_whitespace().nth(4)).collect();
    let expected = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ];
    assert_eq!(suites, expected.into(), "{said}");
    assert!(said.contains("Session renegotiation not supported"), "{said}");
    assert!(!said.lines().any(|l| l.contains(" vulnerable") && !l.contains("not vulnerable")));
    daemon.finish();
}

#[test]
fn nmap_grades_everything_a() {
    let Some(lab) = Lab::with(NEEDS) else { return };
    let daemon = daemon(&lab);
    let address = daemon.address();
    let (port, ip) = (address.port().to_string(), address.ip().to_string());
    let mut command = lab.net.b.command("nmap");
    let said = run(command.args(["-n", "-Pn", "-p", &port, "--script", "ssl-enum-ciphers", &ip]));
    assert!(said.contains("least strength: A"), "{said}");
    let graded: Vec<_> = said.lines().filter(|l| l.contains("TLS_")).collect();
    assert_eq!(graded.len(), 6, "{said}");
    assert!(graded.iter().all(|l| l.trim_end().ends_with(" - A")), "{said}");
    assert!(!said.contains("warnings"), "{said}");
    daemon.finish();
}

/// A session that is taken up again would bring its certificate with it, without anybody looking at it.
#[test]
fn sessions_are_not_resumed() {
    let Some(lab) = Lab::with(NEEDS) else { return };
    let daemon = daemon(&lab);
    let address = daemon.address().to_string();
    let ask = |options: &[&str]| {
        let mut command = lab.net.b.command("openssl");
        command.args(["s_client", "-connect", &address]).args(options);
        run(command.stdin(Stdio::null()))
    };
    let said = ask(&["-tls1_2", "-reconnect"]);
    assert_eq!(said.matches("New, TLSv1.2").count(), 6, "{said}");
    assert!(!said.contains("Reused"), "{said}");
    // Nothing to come back with, so no file.
    let file = lab.path("session.pem");
    ask(&["-tls1_3", "-sess_out", file.to_str().expect("a path in UTF-8")]);
    assert!(!file.exists());
    daemon.finish();
}
