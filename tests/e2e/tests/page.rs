//! The page of `rpcap listen --http`, in a headless Chromium.

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::agents::Ways;
use e2e::certs::Ca;
use e2e::process::run;
use e2e::{Agent, Browser, Lab, Listener, Needs, wait_until};
use serde_json::{Value, json};

/// Keys that are no characters, as WebDriver has them.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';

const AGENTS: usize = 50;
/// Which of the agents is what.
const LOSES: usize = 3;
const KILLED: usize = 5;
const EVIL: usize = 7;
const REFUSES: usize = 9;

const EVIL_NAME: &str = "<img src=x onerror=alert(1)>";
const EVIL_REASON: &str = "<script>alert(2)</script><b>no</b>";

/// What the ledger is made of, as the page has it.
const TERMS: [&str; 10] = [
    "received",
    "dropped",
    "captured",
    "unsent",
    "sent",
    "lost",
    "delivered",
    "not-written",
    "overflowed",
    "written",
];

const POLICY: &str = "[output.files]\ndirectory = \"captures\"\n\n\
                      [[agent]]\nname = \"all\"\ninterfaces = [\"up\"]\nfilter = \"ether proto 0x88b5\"\n";

fn lab() -> Option<Lab> {
    let programs = &["chromium", "chromedriver", "tshark"];
    Lab::with(Needs { programs, ..Needs::default() })
}

/// A collector with a page, and a browser beside it.
struct Page<'a> {
    lab: &'a Lab,
    listener: Listener,
    browser: Browser,
    url: String,
    socket: PathBuf,
}

impl<'a> Page<'a> {
    #[track_caller]
    fn start(lab: &'a Lab, policy: &str) -> Self {
        let socket = lab.path("status");
        let status = socket.to_string_lossy();
        let arguments = ["--port", "0", "--http", "127.0.0.1:0", "--status", &status];
        let listener = Listener::start_with(lab, &lab.net.b, "127.0.0.1", policy, &arguments);
        let line = listener.process.wait_for_line("the page is at ");
        let url = line.rsplit(' ').next().expect("a URL").to_owned();
        let browser = Browser::start(lab, &lab.net.b);
        let page = Self { lab, listener, browser, url, socket };
        page.resize(1280, 900);
        page
    }

    /// Agents call one after the other, so that they are numbered as they are here, from 1.
    fn agents(&self) -> Vec<Option<Agent>> {
        let ways = |n| match n {
            LOSES => Ways { loses: Some(10), drops: Some(50), ..Ways::default() },
            EVIL => Ways { device: EVIL_NAME.to_owned(), ..Ways::default() },
            REFUSES => Ways { refuses: Some(EVIL_REASON.to_owned()), ..Ways::default() },
            _ => Ways::default(),
        };
        let call = |n| {
            let own = Ipv4Addr::new(127, 1, 0, n as u8);
            Some(Agent::call(&self.lab.net.b, own, self.listener.address, ways(n)))
        };
        let agents = (1..=AGENTS).map(call).collect();
        self.listener.wait_for_captures(AGENTS - 1);
        agents
    }

    /// What `--status` says of the agents.
    #[track_caller]
    fn status(&self) -> Vec<Value> {
        let mut text = String::new();
        let mut stream = UnixStream::connect(&self.socket).expect("the socket");
        stream.read_to_string(&mut text).expect("the status");
        let status: Value = serde_json::from_str(&text).expect("JSON");
        status["agents"].as_array().expect("agents").clone()
    }

    /// Goes to the page of an agent, by the link that the overview has.
    #[track_caller]
    fn open(&self, n: usize) {
        self.browser.run("location.hash = '#/'");
        wait_until("the agents are listed", || {
            self.browser.count(".agents tbody tr") == AGENTS as u64
        });
        let at = format!("127.1.0.{n}");
        let link = "const links = [...document.querySelectorAll('.agents tbody a')];
                    links.find((a) => a.textContent === arguments[0]).click();";
        self.browser.run_with(link, &json!([at]));
        wait_until("its page is there", || {
            self.browser.text("h1").starts_with(&format!("{at} "))
                && self.browser.text("[data-term=received]") != "–"
        });
    }

