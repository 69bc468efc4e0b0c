//! The manual pages of the files, made of the definition of the options.

use clap::Arg;
use roff::{Inline, Roff, bold, italic, roman};

use super::super::ini::{self, KEYS};
use super::super::options::{Kind, Options};
use super::super::toml::{PEER_KEYS, PEER_OPTIONS};
use crate::cli::tests::kept;

const DESCRIPTION: [&str; 5] = [
    "rpcapd.toml tells rpcapd(8) what its command line can tell as well. rpcapd reads it with -f \
     FILE, and again upon SIGHUP.",
    "Every key is the name of a long option. Options without a value take true, or false, which is \
     the same as leaving them out. Numbers may be written as numbers or strings. Where an option \
     may be repeated, or its value is a list with commas, a list of values may stand.",
    "An option that the command line has as well is taken from there, and the file's is ignored, \
     lists included; --active also takes the place of every [[peer]]. A flag that the file sets \
     cannot be unset there. (ExtraHop's and \
     libpcap's daemons have it the other way round for -l, -a and -n.)",
    "A file with an error is refused as a whole: the daemon does not start, or goes on with the \
     settings that it has. Errors name the file, the line, the column and what is allowed. rpcapd \
     check-config FILE looks for them; rpcapd print-config -f FILE shows what comes of a file.",
    "A file has at most 1 MiB and is UTF-8.",
];

const PEERS: &str = "Each table [[peer]] is a collector to call, beside those of the key active. It \
                     must have host, and may have port (2003 if it is left out), ifname and ifaddr, \
                     which choose the interface that this collector may open (both must match), \
                     tls (false: its connections are not encrypted, whatever --tls says for all), \
                     and, for itself, the keys";

const CEILINGS: &str = "described above. What a peer does not say is as it is for all. Of two filters \
                        both must let a packet pass, of two snaplens the smaller one counts; the \
                        others take the place of what is said for all.";

const INI: [&str; 3] = [
    "rpcapd.ini tells rpcapd(8) a part of what rpcapd.toml(5) can: it is there so that the files of \
     ExtraHop's and libpcap's daemons go on to work. rpcapd print-config -f rpcapd.ini -s rpcapd.toml \
     converts one. A file whose name does not end in .toml is read like this. Each line is \
     KEY = VALUE, and # begins a comment.",
    "What those daemons ignore in part, such as unknown keys, a collector without a port or a preselection \
     that makes no sense, is an error. NullAuthPermit is on for YES alone; anything but YES and NO \
     is taken for NO, and said in the log. A key that is no list may be given once.",
    "An empty list of PassiveClient does not exist: without the key everybody may connect.",
];

const EXAMPLE: &str = "\
# Two hosts and a network may connect, without a password; one collector is called.
PassiveClient = 192.0.2.10, 192.0.2.11
PassiveClient = 10.0.0.0/8
NullAuthPermit = YES
UserName = nobody
ActiveClient = collector.example, 2003, ifname=eth0";

const INI_KEYS: [(&str, &str, &str); 4] = [
    (
        "ActiveClient",
        "HOST, PORT[, ifname=NAME][, ifaddr=ADDRESS[/LENGTH]]",
        "A collector to call; the port may be DEFAULT, which is 2003. May be repeated.",
    ),
    ("PassiveClient", "HOST[, HOST...]", "Hosts that may connect, as for allow. May be repeated."),
    ("NullAuthPermit", "YES|NO", "As null-auth."),
    ("UserName", "NAME", "As user."),
];

#[test]
fn the_manual_pages_say_what_the_options_are() {
    for (name, page) in [("rpcapd.toml.5", toml_page()), ("rpcapd.ini.5", ini_page())] {
        kept(&format!("docs/man/{name}"), page.as_bytes());
    }
}

fn toml_page() -> String {
    let options = Options::new();
    let mut page = Roff::new();
    page.control("TH", ["rpcapd.toml", "5"]);
    section(&mut page, "NAME");
    page.text([roman("rpcapd.toml - configuration of rpcapd")]);
    section(&mut page, "DESCRIPTION");
    paragraphs(&mut page, &DESCRIPTION);
    section(&mut page, "KEYS");
    for (name, arg) in options.iter() {
        let value = match options.kind(name) {
            Some(Kind::Flag) => roman("true"),
            Some(Kind::Repeated) => italic(format!("[{}, ...]", value_name(arg))),
            _ => italic(value_name(arg)),
        };
        let default = match arg.get_default_values() {
            [value] if options.kind(name) != Some(Kind::Flag) => {
                format!(" [default: {}]", value.to_string_lossy())
            }
            _ => String::new(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        item(&mut page, [bold(name), roman(" = "), value, roman(default)], &help);
    }
    section(&mut page, "PEERS");
    page.text([roman(format!("{PEERS} {} {CEILINGS}", PEER_OPTIONS.join(", ")))]);
    assert_eq!(
        PEER_KEYS,
        ["host", "port", "ifname", "ifaddr", "tls"],
        "as the text above has them"
    );
    section(&mut page, "SEE ALSO");
    page.text([bold("rpcapd"), roman("(8), "), bold("rpcapd.ini"), roman("(5)")]);
    page.to_roff()
}

fn ini_page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["rpcapd.ini", "5"]);
    section(&mut page, "NAME");
    page.text([roman("rpcapd.ini - configuration of rpcapd in the form of its ancestors")]);
    section(&mut page, "DESCRIPTION");
    paragraphs(&mut page, &INI[..1]);
    assert_eq!(INI_KEYS.map(|(key, ..)| key), KEYS, "as the list has them");
    section(&mut page, "KEYS");
    for (key, value, help) in INI_KEYS {
        item(&mut page, [bold(key), roman(" = "), italic(value)], help);
    }
    section(&mut page, "ERRORS");
    paragraphs(&mut page, &INI[1..]);
    section(&mut page, "EXAMPLE");
    page.control("nf", []);
    for line in EXAMPLE.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    section(&mut page, "SEE ALSO");
    page.text([bold("rpcapd"), roman("(8), "), bold("rpcapd.toml"), roman("(5)")]);
    page.to_roff()
}

/// What the page shows is a file that is read.
#[test]
fn the_example_of_an_ini_file_is_sound() {
    let contents = ini::parse(EXAMPLE, &Options::new()).unwrap_or_else(|_| panic!("{EXAMPLE}"));
    assert_eq!(contents.entries.len(), KEYS.len());
}

fn section(page: &mut Roff, name: &str) {
    page.control("SH", [name]);
}

fn paragraphs(page: &mut Roff, texts: &[&str]) {
    for text in texts {
        page.control("PP", []);
        page.text([roman(*text)]);
    }
}

fn item(page: &mut Roff, head: impl IntoIterator<Item = Inline>, text: &str) {
    page.control("TP", []);
    page.text(head.into_iter().collect::<Vec<_>>());
    page.text([roman(text)]);
}

fn value_name(arg: &Arg) -> String {
    arg.get_value_names().and_then(|names| names.first()).map_or("VALUE", |n| n.as_str()).to_owned()
}
