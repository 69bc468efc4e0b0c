//! `rpcap listen --http`: what its page and API tell and do, asked with curl.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use e2e::certs::{Ca, Pair};
use e2e::frames::{EXPERIMENT_FILTER, Source, assert_frames, frame, frames};
use e2e::process::run;
use e2e::programs::program;
use e2e::{Daemon, Lab, Listener, Needs, Process, savefile, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Cookies of a browser that has logged in.
const COOKIE: &str = "__Host-rpcap=";

fn lab() -> Option<Lab> {
    Lab::with(Needs { programs: &["curl", "tshark"], ..Needs::default() })
}

fn policy(lines: &str) -> String {
    format!(
        "[output.files]\ndirectory = \"captures\"\n\n\
         [[agent]]\nname = \"all\"\ninterfaces = [\"b0\"]\nfilter = \"{EXPERIMENT_FILTER}\"\n{lines}\n"
    )
}

/// A collector with a page, as curl sees it.
struct Page<'a> {
    lab: &'a Lab,
    listener: Listener,
    /// With a slash at its end.
    url: String,
    ca: Option<String>,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    #[track_caller]
    fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error").to_owned()
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }
}

impl<'a> Page<'a> {
    #[track_caller]
    fn start(lab: &'a Lab, policy: &str) -> Self {
        Self::start_with(lab, policy, &[])
    }

    #[track_caller]
    fn start_with(lab: &'a Lab, policy: &str, arguments: &[&str]) -> Self {
        let arguments = [&["--port", "0", "--http", "127.0.0.1:0"], arguments].concat();
        let listener = Listener::start_with(lab, &lab.net.b, "127.0.0.1", policy, &arguments);
        let line = listener.process.wait_for_line("the page is at ");
        let url = line.rsplit(' ').next().expect("a URL").to_owned();
        Self { lab, listener, url, ca: None }
    }

