//! Files that are broken, odd or meant to do harm.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::super::options::Options;
use super::super::{ini as ini_file, load, toml as toml_file};
use super::{Scratch, args, assert_same, ini, load_text, toml};

#[test]
fn d9_116_broken_lines_are_refused_with_their_numbers() {
    for line in [
        "ActiveClient",
        "ActiveClient=",
        "ActiveClient=h",
        "ActiveClient=h,",
        "ActiveClient=,2003",
        "ActiveClient=h,2003 junk",
        "ActiveClient=h,2003,h2,2004",
        "ActiveClient=h,port",
        "ActiveClient=h,0",
        "ActiveClient=h,ifname=eth0",
        "PassiveClient",
        "PassiveClient=",
        "PassiveClient=,",
        "PassiveClient=10.0.0.0/33",
        "UserName=",
        "UserName=no such user",
        "Activeclient=h,2003",
        "= h,2003",
        "key = value",
        "junk",
    ] {
        let errors = ini(format!("NullAuthPermit = YES\n\n  {line}\nPassiveClient = a\n"));
        let errors = errors.map(|c| c.cli).expect_err(line);
        assert_eq!(errors.len(), 1, "{line}: {errors:?}");
        assert!(errors[0].starts_with("c.ini:3:"), "{line}: {errors:?}");
    }
    assert_eq!(
        ini("ActiveClient=h\nnull = YES").unwrap_err(),
        [
            "c.ini:1:14: \"ActiveClient\" = \"h\": expected HOST, PORT, and ifname=NAME or \
             ifaddr=ADDRESS[/LENGTH] after them",
            "c.ini:2:8: \"null\" = \"YES\": there is no such key; there are ActiveClient, \
             PassiveClient, NullAuthPermit, UserName",
        ]
    );
}

#[test]
fn d9_117_odd_and_large_files() {
    let lines: String = (1..=11).map(|n| format!("ActiveClient = h{n}, DEFAULT\n")).collect();
    assert_eq!(ini(&lines).unwrap().cli.active.len(), 11);
    let hosts = vec!["192.0.2.1"; 1000].join(" ");
    assert!(hosts.len() > 9_000);
    let long = format!("PassiveClient = {hosts}\nNullAuthPermit = YES");
    assert_same(&ini(&long).unwrap(), &[&format!("-l{hosts}"), "-n"]);
    assert_same(&ini("\u{feff}NullAuthPermit\t=\tYES\r\n\r\n").unwrap(), &["-n"]);
    assert_same(&load_text("c.toml", "\u{feff}null-auth = true\r\n", &[]).unwrap(), &["-n"]);
    assert_same(&ini("").unwrap(), &[]);

    let errors = ini("PassiveClient = a\0b\n").unwrap_err();
    assert_eq!(errors, ["c.ini:1:18: the character '\\0' cannot be part of a line"]);
    let errors = ini(b"PassiveClient = a\n\n  \xff\n").unwrap_err();
    assert_eq!(errors, ["c.ini:3:3: this is not UTF-8"]);
    let errors = ini(format!("{}\n", "x".repeat(10_000))).unwrap_err();
    assert!(errors.len() == 1 && errors[0].len() < 200, "{errors:?}");
    let errors = ini("x\n".repeat(10_000)).unwrap_err();
    assert!(errors.len() <= 20, "{}", errors.len());
    let many = "PassiveClient = 192.0.2.1\n".repeat(5 << 20).into_bytes();
    let errors = ini(&many[..5 << 20]).unwrap_err();
    assert_eq!(errors, ["c.ini: it is too long: 1048576 bytes are the most"]);
    for (text, part) in [
        (format!("allow = [{}]", "'a',".repeat(2000)), "allow: 1000 values are the most"),
        ("[[peer]]\nhost = 'a'\n".repeat(2000), "[[peer]]: 64 are the most"),
        (format!("a = {}", "[".repeat(100_000)), "c.toml:1:"),
    ] {
        let errors = toml(&text).map(|c| c.cli).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(part), "{errors:?}");
    }
}

