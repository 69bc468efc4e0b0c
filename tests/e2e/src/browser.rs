//! A headless Chromium, driven as the W3C's WebDriver says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::net::{Namespace, within};
use crate::process::Process;

/// What Chromium needs as root in a container, and what makes it quiet.
const ARGUMENTS: [&str; 7] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
];

/// A browser in a namespace of its own profile. It ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    _driver: Process,
    namespace: String,
    driver: SocketAddr,
    /// The path of the session.
    session: String,
}

impl Browser {
    /// One in a namespace; it takes any certificate. Needs `chromedriver` and `chromium`.
    #[track_caller]
    pub fn start(lab: &Lab, namespace: &Namespace) -> Self {
        let mut command = namespace.command("chromedriver");
        // It makes profiles here, which go with the lab.
        command.arg("--port=0").env("TMPDIR", lab.path("")).env("HOME", lab.path(""));
        let driver = Process::start(&mut command);
        let line = driver.wait_for_line("successfully on port ");
        let port = line.rsplit(' ').next().and_then(|p| p.trim_end_matches('.').parse().ok());
        let mut browser = Self {
            _driver: driver,
            namespace: namespace.name().to_owned(),
            driver: ([127, 0, 0, 1], port.unwrap_or_else(|| panic!("no port in {line:?}"))).into(),
            session: "/session".to_owned(),
        };
        let capabilities = json!({
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "args": ARGUMENTS },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let made = browser.post("", &json!({ "capabilities": { "alwaysMatch": capabilities } }));
        let id = made["sessionId"].as_str().expect("a session");
        browser.session = format!("/session/{id}");
        browser
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, Some(body)).unwrap_or_else(|e| panic!("{path} {body}: {e}"))
    }

    /// A command of the session, and its value; or what the driver says is wrong.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let failed = |e: std::io::Error| format!("chromedriver: {e}");
        let connect = || TcpStream::connect(self.driver);
        let mut stream = within(&self.namespace, connect).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(120))).map_err(failed)?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.session,
            self.driver,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).map_err(failed)?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).map_err(failed)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(|_| line.clone())?;
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut text = vec![0; length];
        answer.read_exact(&mut text).map_err(failed)?;
        let mut answer: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(_) => Err(value["message"].as_str().unwrap_or_default().to_owned()),
            None => Ok(value),
        }
    }

    /// Goes to a page.
    #[track_caller]
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// What a function's body returns that runs in the page.
    #[track_caller]
    pub fn run(&self, body: &str) -> Value {
        self.run_with(body, &json!([]))
    }

    /// The same with arguments.
    #[track_caller]
    pub fn run_with(&self, body: &str, arguments: &Value) -> Value {
        self.post("/execute/sync", &json!({ "script": body, "args": arguments }))
    }

    /// The text of the first element that a selector finds; empty if there is none.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let body = "return document.querySelector(arguments[0])?.textContent ?? ''";
        self.run_with(body, &json!([selector])).as_str().unwrap_or_default().to_owned()
    }

    /// How many elements a selector finds.
    #[track_caller]
    pub fn count(&self, selector: &str) -> u64 {
        let body = "return document.querySelectorAll(arguments[0]).length";
        self.run_with(body, &json!([selector])).as_u64().expect("a number")
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()?.as_str());
        id.unwrap_or_else(|| panic!("no {selector}")).to_owned()
    }

    /// Clicks where an element is.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types text into an element, in the place of what is there.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/clear"), &json!({}));
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses a key, wherever the focus is: a character, or one of WebDriver's for keys without.
    #[track_caller]
    pub fn press(&self, key: char) {
        let actions =
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", &json!({ "actions": [keyboard] }));
    }

    /// A command of Chromium's own protocol.
    #[track_caller]
    pub fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What came into a log (`browser`, `performance`) since it was asked for last.
    #[track_caller]
    pub fn log(&self, kind: &str) -> Vec<Value> {
        match self.post("/se/log", &json!({ "type": kind })) {
            Value::Array(entries) => entries,
            other => panic!("no log: {other}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium is no child that would end with the driver.
        let _ = self.ask("DELETE", "", None);
    }
}