    /// Where it listens.
    fn address(&self) -> SocketAddr {
        let rest = self.url.split("://").nth(1).expect("a URL").trim_end_matches('/');
        rest.parse().expect("an address")
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> Command {
        let mut command = self.lab.net.b.command("curl");
        command.args(["-sS", "-i", "--max-time", "20"]).args(arguments);
        if let Some(ca) = &self.ca {
            command.args(["--cacert", ca]);
        }
        command.arg(format!("{}{path}", self.url));
        command
    }

    #[track_caller]
    fn ask(&self, path: &str, arguments: &[&str]) -> Answer {
        let output = self.curl(path, arguments).output().expect("curl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{path}: {said}");
        Answer::parse(&output.stdout)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let answer = self.ask(path, &[]);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    #[track_caller]
    fn post(&self, path: &str) -> Answer {
        self.ask(path, &["-X", "POST"])
    }

    /// The one agent that there is.
    #[track_caller]
    fn agent(&self) -> Value {
        self.get("api/status")["agents"][0].clone()
    }

    fn daemon(&self) -> Daemon {
        Daemon::calling(self.lab, &["-a", &self.listener.active()])
    }

    /// A download of so many seconds into a file, once it has begun.
    #[track_caller]
    fn download(&self, to: &Path, query: &str) -> Process {
        let path = format!("api/agents/1/capture?{query}");
        let mut command = self.lab.net.b.command("curl");
        command.args(["-sS", "--fail", "-N", "-o"]).arg(to).arg(format!("{}{path}", self.url));
        let process = Process::start(&mut command);
        wait_until("the download has begun", || fs::metadata(to).is_ok_and(|m| m.len() > 0));
        process
    }
}

#[track_caller]
fn send(lab: &Lab, sent: &[Vec<u8>]) {
    Source::new(&lab.net.a, "a0").send_all(sent);
}

/// How many packets tshark finds in a file.
#[track_caller]
fn read_by_tshark(lab: &Lab, file: &Path) -> usize {
    let mut tshark = lab.net.b.command("tshark");
    run(tshark.args(["-n", "-r"]).arg(file)).lines().count()
}

#[test]
fn it_tells_what_the_ledger_tells_and_how_much_comes() {
    let Some(lab) = lab() else { return };
    let socket = lab.path("status");
    let page =
        Page::start_with(&lab, &policy("snaplen = 128"), &["--status", &socket.to_string_lossy()]);
    let status = || -> Value {
        let mut text = String::new();
        let mut stream = UnixStream::connect(&socket).expect("the socket");
        stream.read_to_string(&mut text).expect("the status");
        serde_json::from_str(&text).expect("JSON")
    };
    let daemon = page.daemon();
    page.listener.wait_for_captures(1);
    assert_eq!(page.agent()["latency-ms"], Value::Null);
    let mut events = Process::start(
        page.lab.net.b.command("curl").args(["-sSN"]).arg(format!("{}api/events", page.url)),
    );
    send(&lab, &frames(1..501));
    wait_until("all packets are written", || page.agent()["written"] == 500);

    let (mut own, mut others) = (Value::Null, Value::Null);
    wait_until("the clock is not measured between two looks", || {
        (own, others) = (page.get("api/status"), status());
        ["clock-offset-ns", "clock-error-ns"]
            .iter()
            .all(|key| own["agents"][0][key] == others["agents"][0][key])
    });
    let (agent, other) = (&own["agents"][0], &others["agents"][0]);
    for (key, value) in other.as_object().expect("an agent") {
        assert_eq!(&agent[key], value, "{key}");
    }
    for key in ["connections", "waiting", "forgotten"] {
        assert_eq!(own[key], others[key], "{key}");
    }
    assert_eq!(own["outputs"][0]["name"], "files");
    for (key, value) in [
        ("id", Value::from(1)),
        ("state", "capturing".into()),
        ("paused", false.into()),
        ("filter", EXPERIMENT_FILTER.into()),
        ("snaplen", 128.into()),
        ("transport", "udp".into()),
        ("rule", "all".into()),
    ] {
        assert_eq!(agent[key], value, "{key}");
    }
    assert_eq!(agent["outputs"][0]["output"], "files");
    assert_eq!(agent["outputs"][0]["written"], 500);
    let latency = agent["latency-ms"].as_f64().expect("a latency");
    assert!((0.0..5000.0).contains(&latency), "{latency}");
    assert_eq!(page.get("api/agents/1")["written"], 500);
    assert_eq!(page.ask("api/agents/2", &[]).status, 404);

    // What came in a second was shown in it, and is in the history afterwards.
    wait_until("a point of the history", || {
        page.get("api/agents/1/history")["points"].as_array().is_some_and(|p| !p.is_empty())
    });
    for path in ["api/history", "api/agents/1/history"] {
        wait_until("all packets are in the history", || {
            let history = page.get(path);
            assert_eq!(history["step"], 5);
            let points = history["points"].as_array().expect("points").iter();
            let rates = points.map(|p| p["packets-per-second"].as_f64().expect("a rate"));
            // Looks come late on a host that is busy.
            (100.0..1500.0).contains(&(rates.sum::<f64>() * 5.0))
        });
    }
    events.signal(Signal::SIGTERM);
    events.wait();
    let lines = events.lines("data: ");
    let told: Vec<Value> =
        lines.iter().map(|l| serde_json::from_str(&l["data: ".len()..]).expect("JSON")).collect();
    assert!(told.len() >= 4 && events.lines("event: status").len() >= told.len(), "{told:?}");
    assert_eq!(told.last().expect("an event")["agents"][0]["written"], 500);

    let policy = page.get("api/policy");
    assert_eq!(policy["rules"][0]["capture"]["filter"], EXPERIMENT_FILTER);
    assert!(policy["text"].as_str().is_some_and(|text| text.contains("[output.files]")));

    // One that is killed is seen to be gone.
    let killed = Instant::now();
    drop(daemon);
    wait_until("the agent is gone", || page.agent()["state"] == "gone");
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    page.listener.finish();
}

#[test]
fn an_operator_stops_a_capture_and_starts_it_again() {
    let Some(lab) = lab() else { return };
    let page = Page::start(&lab, &policy(""));
    let daemon = page.daemon();
    page.listener.wait_for_captures(1);
    send(&lab, &frames(1..101));
    wait_until("all packets are written", || page.agent()["written"] == 100);
    assert_eq!(page.post("api/agents/1/start").status, 409);
    let stopped = page.post("api/agents/1/stop");
    assert_eq!((stopped.status, &stopped.json()["paused"]), (200, &Value::Bool(true)));
    assert!(page.post("api/agents/1/stop").error().contains("stopped already"));
    page.listener.process.wait_for_line("b0: stopped by 127.0.0.1");
    daemon.wait_for_ledgers(1);
    wait_until("it is stopped", || page.agent()["state"] == "stopped");
    let answer = page.ask("api/agents/1/capture?seconds=1", &[]);
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (409, "nothing is captured from this agent now")
    );
    send(&lab, &frames(101..201));
    // Neither a new policy nor a new session makes it begin again.
    page.listener.reload(&policy("snaplen = 1000"));
    page.listener.process.wait_for_line("the policy was read again");
    drop(daemon);
    wait_until("the agent is gone", || page.agent()["state"] == "gone");
    let daemon = page.daemon();
    wait_until("it is back and stopped", || page.agent()["state"] == "stopped");
    send(&lab, &frames(201..301));
    assert_eq!(page.agent()["captures"], 1);
    assert_eq!(page.agent()["snaplen"], 1000);

    assert_eq!(page.post("api/agents/1/start").status, 200);
    page.listener.wait_for_captures(2);
    send(&lab, &frames(301..401));
    wait_until("all packets are written", || page.agent()["written"] == 200);
    assert_eq!(page.post("api/agents/9/stop").status, 404);
    let got = page.listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(200);
    assert_frames("what came", &[frames(1..101), frames(301..401)].concat(), &got.packets);
    daemon.finish();
}

#[test]
fn a_download_has_what_came_and_what_its_filter_lets_pass() {
    let Some(lab) = lab() else { return };
    let page = Page::start(&lab, &policy(""));
    let daemon = page.daemon();
    page.listener.wait_for_captures(1);
    send(&lab, &frames(1..11));
    wait_until("all packets are written", || page.agent()["written"] == 10);

    let (all, some) = (lab.path("all.pcapng"), lab.path("some.pcapng"));
    let mut first = page.download(&all, "seconds=10");
    let mut second = page.download(&some, "seconds=10&filter=greater+300");
    let small: Vec<_> = (11..61).map(|n| frame(n, 100)).collect();
    let large: Vec<_> = (61..101).map(|n| frame(n, 400)).collect();
    send(&lab, &[small.clone(), large.clone()].concat());
    first.wait_success();
    second.wait_success();
    for (file, expected) in [(&all, [small, large.clone()].concat()), (&some, large)] {
        assert_eq!(read_by_tshark(&lab, file), expected.len());
        assert_frames(&file.display().to_string(), &expected, &savefile::read(file).packets);
    }
    let bytes = fs::read(&some).expect("the file");
    let says = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(says("90 packets came; 40 are in it, 50 were refused by its filter, 0 lost"));
    assert!(says(&format!("({EXPERIMENT_FILTER}) and (greater 300)")));

    let answer = page.ask("api/agents/1/capture?seconds=1", &[]);
    assert_eq!(answer.headers["content-type"], "application/vnd.tcpdump.pcap");
    let name = &answer.headers["content-disposition"];
    assert!(name.starts_with("attachment; filename=\"127.0.0.1_b0-"), "{name}");
    let answer = page.ask("api/agents/1/capture?seconds=1&filter=hosst+x", &[]);
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("syntax error"), "{answer:?}");