#[test]
fn d9_117_what_is_no_file() {
    let scratch = Scratch::new();
    let failed = |path: &Path| load(&args(path, &[])).unwrap_err().to_string();
    assert!(failed(&scratch.0).contains("expected a file, not a directory"));
    assert!(failed(&scratch.path("none.toml")).contains(if cfg!(unix) {
        "reading it: No such file"
    } else {
        "reading it: "
    }));
    #[cfg(unix)]
    {
        let pipe = scratch.path("pipe.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(failed(&pipe).contains("expected a file"));
        assert!(failed(Path::new("/dev/zero")).contains("expected a file"));
    }
    let huge = scratch.write("huge.toml", "");
    fs::File::options().write(true).open(&huge).unwrap().set_len(1 << 30).unwrap();
    assert!(failed(&huge).contains("it is too long"));
}

#[test]
fn d9_118_preselections_that_make_no_sense_are_refused() {
    for option in ["ifname=", "ifaddr=10.0.0.0/33", "ifaddr=::1/129", "ifaddr=x", "ifmac=x"] {
        let errors = ini(format!("ActiveClient = h, 2003, {option}\n")).unwrap_err();
        assert!(errors[0].starts_with("c.ini:1:16: "), "{errors:?}");
    }
    for value in ["'10.0.0.0/33'", "'::1/129'", "'x'", "1", "[]"] {
        let errors = toml(&format!("[[peer]]\nhost = 'h'\nifaddr = {value}\n")).unwrap_err();
        assert!(errors[0].starts_with("c.toml:3:10: "), "{errors:?}");
    }
}

#[test]
fn d9_119_only_yes_is_yes() {
    for (value, expected, notes) in [
        ("YES", true, 0),
        ("YES # sure", true, 0),
        ("NO", false, 0),
        ("yes", false, 1),
        ("NO YES", false, 1),
        ("", false, 1),
    ] {
        let config = ini(format!("NullAuthPermit = {value}")).unwrap();
        assert_eq!((config.cli.null_auth, config.notes.len()), (expected, notes), "{value}");
    }
    assert!(!ini("# NullAuthPermit = YES").unwrap().cli.null_auth);
    ini("NullAuthPermit = YES\nNullAuthPermit = NO").unwrap_err();
    ini("NullAuthPermit = NO\nNullAuthPermit = YES").unwrap_err();
}

#[test]
fn d9_123_a_file_that_is_gone_is_an_error_when_read_again() {
    let scratch = Scratch::new();
    let file = scratch.write("c.toml", "port = 1");
    let config = load(&args(&file, &["-n"])).unwrap();
    fs::write(&file, "port = 2").unwrap();
    let again = config.again().unwrap();
    assert_eq!((again.cli.port, again.cli.null_auth), (2, true));
    assert_eq!(again.changed(&config), ["port"]);
    fs::remove_file(&file).unwrap();
    config.again().unwrap_err();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_configuration_or_errors_within_it(text in any::<String>()) {
        let options = Options::new();
        for parsed in [toml_file::parse(&text, &options), ini_file::parse(&text, &options)] {
            for fault in parsed.err().unwrap_or_default() {
                prop_assert!(fault.at <= text.len());
                prop_assert!(!fault.reason.chars().any(char::is_control), "{:?}", fault.reason);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_configuration_or_errors(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for name in ["c.toml", "c.ini"] {
            if let Err(errors) = load_text(name, &bytes, &[]) {
                prop_assert!(errors.iter().all(|line| line.starts_with(name)), "{errors:?}");
            }
        }
    }

    #[test]
    fn texts_made_of_what_files_have(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "ActiveClient", "PassiveClient", "NullAuthPermit", "UserName", "=", " = ", ",", "#",
                "\n", "\r\n", "\t", "YES", "h", "2003", "ifname=", "ifaddr=::1/129", "\u{feff}", "[[peer]]\n",
                "[peer]\n", "host", "'a'", "\"", "'", "[", "]", "{", "}", "1", "-1", "1e9", "0x", "port",
                "allow", "active", "filter", "true", "inf", "1979-05-27", "ä", ".", "'''", "\\u0000",
            ]),
            0..30,
        )
    ) {
        let text = parts.concat();
        let options = Options::new();
        for parsed in [toml_file::parse(&text, &options), ini_file::parse(&text, &options)] {
            for fault in parsed.err().unwrap_or_default() {
                prop_assert!(text.get(..fault.at).is_some(), "{}: {}", fault.at, fault.reason);
            }
        }
    }
}