    /// The number at a term of the ledger.
    #[track_caller]
    fn term(&self, name: &str) -> u64 {
        let text = self.browser.text(&format!("[data-term={name}]")).replace(',', "");
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}"))
    }

    /// Asserts that nothing was asked of other hosts, and that the browser complained of nothing but
    /// `known`, which it did.
    #[track_caller]
    fn check_logs(&self, known: &[&str]) {
        let asked: Vec<String> =
            self.browser.log("performance").iter().filter_map(url_of).collect();
        assert!(asked.iter().any(|url| url.ends_with("/api/events")), "{asked:?}");
        for url in &asked {
            let own = url.starts_with(&self.url) || url.starts_with("data:");
            assert!(own || url.starts_with("about:"), "asked for {url}");
        }
        let complaints = self.browser.log("browser");
        let is_known = |entry: &Value, known: &str| {
            entry["message"].as_str().is_some_and(|text| text.contains(known))
        };
        for known in known {
            assert!(complaints.iter().any(|c| is_known(c, known)), "{known}: {complaints:?}");
        }
        for complaint in &complaints {
            assert!(known.iter().any(|known| is_known(complaint, known)), "{complaint}");
        }
    }

    /// Makes the window as large as this.
    fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.browser.tell("Emulation.setDeviceMetricsOverride", &size);
    }

    fn prefer(&self, theme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.browser.tell("Emulation.setEmulatedMedia", &features);
    }
}

/// The URL of a request that the browser made.
fn url_of(entry: &Value) -> Option<String> {
    let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
    let message = &event["message"];
    (message["method"] == "Network.requestWillBeSent")
        .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
}

#[test]
fn fifty_agents_are_shown_as_the_ledger_has_them() {
    let Some(lab) = lab() else { return };
    let page = Page::start(&lab, POLICY);
    let mut agents = page.agents();
    let browser = &page.browser;
    browser.go(&page.url);
    wait_until("all agents are listed", || browser.count(".agents tbody tr") == AGENTS as u64);
    let tile = |state: &str| browser.text(&format!("button.tile:has([data-state={state}]) .n"));
    wait_until("they are counted by their state", || {
        (tile("capturing"), tile("waiting")) == ("49".to_owned(), "1".to_owned())
    });
    wait_until("rates are shown", || {
        let rate = browser.text("div.tile .n").replace(',', "");
        rate.parse::<f64>().is_ok_and(|rate| rate > 1000.0)
    });

    // One that dies is red before anybody wonders.
    let row = "[...document.querySelectorAll('.agents tbody tr')]
               .find((tr) => tr.querySelector('a').textContent === '127.1.0.5')";
    let colour = format!(
        "const tr = {row}; tr.scrollIntoView({{ block: 'center' }});
        return [tr.dataset.state, tr.textContent, getComputedStyle(tr.cells[0]).backgroundColor]"
    );
    wait_until("it is in sight", || browser.run(&colour)[0] == "capturing");
    let killed = Instant::now();
    agents[KILLED - 1] = None;
    wait_until("the killed agent is red", || {
        let now = browser.run(&colour);
        let text = now[2].as_str().unwrap_or_default();
        let parts: Vec<i32> =
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        now[0] == "gone"
            && now[1].as_str().is_some_and(|text| text.contains("gone"))
            && parts.get(..3).is_some_and(|c| c[0] > c[1] + 10 && c[0] > c[2] + 10)
    });
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());

    // What agents call themselves is text.
    assert!(browser.text(".agents tbody").contains(EVIL_NAME), "{}", browser.text(".agents tbody"));
    assert!(
        browser.text(".agents tbody").contains(EVIL_REASON),
        "{}",
        browser.text(".agents tbody")
    );
    assert_eq!(browser.count("main :is(img, script, b:not(.value))"), 0);
    page.open(EVIL);
    assert_eq!(browser.text("h1"), format!("127.1.0.7 {EVIL_NAME}"));
    page.open(REFUSES);
    assert!(browser.text(".reason").contains(EVIL_REASON));
    assert_eq!(browser.count("main :is(img, script)"), 0);

    // The ledger, term by term, once everything has come and every count is told.
    for agent in agents.iter().flatten() {
        agent.be_silent(true);
    }
    page.open(LOSES);
    wait_until("the ledger is the one that --status tells", || {
        let agents = page.status();
        let told = agents.iter().find(|a| a["address"] == "127.1.0.3").expect("the agent");
        let sums = "return [...document.querySelectorAll('.check')].every((c) => c.dataset.holds === 'yes')";
        told["dropped"].as_u64() > Some(0)
            && TERMS.iter().all(|term| told[term] == page.term(term))
            && browser.run(sums) == true
    });
    assert!(page.term("lost") > 0 && page.term("written") > 0);
    page.check_logs(&[]);

    // A collector that is gone is missed, and what it said last is still there.
    let sent: Vec<_> =
        page.status().iter().map(|a| a["delivered"].as_u64().expect("a count")).collect();
    let Page { listener, browser, .. } = page;
    let got = listener.finish();
    wait_until("it is said", || browser.text("#lost").starts_with("Not connected since "));
    assert_eq!(browser.run("return document.body.className"), "stale");
    let written: u64 = got.accounts.values().map(|account| account.get("written")).sum();
    assert_eq!(written, sent.iter().sum::<u64>());
}