    // Eight at a time, and places come back when those who had them go.
    let files: Vec<_> = (0..8).map(|n| lab.path(&format!("{n}.pcapng"))).collect();
    let running: Vec<_> = files.iter().map(|file| page.download(file, "seconds=600")).collect();
    assert_eq!(page.ask("api/agents/1/capture?seconds=1", &[]).status, 503);
    drop(running);
    wait_until("a place is free", || page.ask("api/agents/1/capture?seconds=1", &[]).status == 200);
    daemon.finish();
    let got = page.listener.finish();
    got.accounts["127.0.0.1 b0"].check_all_written(100);
}

#[test]
fn a_download_that_nobody_takes_loses_packets_and_holds_nothing_up() {
    let Some(lab) = lab() else { return };
    let page = Page::start(&lab, &policy("transport = \"tcp\""));
    let daemon = page.daemon();
    page.listener.wait_for_captures(1);
    let mut slow = page.lab.net.b.enter(|| TcpStream::connect(page.address()).expect("connecting"));
    let request = "GET /api/agents/1/capture?seconds=30 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
    slow.write_all(request.as_bytes()).expect("asking");
    slow.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    let mut bytes = vec![0; 400];
    slow.read_exact(&mut bytes).expect("the beginning");
    // Who takes nothing at all is let go: it takes a little.
    let sent_all = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !sent_all.load(Relaxed) {
                let mut piece = [0; 4096];
                let n = slow.read(&mut piece).expect("a piece");
                bytes.extend(&piece[..n]);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        const SENT: u32 = 30_000;
        let source = Source::new(&lab.net.a, "a0");
        for n in 0..10 {
            let sent: Vec<_> =
                (n * SENT / 10..(n + 1) * SENT / 10).map(|n| frame(n, 1400)).collect();
            source.send_all(&sent);
            let reached = u64::from((n + 1) * SENT / 10);
            wait_until("all packets are written", || {
                let agent = page.agent();
                let account = |key| agent[key].as_u64().expect("a count");
                account("written") + account("dropped") >= reached
            });
        }
        sent_all.store(true, Relaxed);
        reading.join().expect("the reader");
    });
    slow.read_to_end(&mut bytes).expect("the rest");
    let answer = Answer::parse(&bytes);
    let text = String::from_utf8_lossy(&answer.body);
    let (_, told) = text.rsplit_once("of this file: ").expect("the statistics");
    let numbers = told.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let numbers: Vec<u64> = numbers.take(4).collect();
    let [came, kept, refused, lost] = numbers[..] else { panic!("{told:.200}") };
    assert!(lost > 0 && refused == 0 && came == kept + lost, "{told:.200}");
    let file = lab.path("slow.pcapng");
    fs::write(&file, &answer.body).expect("writing the file");
    assert_eq!(savefile::read(&file).packets.len() as u64, kept);
    daemon.finish();
    let got = page.listener.finish();
    let account = &got.accounts["127.0.0.1 b0"];
    // The output lost nothing for it.
    assert_eq!((account.get("not-written"), account.get("overflowed")), (0, 0), "{}", account.line);
    assert!(account.get("delivered") >= came, "{}", account.line);
}

