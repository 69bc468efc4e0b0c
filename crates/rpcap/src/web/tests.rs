use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::guard::Caller;
use super::{Access, Address, Web, routes};
use crate::collector::{Collector, Options};
use crate::journal::Journal;

/// Files of a test, gone with this value.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rpcap-web-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What lets those in who know what is in a file of this text.
pub(super) fn access(password: &str) -> Arc<Access> {
    Arc::new(loaded(password).unwrap())
}

fn loaded(password: &str) -> Result<Access, super::AccessError> {
    let place = Place::new();
    let [cert, key, password] = secrets(&place, password);
    Access::load(&cert, &key, &password, vec!["Collector.example".to_owned()])
}

/// Files of a certificate, of its key, and with a password.
fn secrets(place: &Place, password: &str) -> [PathBuf; 3] {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["collector.example".to_owned()]).unwrap();
    [
        place.file("cert.pem", &cert.pem()),
        place.file("key.pem", &signing_key.serialize_pem()),
        place.file("password", password),
    ]
}

/// The page of a collector that nobody has called.
struct Page {
    app: TowerToHyperService<Router>,
    caller: Caller,
    /// A line more for each request.
    headers: Vec<(&'static str, String)>,
    _place: Place,
    _collector: Collector,
}

impl Page {
    async fn new(mut caller: Caller, password: Option<&str>) -> Self {
        let place = Place::new();
        let mut text = "[output.x]\ndirectory = \"x\"\n[[agent]]\n".to_owned();
        if let Some(password) = password {
            secrets(&place, password);
            text.push_str(
                "[http]\ncert = \"cert.pem\"\nkey = \"key.pem\"\npassword-file = \"password\"\n\
                 names = [\"Collector.example\"]\n",
            );
        }
        let policy = place.file("policy.toml", &text);
        let collector =
            Collector::new(Options::alone(policy), Arc::new(Journal::default())).await.unwrap();
        caller.access = collector.shared().rules.borrow().policy.http().cloned();
        let app = TowerToHyperService::new(routes::app(Web::new(collector.shared())));
        Self { app, caller, headers: Vec::new(), _place: place, _collector: collector }
    }

    async fn loopback() -> Self {
        let here = Some([127, 0, 0, 1].into());
        Self::new(Caller { local: here, address: here, access: None }, None).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        self.send(method, path, headers, Body::empty()).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        let own = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            request = request.header(name, value);
        }
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(self.caller.clone());
        self.app.call(request).await.unwrap()
    }

    async fn status(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.ask(method, path, headers).await.status().as_u16()
    }
}