#[test]
fn a_download_is_a_file_that_tshark_reads() {
    let Some(lab) = lab() else { return };
    let page = Page::start(&lab, POLICY);
    let own = Ipv4Addr::new(127, 1, 0, 1);
    let agent = Agent::call(&lab.net.b, own, page.listener.address, Ways::default());
    page.listener.wait_for_captures(1);
    let (browser, directory) = (&page.browser, lab.path("downloads"));
    fs::create_dir(&directory).expect("a directory");
    let place = json!({ "behavior": "allow", "downloadPath": directory.to_string_lossy() });
    browser.tell("Browser.setDownloadBehavior", &place);
    browser.go(&format!("{}#/agent/1", page.url));
    wait_until("it can be asked for", || browser.count(".download button:enabled") == 1);

    browser.fill(".download input[type=text]", "hosst x");
    browser.click(".download button");
    wait_until("what is wrong is said", || {
        browser.text(".download .note").contains("syntax error")
    });

    browser.fill(".download input[type=text]", "less 300");
    browser.fill(".download input[type=number]", "2");
    browser.click(".download button");
    wait_until("it is complete", || browser.text(".download .note") == "The file is complete.");
    let mut file = None;
    wait_until("the file is there", || {
        let entries = fs::read_dir(&directory).expect("the directory").flatten();
        file = entries.map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "pcapng"));
        file.is_some()
    });
    let mut tshark = lab.net.b.command("tshark");
    let lines = run(tshark.args(["-n", "-r"]).arg(file.expect("a file"))).lines().count();
    assert!((50..400).contains(&lines), "{lines} packets");
    page.check_logs(&["filter=hosst"]);
    drop(agent);
    page.listener.finish();
}