/// What others can reach: a certificate, and a password.
fn secured(lab: &Lab, pair: &Pair, password: &str) -> String {
    fs::write(lab.path("page-password"), password).expect("writing a password");
    let http = format!(
        "[http]\ncert = \"{}\"\nkey = \"{}\"\npassword-file = \"page-password\"\n\
         names = [\"collector.example\"]\n\n",
        pair.cert, pair.key
    );
    http + &policy("")
}

#[test]
fn others_need_a_certificate_and_a_password() {
    let Some(lab) = lab() else { return };
    fs::write(lab.path("policy.toml"), policy("")).expect("writing a policy");
    let mut command = lab.rpcap();
    command.arg("listen").arg(lab.path("policy.toml")).args(["-p", "0", "--data-port", "0"]);
    let mut refused = Process::start(command.args(["--http", "0.0.0.0:0"]));
    assert_eq!(refused.wait().code(), Some(1));
    assert!(refused.stderr().contains("could be called from elsewhere"), "{}", refused.stderr());

    let ca = Ca::new(&lab, "ca");
    let pair = ca.vouch("page", &["127.0.0.1", "collector.example"]);
    let mut hash = Command::new(program("rpcapd"));
    let users = lab.path("users.toml");
    hash.args(["user", "add", "x", "--users"]).arg(&users);
    let hash = e2e_hash(&mut hash, &users);
    let mut page = Page::start(&lab, &secured(&lab, &pair, &hash));
    assert!(page.url.starts_with("https://"), "{}", page.url);
    page.ca = Some(ca.cert.clone());
    let daemon = page.daemon();
    page.listener.wait_for_captures(1);
    for path in
        ["api/status", "api/events", "api/policy", "api/agents/1", "api/agents/1/capture?seconds=1"]
    {
        let answer = page.ask(path, &[]);
        assert_eq!((answer.status, answer.error().as_str()), (401, "log in first"));
    }
    assert_eq!(page.ask("", &[]).status, 200);
    let login = |password: &str| {
        let body = format!("{{\"password\":\"{password}\"}}");
        page.ask("api/login", &["-H", "Content-Type: application/json", "-d", &body])
    };
    let begun = Instant::now();
    assert_eq!(login("hunter3").status, 401);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    page.listener.process.wait_for_line("127.0.0.1 tries wrong passwords");
    let answer = login("hunter2");
    assert_eq!(answer.status, 204, "{answer:?}");
    let cookie = &answer.headers["set-cookie"];
    assert!(cookie.starts_with(COOKIE) && cookie.ends_with("; HttpOnly; Secure; SameSite=Strict"));
    let cookie = format!("Cookie: {}", cookie.split(';').next().expect("a cookie"));
    let with = |path: &str| page.ask(path, &["-H", &cookie]);
    assert_eq!(with("api/status").json()["agents"][0]["state"], "capturing");

    // Who listens is let go with the password that it came with.
    let mut events = Process::start(&mut page.curl("api/events", &["-N", "-H", &cookie]));
    events.wait_for_line("data: ");
    page.listener.reload(&secured(&lab, &pair, "another\n"));
    page.listener.process.wait_for_line("the policy was read again");
    events.wait_success();
    assert_eq!(with("api/status").status, 401);
    assert_eq!(login("hunter2").status, 401);
    assert_eq!(login("another").status, 204);

    // Without TLS nothing is said, and nobody is waited for.
    let mut plain =
        page.lab.net.b.enter(|| TcpStream::connect(page.address()).expect("connecting"));
    plain.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("asking");
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
    daemon.finish();
    page.listener.finish();
}

