use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rpcap_proto::wire::Sampling;

use super::*;
use crate::client::Transport;
use crate::output::Destination;

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(text, Path::new("/etc/rpcap"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn plan(rule: &Rule) -> &Arc<Plan> {
    match &rule.action {
        Action::Capture(plan) => plan,
        other => panic!("{other:?}"),
    }
}

const OUTPUT: &str = "[output.files]\ndirectory = \"captures\"\n";

#[test]
fn everything_that_can_be_said() {
    let policy = parse(
        r#"
        [output.files]
        directory = "captures"
        file-size = "100MB"
        file-time = "1h"
        total-size = "10GB"
        compress = "zstd"
        queue = "8MB"

        [output.live]
        standard-output = true

        [[agent]]
        name = "guests"
        address = ["192.0.2.0/24", "2001:db8::1"]
        action = "reject"

        [[agent]]
        device = ["wlan*"]
        interfaces = ["preselected", "eth*", "10.0.0.0/8", "up"]
        filter = "not port 22"
        snaplen = 128
        sampling = "1/10"
        transport = "tcp"
        promiscuous = false
        direction = "in"
        output = "live"

        [[agent]]
        output = "files"
        "#,
    )
    .unwrap();
    let names = Names::default();
    let rule = policy.rule_for(ip("::ffff:192.0.2.7"), &names).unwrap();
    assert_eq!((rule.name.as_str(), &rule.action), ("guests", &Action::Reject));

    let at = ip("198.51.100.1");
    let wireless = policy.rule_for_device(at, &names, Some("wlan0")).unwrap();
    let wanted = plan(wireless);
    assert_eq!((wireless.name.as_str(), wanted.interfaces.len()), ("agent 2", 4));
    assert_eq!((wanted.filter.as_str(), wanted.snaplen), ("not port 22", 128));
    assert_eq!((wanted.sampling, wanted.transport), (Sampling::OneEvery(10), Transport::Tcp));
    assert!(!wanted.promiscuous && wanted.outputs[0].merged);

    for preselected in [None, Some("eth0")] {
        let rule = policy.rule_for_device(at, &names, preselected).unwrap();
        assert_eq!(rule.name, "agent 3");
        let output = &plan(rule).outputs[0];
        assert_eq!(output.destination, Destination::Directory("/etc/rpcap/captures".into()));
        assert_eq!(output.file_time, Some(Duration::from_secs(3600)));
        assert_eq!((output.queue, output.compress), (8_000_000, true));
    }
}

#[test]
fn the_documented_policy_is_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rpcap-listen.toml");
    let policy = Policy::load(Path::new(path)).unwrap();
    let names = Names::default();
    let rule = policy.rule_for(ip("10.1.2.3"), &names).unwrap();
    assert_eq!((rule.name.as_str(), plan(rule).interfaces.len()), ("web servers", 4));
    assert_eq!(policy.rule_for(ip("192.0.2.1"), &names).unwrap().action, Action::Reject);
    assert!(policy.rule_for(ip("198.51.100.1"), &names).is_none());
}

#[test]
fn hosts_are_known_by_their_addresses() {
    let text = format!("{OUTPUT}[[agent]]\nhost = [\"web.example\"]\n");
    let policy = parse(&text).unwrap();
    let mut names = Names::default();
    assert!(policy.rule_for(ip("192.0.2.1"), &names).is_none());
    names.insert("web.example".into(), vec![ip("192.0.2.1"), ip("2001:db8::1")]);
    assert!(policy.rule_for(ip("::ffff:192.0.2.1"), &names).is_some());
    assert!(policy.rule_for(ip("192.0.2.2"), &names).is_none());
    assert_eq!(policy.host_of(ip("2001:db8::1"), &names), Some("web.example"));
}

#[test]
fn only_a_filter_that_changed_leaves_the_capture_running() {
    let planned = |line: &str| {
        let policy = parse(&format!("{OUTPUT}[[agent]]\n{line}\n")).unwrap();
        Arc::clone(plan(&policy.rules[0]))
    };
    let (a, b) = (planned("filter = \"tcp\""), planned("filter = \"udp\""));
    assert_eq!(a, planned("filter = \"tcp\""));
    assert!(a.differs_in_filter_only(&b) && !a.differs_in_filter_only(&a));
    assert!(!a.differs_in_filter_only(&planned("filter = \"udp\"\nsnaplen = 100")));
}

#[test]
fn where_there_is_tls_it_is_for_all_who_are_not_excepted() {
    let print = "ab".repeat(32);
    let tls = format!("[tls]\nfingerprints = [\"{print}\"]\n");
    let agents = "[[agent]]\naddress = [\"192.0.2.1\"]\ntls = false\n\
                  [[agent]]\ntransport = \"tcp\"\n";
    let policy = parse(&format!("{OUTPUT}{tls}{agents}")).unwrap();
    let rules = [&policy.rules[0], &policy.rules[1]];
    assert_eq!(rules.map(|r| r.tls), [false, true]);
    // Not every daemon encrypts datagrams.
    assert_eq!(rules.map(|r| plan(r).transport), [Transport::Udp, Transport::Tcp]);
    assert!(policy.tls().is_some() && policy.warnings().is_empty());
    let insecure = parse(&format!("{OUTPUT}[tls]\ninsecure = true\n[[agent]]\n")).unwrap();
    assert!(insecure.warnings()[0].starts_with("WARNING: [tls] insecure"));

    let without = parse(&format!("{OUTPUT}[[agent]]\n")).unwrap();
    assert!(without.tls().is_none() && !without.rules[0].tls);
    let with_password =
        format!("{OUTPUT}[[agent]]\nuser = \"bob\"\npassword-variable = \"PATH\"\n");
    let warnings = parse(&with_password).unwrap().warnings();
    assert_eq!(warnings, ["agent 1: its password is not encrypted on its way; see [tls]"]);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let agent = |line: &str| format!("{OUTPUT}[[agent]]\n{line}\n");
    let live = |to: &str| format!("[output.x]\nto = \"{to}\"\n[[agent]]\n");
    let cases = [
        (agent("snaplen = 0"), "line 4, column 11: 1 to 262144"),
        (agent("address = [\"10.0.0.0/33\"]"), "line 4, column 12: \"10.0.0.0/33\" is not"),
        (agent("sampling = \"often\""), "line 4, column 12:"),
        (agent("interfaces = []"), "line 4, column 14: an interface"),
        (agent("output = \"no\""), "line 4, column 10: there is no [output.no]"),
        (agent("transport = \"sctp\""), "line 4"),
        (agent("tls = true"), "line 4, column 7: there is no [tls]"),
        (format!("{OUTPUT}[tls]\n[[agent]]\n"), "[tls] has one of ca, fingerprints and insecure"),
        (
            format!("{OUTPUT}[tls]\nca = \"x\"\ninsecure = true\n[[agent]]\n"),
            "[tls] has one of ca, fingerprints and insecure",
        ),
        (format!("{OUTPUT}[tls]\nca = \"no/such\"\n[[agent]]\n"), "/etc/rpcap/no/such: "),
        (
            format!("{OUTPUT}[tls]\nfingerprints = [\"ab:cd\"]\n[[agent]]\n"),
            "line 4, column 17: a fingerprint is SHA-256",
        ),
        (
            format!("{OUTPUT}[tls]\ninsecure = true\ncert = \"x\"\n[[agent]]\n"),
            "cert and key, or neither",
        ),
        (
            format!("{OUTPUT}[tls]\ninsecure = true\nany-name = true\n[[agent]]\n"),
            "any-name is for agents with a certificate of a ca",
        ),
        (agent("filtre = \"tcp\""), "unknown field `filtre`"),
        (agent("user = \"bob\""), "user \"bob\" has neither"),
        (agent("password-file = \"x\""), "a password without a user"),
        (agent("user = \"bob\"\npassword-file = \"/no/such\""), "/no/such: "),
        (agent("filter = \"tcp"), "line 4"),
        (OUTPUT.to_owned(), "there is no [[agent]]"),
        ("[[agent]]\n".to_owned(), "agent 1: output is missing"),
        (
            "[output.x]\n[[agent]]\n".to_owned(),
            "[output.x]: one of directory, standard-output and to is",
        ),
        (format!("{OUTPUT}file-size = \"1kB\"\n[[agent]]"), "at least 64000 bytes"),
        (format!("{OUTPUT}total-size = \"1GB\"\n[[agent]]"), "total-size needs file-size"),
        (
            format!("{OUTPUT}[output.more]\ndirectory = \"captures\"\n[[agent]]\n"),
            "outputs \"files\" and \"more\" both write to",
        ),
        (
            "[output.x]\nstandard-output = true\ncompress = \"zstd\"\n[[agent]]\n".to_owned(),
            "only a directory has files",
        ),
        (format!("{OUTPUT}format = \"pcap\"\n[[agent]]"), "format is for pcap-over-ip, "),
        (live("exec:cat\"\ncert = \"c\"\nkey = \"k"), "cert and key are for pcap-over-ip"),
        (live("pcap-over-ip:[::1]:1\"\ncert = \"c"), "[output.x]: cert and key, or neither"),
        (live("pcap-over-ip:[::1]:1\"\ncert = \"c\"\nkey = \"k"), ": /etc/rpcap/c: "),
        #[cfg(unix)]
        (live("pipe:/"), "[output.x]: pipe:/: that is a directory"),
        #[cfg(not(unix))]
        (live("exec:cat"), "[output.x]: exec:cat: pipe and exec are for Unix"),
    ];
    for (text, expected) in cases {
        let error = parse(&text).map(|_| ()).unwrap_err();
        // Windows has both.
        let error = error.replace('\\', "/");
        assert!(error.contains(expected), "{text}\ngave: {error}\nand not: {expected}");
    }
}

#[test]
fn what_is_served_wants_a_certificate() {
    let with = |more: &str| {
        let error = parse(&format!("{OUTPUT}{more}\n[[agent]]\n")).unwrap_err();
        // Windows has both.
        error.lines().next().unwrap_or_default().replace('\\', "/")
    };
    let tools = "[tools]\ndirectory = \"tools\"\nlisten = \"0.0.0.0:443\"";
    let why = "[tools] wants cert and key, or [tls] with them";
    assert!(with(tools).ends_with(why), "{}", with(tools));
    assert!(with(&format!("{tools}\ncert = \"c.pem\"")).ends_with(why));
    assert!(with(&format!("{tools}\n[tls]\ninsecure = true")).ends_with(why));
    // Those of [tls], relative to the policy.
    let other = with(&format!("{tools}\n[tls]\ninsecure = true\ncert = \"c\"\nkey = \"k\""));
    assert!(other.contains("line 3, column 1: /etc/rpcap/c: "), "{other}");
    assert!(with("[tools]\ndirectory = \"tools\"\nlisten = \"collector:443\"").contains("line 5"));
}

#[test]
fn packets_go_to_several_outputs_at_once() {
    let outputs = "[output.files]\ndirectory = \"captures\"\n[output.live]\nto = \"pcap-over-ip:127.0.0.1:57012\"\n";
    let policy = parse(&format!("{outputs}[[agent]]\noutput = [\"live\", \"files\"]\n")).unwrap();
    let rule = policy.rule_for([192, 0, 2, 1].into(), &Names::default()).unwrap();
    let places = plan(rule).outputs.iter().map(|o| o.destination.to_string());
    let directory = Path::new("/etc/rpcap").join("captures").display().to_string();
    assert_eq!(places.collect::<Vec<_>>(), ["pcap-over-ip:127.0.0.1:57012", &directory]);
    for (wrong, why) in [
        ("[]", "an output is wanted"),
        ("[\"live\", \"live\"]", "named twice"),
        ("[\"live\", \"dead\"]", "no [output.dead]"),
    ] {
        let error = parse(&format!("{outputs}[[agent]]\noutput = {wrong}\n")).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