#[test]
fn a_keyboard_and_a_narrow_screen_are_enough() {
    let Some(lab) = lab() else { return };
    let page = Page::start(&lab, POLICY);
    let name = Ways { device: "a-very-long-name-of-a-device-".repeat(4), ..Ways::default() };
    let call =
        |n, ways| Agent::call(&lab.net.b, Ipv4Addr::new(127, 1, 0, n), page.listener.address, ways);
    let agents = [call(1, Ways::default()), call(2, name)];
    page.listener.wait_for_captures(2);
    let browser = &page.browser;
    browser.go(&page.url);
    wait_until("the agents are listed", || browser.count(".agents tbody tr") == 2);

    // Everything is reached in order, and one sees where one is.
    let at = "const e = document.activeElement, s = getComputedStyle(e);
              return [e.id || e.textContent || e.getAttribute('aria-label'), s.outlineStyle, e.tagName]";
    let mut walk = Vec::new();
    let mut reach = |wanted: &str| {
        for _ in 0..40 {
            browser.press(TAB);
            let there = browser.run(at);
            // The browser's own window has places, too.
            if there[2] == "BODY" {
                continue;
            }
            assert_ne!(there[1], "none", "{there} does not show that it has the focus");
            let text = there[0].as_str().unwrap_or_default().trim().to_owned();
            walk.push(text.clone());
            if text == wanted {
                return;
            }
        }
        panic!("{wanted} is not reached: {walk:?}");
    };
    for wanted in ["Skip to content", "Policy", "theme", "Filter agents", "Agent", "127.1.0.1"] {
        reach(wanted);
    }
    browser.press(ENTER);
    wait_until("the agent's page", || browser.text("h1").starts_with("127.1.0.1 "));
    assert_eq!(browser.run("return document.activeElement.tagName"), "H1");
    wait_until("it can be stopped", || browser.count(".title button:enabled") == 1);
    reach("Stop");
    browser.press(ENTER);
    wait_until("somebody asks", || browser.count("dialog[open]") == 1);
    // "Cancel" comes first, and takes nothing back.
    assert_eq!(browser.run("return document.activeElement.textContent"), "Cancel");
    browser.press(ENTER);
    wait_until("nobody asks", || browser.count("dialog") == 0);
    assert_eq!(page.status()[0]["state"], "capturing");
    for (order, state) in [("Stop", "stopped"), ("Start", "capturing")] {
        wait_until("the button is there", || browser.text(".title button:enabled") == order);
        browser.run("document.querySelector('.title button').focus()");
        browser.press(ENTER);
        browser.press(TAB);
        browser.press(ENTER);
        wait_until(state, || browser.text(".badge").contains(state));
        assert_eq!(page.status()[0]["state"], state);
    }
    browser.run("location.hash = '#/'");
    wait_until("the agents are listed", || browser.count(".agents tbody tr") == 2);
    let sorted = "return document.querySelector('th.c-packets').getAttribute('aria-sort')";
    assert_eq!(browser.run(sorted), "none");
    browser.click("th.c-packets button");
    assert_eq!(browser.run(sorted), "descending");
    browser.fill("input[type=search]", "127.1.0.2 captur");
    wait_until("one is left", || browser.count(".agents tbody tr") == 1);
    assert_eq!(browser.text(".count"), "1 of 2 interfaces");

    // A phone, and both themes: nothing sticks out, and all of it can be read.
    for (width, theme) in [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")] {
        page.resize(width, 740);
        page.prefer(theme);
        for hash in ["#/", "#/agent/2", "#/policy"] {
            browser.run_with("location.hash = arguments[0]", &json!([hash]));
            wait_until("the page is there", || browser.count(READY) > 0);
            let wide = browser.run("return document.documentElement.scrollWidth").as_u64();
            assert!(wide <= Some(width.into()), "{hash} is {wide:?} wide on {width}");
            let faint = browser.run(FAINT);
            assert_eq!(faint, json!([]), "{hash}, {theme}, {width}");
        }
    }
    // Another theme than the system's, which stays.
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let dark = browser.run(ground);
    let choose = "const s = document.getElementById('theme'); s.value = 'light';
                  s.dispatchEvent(new Event('change'))";
    browser.run(choose);
    assert_ne!(browser.run(ground), dark);
    browser.go(&page.url);
    assert_ne!(browser.run(ground), dark);
    page.check_logs(&[]);
    drop(agents);
    page.listener.finish();
}

/// What is there when one of the pages has been drawn.
const READY: &str = ".agents tbody [data-state], .badge [data-state], pre.policy";

/// Texts whose contrast to what is behind them is less than WCAG's AA.
const FAINT: &str = r"
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (c) => {
        const [r, g, b] = c.map((n) => n / 255).map((n) => n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const c = rgba(getComputedStyle(e).backgroundColor);
            if (c[3] === 255) return c;
        }
        return [255, 255, 255, 255];
    };
    const faint = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || e.disabled || !e.checkVisibility() || e.closest('.skip, .unseen, option, noscript')) continue;
        const style = getComputedStyle(e);
        const [a, b] = [light(rgba(style.color)), light(behind(e))].sort((x, y) => y - x);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (large ? 3 : 4.5)) faint.push(`${e.tagName}.${e.className}: ${e.textContent} ${ratio.toFixed(2)}`);
    }
    return faint";

#[test]
fn others_log_in_and_out() {
    let Some(lab) = lab() else { return };
    let pair = Ca::new(&lab, "ca").vouch("page", &["127.0.0.1"]);
    fs::write(lab.path("page-password"), "hunter2\n").expect("writing a password");
    let http = format!(
        "[http]\ncert = \"{}\"\nkey = \"{}\"\npassword-file = \"page-password\"\n\n",
        pair.cert, pair.key
    );
    let page = Page::start(&lab, &(http + POLICY));
    let browser = &page.browser;
    browser.go(&page.url);
    wait_until("it asks for the password", || browser.count(".login input[type=password]") == 1);
    browser.fill(".login input", "hunter3");
    browser.press(ENTER);
    wait_until("it was wrong", || browser.text(".login .note").contains("not the password"));
    browser.fill(".login input", "hunter2");
    browser.press(ENTER);
    wait_until("it is live", || browser.text("#link-text") == "live");
    assert_eq!(browser.text(".fleet > .none"), "No agent has called yet.");
    browser.click("#logout");
    wait_until("it asks again", || browser.count(".login") == 1 && browser.count(".fleet") == 0);
    page.listener.finish();
}