/// The hash that `rpcapd user add` writes.
fn e2e_hash(add: &mut Command, users: &Path) -> String {
    let mut child = add.stdin(std::process::Stdio::piped()).spawn().expect("rpcapd user");
    child.stdin.take().expect("a pipe").write_all(b"hunter2\n").expect("the password");
    assert!(child.wait().expect("rpcapd user").success());
    let text = fs::read_to_string(users).expect("the users");
    let line = text.lines().find_map(|line| line.strip_prefix("password = \"")).expect("a hash");
    line.trim_end_matches('"').to_owned()
}

#[test]
fn requests_that_are_none_of_ours_are_refused() {
    let Some(lab) = lab() else { return };
    let page = Page::start(&lab, &policy(""));
    for (host, status) in [("localhost:1", 200), ("127.0.0.1", 200), ("evil.example", 421)] {
        let answer = page.ask("api/status", &["-H", &format!("Host: {host}")]);
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'; "));
    }
    for header in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        let answer = page.ask("api/agents/1/stop", &["-X", "POST", "-H", header]);
        assert_eq!(answer.status, 403, "{header}");
    }
    let login = ["-H", "Content-Type: application/json", "-d", "{\"password\":\"x\"}"];
    assert_eq!(page.ask("api/login", &login).error(), "nobody has to log in here");

    // Those who say nothing, half of something, or too much, and those who stay.
    let connect =
        || page.lab.net.b.enter(|| TcpStream::connect(page.address()).expect("connecting"));
    let begun = Instant::now();
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    let once = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let requests = ["", "GET /api/status HTTP/1.1\r\nHost: 127", &long, once];
    let mut silent: Vec<TcpStream> = requests
        .iter()
        .map(|request| {
            let mut stream = connect();
            // It may hang up before it has all of it.
            let _ = stream.write_all(request.as_bytes());
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
            stream
        })
        .collect();
    assert_eq!(page.ask("api/status", &[]).status, 200);
    for (stream, request) in silent.iter_mut().zip(requests) {
        let result = stream.read_to_end(&mut Vec::new());
        let over = result.as_ref().map_err(|e| e.kind());
        assert!(!matches!(over, Err(std::io::ErrorKind::WouldBlock)), "{request:.20}: {result:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());

    // Others wait while there are as many as there may be.
    let all: Vec<_> = (0..200).map(|_| connect()).collect();
    drop(all);
    assert_eq!(page.ask("api/status", &[]).status, 200);
    page.listener.finish();
}

#[test]
fn a_local_socket_is_for_those_whom_its_mode_lets() {
    let Some(lab) = lab() else { return };
    let path = lab.path("page");
    let http = format!("unix:{}", path.display());
    let arguments = ["--port", "0", "--http", &http];
    let listener = Listener::start_with(&lab, &lab.net.b, "127.0.0.1", &policy(""), &arguments);
    listener.process.wait_for_line(&format!("the page is at {http}"));
    let mode = fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut curl = Command::new("curl");
    let text =
        run(curl.args(["-sS", "--unix-socket"]).arg(&path).arg("http://any.name/api/status"));
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status["agents"], Value::Array(vec![]));
    listener.finish();
}