async fn json(response: Response<Body>) -> Value {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn every_route_is_described_and_everything_described_is_a_route() {
    let description: Value = serde_json::from_str(super::assets::OPENAPI).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &Value)| -> Vec<(String, String)> {
        methods.as_object().unwrap().keys().map(|m| (m.clone(), path.clone())).collect()
    };
    let described: BTreeSet<_> = paths.iter().flat_map(of).collect();
    let routes = routes::routes();
    let there: BTreeSet<_> =
        routes.iter().map(|(m, path, _)| ((*m).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, there);
    assert_eq!(there.len(), routes.len());
}

#[test]
fn places_are_addresses_or_local_sockets() {
    for text in ["127.0.0.1:8080", "[::1]:8080", "0.0.0.0:443", "unix:/run/rpcap/page"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in ["", "8080", "localhost:8080", "127.0.0.1", "unix:", "/run/rpcap/page"] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

#[test]
fn a_password_is_one_that_can_be_compared() {
    assert!(loaded("hunter2").is_ok());
    for (text, why) in [
        ("", "a password in its first line"),
        ("\nhunter2", "a password in its first line"),
        ("$argon2id$nonsense", "this is no hash"),
        ("$argon2i$v=19$m=19456,t=2,p=1$c29tZXRoaW5nIHJhbmRvbQ$3qvXmQ3oWbqvJqg8bZfT1g", "argon2id"),
        (
            "$argon2id$v=19$m=4000000,t=2,p=1$c29tZXRoaW5nIHJhbmRvbQ$3qvXmQ3oWbqvJqg8bZfT1g",
            "too much memory",
        ),
    ] {
        let error = loaded(text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[tokio::test]
async fn only_a_name_of_the_page_leads_to_it() {
    let page = Page::loopback().await;
    for host in ["127.0.0.1", "127.0.0.1:8080", "localhost", "LOCALHOST:9", "localhost.:8080"] {
        assert_eq!(page.status("GET", "/api/status", &[("host", host)]).await, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.2",
        "[::1]",
        "0.0.0.0",
        "2130706433",
    ] {
        for path in ["/", "/api/status", "/api/login", "/nothing"] {
            assert_eq!(page.status("GET", path, &[("host", host)]).await, 421, "{host} {path}");
        }
    }
    for hosts in [
        &[][..],
        &[("host", "")],
        &[("host", "a b")],
        &[("host", "me@127.0.0.1")],
        &[("host", "127.0.0.1"), ("host", "127.0.0.1")],
    ] {
        assert_eq!(page.status("GET", "/api/status", hosts).await, 400, "{hosts:?}");
    }
    let own = [("host", "127.0.0.1")];
    assert_eq!(page.status("GET", "http://evil.example/api/status", &own).await, 421);
    assert_eq!(page.status("GET", "http://127.0.0.1/api/status", &own).await, 200);

    let local = Some("192.0.2.1".parse().unwrap());
    let caller = Caller { local, address: local, access: None };
    let page = Page::new(caller, Some("hunter2")).await;
    for (host, status) in [
        ("collector.example", 401),
        ("COLLECTOR.example:8443", 401),
        ("192.0.2.1", 401),
        ("localhost", 421),
        ("other.example", 421),
    ] {
        assert_eq!(page.status("GET", "/api/status", &[("host", host)]).await, status, "{host}");
    }
    // At a local socket there are no names, but still other pages.
    let page = Page::new(Caller::default(), None).await;
    for host in ["x", "collector.example"] {
        assert_eq!(page.status("GET", "/api/status", &[("host", host)]).await, 200);
    }
    let foreign = [("host", "proxy.example"), ("origin", "https://evil.example")];
    assert_eq!(page.status("POST", "/api/logout", &foreign).await, 403);
    let own = [("host", "proxy.example"), ("origin", "https://proxy.example")];
    assert_eq!(page.status("POST", "/api/logout", &own).await, 204);
}

#[tokio::test]
async fn no_other_page_can_ask_for_anything() {
    let mut page = Page::loopback().await;
    page.headers.push(("host", "127.0.0.1:8080".to_owned()));
    let (stop, status) = ("/api/agents/1/stop", "/api/status");
    for (method, path, headers, expected) in [
        // Programs say nothing.
        ("POST", stop, &[][..], 404),
        ("POST", stop, &[("origin", "http://127.0.0.1:8080")], 404),
        (
            "POST",
            stop,
            &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")],
            404,
        ),
        ("POST", stop, &[("origin", "http://127.0.0.1:8081")], 403),
        ("POST", stop, &[("origin", "https://127.0.0.1:8080")], 403),
        ("POST", stop, &[("origin", "http://127.0.0.1")], 403),
        ("POST", stop, &[("origin", "http://127.0.0.1:8080.evil.example")], 403),
        ("POST", stop, &[("origin", "http://evil.example")], 403),
        ("POST", stop, &[("origin", "null")], 403),
        ("POST", stop, &[("origin", "")], 403),
        ("POST", stop, &[("origin", "http://127.0.0.1:8080"), ("origin", "null")], 403),
        ("POST", stop, &[("sec-fetch-site", "cross-site")], 403),
        ("POST", stop, &[("sec-fetch-site", "same-site")], 403),
        ("POST", stop, &[("sec-fetch-site", "none")], 403),
        (
            "POST",
            stop,
            &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "cross-site")],
            403,
        ),
        ("PUT", status, &[("origin", "http://evil.example")], 403),
        ("PUT", status, &[], 405),
        ("GET", status, &[("sec-fetch-site", "none")], 200),
        ("GET", status, &[("sec-fetch-site", "same-origin")], 200),
        ("GET", status, &[("sec-fetch-site", "cross-site")], 403),
        ("GET", "/api/agents/1/capture?seconds=1", &[("sec-fetch-site", "same-site")], 403),
        // A link to the page itself.
        ("GET", "/", &[("sec-fetch-site", "cross-site")], 200),
        ("POST", "/", &[("sec-fetch-site", "cross-site")], 403),
    ] {
        assert_eq!(
            page.status(method, path, headers).await,
            expected,
            "{method} {path} {headers:?}"
        );
    }
}

#[tokio::test]
async fn every_answer_says_what_browsers_must_not_do() {
    let mut page = Page::loopback().await;
    page.headers.push(("host", "127.0.0.1:8080".to_owned()));
    for (method, path, expected) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("POST", "/", 405),
        ("GET", "/api/status", 200),
        ("GET", "/api/policy", 200),
        ("GET", "/api/history", 200),
        ("GET", "/api/openapi.json", 200),
        ("GET", "/api/agents/1", 404),
        ("GET", "/api/agents/x/history", 404),
        ("GET", "/api/agents/-1/capture?seconds=1", 404),
        ("GET", "/api/agents/1/capture", 400),
        ("GET", "/api/agents/1/capture?seconds=0", 400),
        ("GET", "/api/agents/1/capture?seconds=3601", 400),
        ("DELETE", "/api/status", 405),
        ("GET", "/api/nothing", 404),
        ("GET", "/api", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/index.html%00", 404),
    ] {
        let response = page.ask(method, path, &[]).await;
        assert_eq!(response.status(), expected, "{method} {path}");
        let header = |name| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let policy = header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let kept = if path.starts_with("/api") { "no-store" } else { "no-cache" };
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", kept),
        ] {
            assert_eq!(header(name).as_deref(), Some(value), "{method} {path}");
        }
        assert_eq!(header("access-control-allow-origin"), None);
        if expected >= 400 {
            assert!(json(response).await["error"].is_string(), "{method} {path}");
        }
    }
    let policy = json(page.ask("GET", "/api/policy", &[]).await).await;
    assert_eq!(policy["rules"][0]["capture"]["interfaces"][0], "preselected");
    assert!(policy["text"].as_str().unwrap().starts_with("[output.x]"));
    let there = page.ask("DELETE", "/api/status", &[]).await;
    assert_eq!(there.headers()["allow"], "GET,HEAD");
}

#[tokio::test]
async fn nobody_sees_anything_before_having_logged_in() {
    let local = Some("192.0.2.1".parse().unwrap());
    let caller = Caller { local, address: local, access: None };
    let mut page = Page::new(caller, Some("hunter2\n")).await;
    page.headers.push(("host", "192.0.2.1".to_owned()));
    for (method, path, _) in routes::routes().iter().filter(|(_, path, _)| *path != routes::LOGIN) {
        let path = path.replace("{id}", "1");
        let cookies = [&[][..], &[("cookie", "__Host-rpcap=")], &[("cookie", "__Host-rpcap=0")]];
        for cookie in cookies {
            let response = page.ask(&method.to_uppercase(), &path, cookie).await;
            assert_eq!(response.status(), 401, "{method} {path}");
            assert_eq!(json(response).await, serde_json::json!({ "error": "log in first" }));
        }
    }
    // The page that asks for the password.
    assert_eq!(page.status("GET", "/", &[]).await, 200);

    let kind = [("content-type", "application/json")];
    let login = async |body: &'static str, headers: &[(&str, &str)]| {
        page.send("POST", routes::LOGIN, headers, Body::from(body)).await
    };
    for (body, headers, expected) in [
        (r#"{"password":"hunter2"}"#, &[][..], 415),
        (r#"{"password":"hunter2"}"#, &[("content-type", "text/plain")], 415),
        (r#"{"password":"hunter2"#, &kind, 400),
        (r#"{"passwort":"hunter2"}"#, &kind, 422),
        (r#"{"password":2}"#, &kind, 422),
        (r#"{"password":"hunter3"}"#, &kind, 401),
        (r#"{"password":""}"#, &kind, 401),
    ] {
        let response = login(body, headers).await;
        assert_eq!(response.status(), expected, "{body}");
        assert!(response.headers().get("set-cookie").is_none());
    }
    let long = format!(r#"{{"password":"{}"}}"#, "x".repeat(20_000));
    let response = page.send("POST", routes::LOGIN, &kind, Body::from(long)).await;
    assert_eq!(response.status(), 413);

    let response = login(r#"{"password":"hunter2"}"#, &kind).await;
    assert_eq!(response.status(), 204);
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (token, rest) = cookie.split_once("; ").unwrap();
    assert_eq!(rest, "Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict");
    let among = format!("a=b; {token}; c=d");
    for cookies in [token, &among] {
        assert_eq!(page.status("GET", "/api/status", &[("cookie", cookies)]).await, 200);
    }
    let response = page.ask("POST", "/api/logout", &[("cookie", token)]).await;
    assert_eq!(response.status(), 204);
    assert!(response.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(page.status("GET", "/api/status", &[("cookie", token)]).await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let mut page = Page::loopback().await;
    page.headers.push(("host", "127.0.0.1".to_owned()));
    let never = futures_util::stream::pending::<Result<&[u8], std::io::Error>>();
    let kind = [("content-type", "application/json")];
    let response = page.send("POST", routes::LOGIN, &kind, Body::from_stream(never)).await;
    assert_eq!(response.status(), 408);
}
