//! What the daemon tells of itself: `rpcapd status`, and metrics that a real Prometheus reads.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use e2e::frames::{EXPERIMENT_FILTER, Source, frames};
use e2e::process::run;
use e2e::programs::program;
use e2e::{Client, Daemon, Lab, Needs, Process, Start, wait_until};
use rpcap_proto::wire::StartFlags;
use serde_json::Value;

/// A daemon with a socket of its own.
fn daemon(lab: &Lab, arguments: &[&str]) -> Daemon {
    let socket = lab.path("status").display().to_string();
    Daemon::start_with(lab, &[&["-n", "--status-socket", &socket], arguments].concat())
}

/// What `rpcapd status` prints.
fn status(lab: &Lab, arguments: &[&str]) -> String {
    let mut command = Command::new(program("rpcapd"));
    run(command.arg("status").arg("--status-socket").arg(lab.path("status")).args(arguments))
}

fn json(lab: &Lab) -> Value {
    serde_json::from_str(&status(lab, &["--json"])).expect("JSON")
}

#[test]
fn status_shows_sessions_captures_and_what_became_of_their_packets() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &["-a", "127.0.0.1,1"]);
    let source = Source::new(&lab.net.a, "a0");
    let idle = json(&lab);
    assert_eq!(idle["pid"], u64::try_from(daemon.process.pid().as_raw()).expect("a number"));
    assert_eq!(
        (&idle["sessions"], &idle["totals"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    let names: Vec<_> = idle["devices"].as_array().expect("a list").iter().collect();
    let b0 = names.iter().find(|d| d["name"] == "b0").expect("b0");
    assert_eq!((b0["up"].as_bool(), b0["mtu"].as_u64()), (Some(true), Some(1500)));
    wait_until("the collector is not there", || {
        let peer = &json(&lab)["collectors"][0];
        peer["stage"] == "waiting" && peer["reason"].as_str().is_some_and(|r| r.contains("refused"))
    });

    let mut client = Client::on_b0(&daemon);
    let start = Start { flags: StartFlags::DATAGRAM, ..Start::filtered(EXPERIMENT_FILTER) };
    let data = client.start(&start).expect("STARTCAP");
    source.send_all(&frames(0..5));
    data.wait_for(5);
    wait_until("the counts are published", || {
        json(&lab)["sessions"][0]["capture"]["ledger"]["sent"] == 5
    });
    let running = json(&lab);
    let session = &running["sessions"][0];
    assert_eq!(session["authenticated"], true);
    let capture = &session["capture"];
    assert_eq!((&capture["device"], &capture["transport"]), (&"b0".into(), &"udp".into()));
    assert_eq!(
        (capture["linktype"].as_u64(), capture["datagram_limit"].as_u64()),
        (Some(1), Some(65_507))
    );
    assert!(
        capture["filter"].as_u64() > Some(1) && capture["ring"].as_u64() > Some(4096),
        "{capture}"
    );
    let table = status(&lab, &[]);
    for part in ["rpcapd ", "127.0.0.1:1", "waiting", "b0", "UDP", "received=5"] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    client.end_capture().expect("ENDCAP");
    let ended = json(&lab);
    assert_eq!(ended["sessions"][0]["capture"], Value::Null);
    let total = &ended["totals"][0];
    assert_eq!((&total["device"], &total["peer"]), (&"b0".into(), &"127.0.0.1".into()));
    assert_eq!((&total["ledger"]["received"], &total["ledger"]["sent"]), (&5.into(), &5.into()));
    client.close();
    daemon.finish();
    assert!(!lab.path("status").exists(), "the socket is left behind");
}

#[test]
fn a_second_daemon_leaves_the_socket_of_the_first_alone_and_a_dead_one_is_replaced() {
    let Some(lab) = Lab::new() else { return };
    let first = daemon(&lab, &[]);
    let second = daemon(&lab, &[]);
    second.process.wait_for_line("no status socket");
    let pid = |daemon: &Daemon| Value::from(daemon.process.pid().as_raw());
    assert_eq!(json(&lab)["pid"], pid(&first));
    second.finish();
    assert_eq!(json(&lab)["pid"], pid(&first));
    // Killed, it leaves its socket behind.
    drop(first);
    assert!(lab.path("status").exists());
    let third = daemon(&lab, &[]);
    assert_eq!(json(&lab)["pid"], pid(&third));
    third.finish();
    let mut nobody = Process::start(
        Command::new(program("rpcapd"))
            .arg("status")
            .arg("--status-socket")
            .arg(lab.path("status")),
    );
    assert_eq!(nobody.wait().code(), Some(1));
    assert!(nobody.stderr().contains("is the daemon running?"), "{}", nobody.stderr());
}

/// What is answered to these bytes, until the end.
fn answer(mut stream: impl Read + Write, request: &[u8]) -> String {
    // It may be refused before all of it is sent.
    let _ = stream.write_all(request);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn questions_that_are_slow_or_wrong_hold_up_nobody() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &[]);
    let connect = || UnixStream::connect(lab.path("status")).expect("the status socket");
    assert!(answer(connect(), b"nonsense\n").contains("unknown request"));
    assert!(answer(connect(), &[b'x'; 100_000]).contains("too long"));
    assert!(answer(connect(), b"reload\n").contains("error"));
    // More than may ask at a time say nothing: their time is limited, and then others have theirs.
    let silent: Vec<_> = (0..20).map(|_| connect()).collect();
    let mut client = Client::connect(&daemon);
    client.open("b0").expect("the daemon itself is not held up");
    assert!(status(&lab, &[]).contains("Sessions"));
    drop(silent);
    client.close();
    daemon.finish();
}

#[test]
fn reload_says_what_changed_or_why_nothing_did() {
    let Some(lab) = Lab::new() else { return };
    let file = lab.path("rpcapd.toml");
    let configure = |text: &str| fs::write(&file, text).expect("writing a configuration");
    let reload = || {
        let mut command = Command::new(program("rpcapd"));
        command.args(["reload", "--status-socket"]).arg(lab.path("status"));
        Process::start(&mut command)
    };
    configure("snaplen = 100\n");
    let daemon = daemon(&lab, &["-f", &file.display().to_string()]);
    configure("snaplen = 200\n");
    let mut done = reload();
    done.wait_success();
    assert!(done.stdout().starts_with("changed: snaplen;"), "{}", done.said());
    configure("snaplen = 0\n");
    let mut refused = reload();
    assert_eq!(refused.wait().code(), Some(1));
    assert!(refused.stderr().contains("rpcapd.toml:1:11: "), "{}", refused.stderr());
    daemon.finish();
}

/// The address that the daemon serves metrics at.
fn metrics_address(daemon: &Daemon) -> SocketAddr {
    let line = daemon.process.wait_for_line("metrics are at http://");
    let address = line.rsplit("http://").next().and_then(|a| a.strip_suffix("/metrics"));
    address.and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
}

/// A page over HTTP, headers included, from a server in the daemon's namespace.
fn page(lab: &Lab, address: SocketAddr, target: &str, accept: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
    lab.net.b.enter(|| answer(TcpStream::connect(address).expect("HTTP"), request.as_bytes()))
}

fn sample(page: &str, start: &str) -> u64 {
    let line = page.lines().find(|l| l.starts_with(start));
    let line = line.unwrap_or_else(|| panic!("no {start} in\n{page}"));
    line.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn metrics_count_captures_that_are_over_and_no_counter_goes_back() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon(&lab, &["--metrics", "127.0.0.1:0"]);
    let address = metrics_address(&daemon);
    let source = Source::new(&lab.net.a, "a0");
    let mut client = Client::on_b0(&daemon);
    let mut before = 0;
    for round in 1..=2 {
        let data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
        source.send_all(&frames(0..7));
        data.wait_for(7);
        let sent = r#"rpcapd_packets_sent_total{device="b0",peer="127.0.0.1"}"#;
        let mut now = 0;
        wait_until("the counts are published", || {
            now = sample(&page(&lab, address, "/metrics", "*/*"), sent);
            assert!(now >= before, "from {before} back to {now}");
            before = now;
            now == 7 * round
        });
        client.end_capture().expect("ENDCAP");
        assert_eq!(sample(&page(&lab, address, "/metrics", "*/*"), sent), 7 * round);
    }
    let modern = page(&lab, address, "/metrics", "application/openmetrics-text");
    assert!(
        modern.contains("Content-Type: application/openmetrics-text; version=1.0.0"),
        "{modern}"
    );
    assert!(modern.contains("# TYPE rpcapd_packets_sent counter\n"), "{modern}");
    assert!(modern.contains("# UNIT rpcapd_sent_bytes bytes\n"), "{modern}");
    assert!(modern.ends_with("# EOF\n"), "{modern}");
    let mut families: Vec<_> = modern.lines().filter(|l| l.starts_with("# TYPE ")).collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all, "one TYPE for each family");
    assert!(page(&lab, address, "/", "*/*").starts_with("HTTP/1.1 200 "));
    assert!(page(&lab, address, "/etc/passwd", "*/*").starts_with("HTTP/1.1 404 "));
    let long = "x".repeat(100_000);
    let refused = page(&lab, address, "/metrics", &long);
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431 "), "{refused}");
    client.close();
    daemon.finish();
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let needs = Needs { programs: &["promtool"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let daemon = daemon(&lab, &["--metrics", "127.0.0.1:0", "-a", "127.0.0.1,1"]);
    let mut client = Client::on_b0(&daemon);
    client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    let text = page(&lab, metrics_address(&daemon), "/metrics", "*/*");
    let (_, body) = text.split_once("\r\n\r\n").expect("headers and a body");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting promtool");
    promtool.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("writing to promtool");
    let output = promtool.wait_with_output().expect("waiting for promtool");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{body}");
    client.close();
    daemon.finish();
}

/// Debian's Prometheus, in the daemon's namespace.
fn prometheus(lab: &Lab, scraped: SocketAddr) -> (Process, SocketAddr) {
    let configuration = format!(
        "global:\n  scrape_interval: 250ms\n  scrape_timeout: 250ms\n\
         scrape_configs:\n  - job_name: rpcapd\n    static_configs:\n      - targets: ['{scraped}']\n"
    );
    let file = lab.path("prometheus.yml");
    fs::write(&file, configuration).expect("writing a configuration");
    // Nobody else is in this namespace.
    let address = SocketAddr::from(([127, 0, 0, 1], 9090));
    let process = Process::start(
        lab.net
            .b
            .command("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", lab.path("tsdb").display()))
            .arg(format!("--web.listen-address={address}")),
    );
    process.wait_for_line("Server is ready to receive web requests");
    (process, address)
}

/// The value of an expression, if it has one.
fn query(lab: &Lab, prometheus: SocketAddr, expression: &str) -> Option<String> {
    let request = format!("GET /api/v1/query?query={expression} HTTP/1.0\r\n\r\n");
    let stream = || TcpStream::connect(prometheus).expect("Prometheus");
    let text = lab.net.b.enter(|| answer(stream(), request.as_bytes()));
    let reply: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).expect("JSON");
    Some(reply["data"]["result"].get(0)?["value"][1].as_str()?.to_owned())
}

#[test]
fn prometheus_reads_the_metrics() {
    let needs = Needs { programs: &["prometheus"], ..Needs::default() };
    let Some(lab) = Lab::with(needs) else { return };
    let daemon = daemon(&lab, &["--metrics", "127.0.0.1:0"]);
    let source = Source::new(&lab.net.a, "a0");
    let (_prometheus, address) = prometheus(&lab, metrics_address(&daemon));
    wait_until("the daemon is scraped", || query(&lab, address, "up").is_some_and(|v| v == "1"));
    let mut client = Client::on_b0(&daemon);
    let data = client.start(&Start::filtered(EXPERIMENT_FILTER)).expect("STARTCAP");
    source.send_all(&frames(0..9));
    data.wait_for(9);
    let sent = "rpcapd_packets_sent_total%7Bdevice=%22b0%22%7D";
    wait_until("Prometheus has the count", || query(&lab, address, sent).is_some_and(|v| v == "9"));
    client.end_capture().expect("ENDCAP");
    client.close();
    daemon.finish();
}
