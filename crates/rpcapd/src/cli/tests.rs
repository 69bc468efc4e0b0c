use super::*;
use clap::CommandFactory;

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

/// `RPCAP_BLESS=1` writes what is made of the definition instead of comparing it.
#[cfg(unix)]
pub(crate) fn kept(path: &str, made: &[u8]) {
    let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("RPCAP_BLESS").is_some() {
        std::fs::write(path, made).unwrap();
    } else {
        assert!(
            std::fs::read(&path).is_ok_and(|written| written == made),
            "{path} is out of date: run this test with RPCAP_BLESS=1"
        );
    }
}

/// They are of the options on Linux.
#[cfg(unix)]
#[test]
fn the_manual_pages_say_what_help_says() {
    let mut command = Arguments::command();
    command.build();
    let source = format!("rpcapd {}", env!("CARGO_PKG_VERSION"));
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|c| !c.is_hide_set()).cloned());
        let name = command.get_display_name().unwrap_or("rpcapd").to_owned();
        let mut page = Vec::new();
        let man = clap_mangen::Man::new(command).title(&name).section("8").source(&source);
        man.render(&mut page).unwrap();
        kept(&format!("docs/man/{name}.8"), &page);
    }
}

/// Without what --help does not show, which would be completed as well.
#[cfg(unix)]
fn shown(command: &clap::Command) -> clap::Command {
    clap::Command::new(&*command.get_name().to_owned().leak())
        .about(command.get_about().cloned().unwrap_or_default())
        .args(command.get_arguments().filter(|a| !a.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|c| !c.is_hide_set()).map(shown))
        .disable_help_subcommand(true)
        .version(env!("CARGO_PKG_VERSION"))
}

#[cfg(unix)]
#[test]
fn shells_complete_what_there_is() {
    use clap_complete::Shell::{Bash, Fish, Zsh};
    for (shell, file) in [(Bash, "rpcapd.bash"), (Zsh, "_rpcapd"), (Fish, "rpcapd.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut shown(&Arguments::command()), "rpcapd", &mut script);
        assert!(!String::from_utf8_lossy(&script).contains("pam-helper"));
        kept(&format!("packaging/completions/{file}"), &script);
    }
}

#[test]
fn wrong_values_are_refused() {
    for args in [
        ["rpcapd", "--replay", "x"],
        ["rpcapd", "--idle-timeout", "0"],
        ["rpcapd", "--idle-timeout", "NaN"],
        ["rpcapd", "-z", "0"],
        ["rpcapd", "-p", "65536"],
        ["rpcapd", "-l", "10.0.0.0/33"],
        ["rpcapd", "--latency", "0"],
        ["rpcapd", "-c", "two"],
        ["rpcapd", "-c", "0,1,2"],
        ["rpcapd", "-c", "-2"],
        ["rpcapd", "-e", "20,0"],
        ["rpcapd", "-m", "0"],
        ["rpcapd", "-k", "7"],
        ["rpcapd", "-u", "-1"],
        ["rpcapd", "--max-cpu", "0%"],
        ["rpcapd", "--max-captures", "-1"],
        ["rpcapd", "--max-memory", "1.5"],
        ["rpcapd", "--log=kern", "-n"],
        ["rpcapd", "--log-level", "all"],
        ["rpcapd", "--log-format", "xml"],
        ["rpcapd", "--metrics", "9100"],
        ["rpcapd", "--pam-service", "../x"],
        ["rpcapd", "--pam-service", ""],
        ["rpcapd", "--pam-users", "a,,b"],
        ["rpcapd", "--pam-groups", ""],
    ] {
        assert!(Arguments::try_parse_from(args).is_err(), "{args:?}");
    }
}

#[test]
fn d7_105_udpstr_limits() {
    let limit = |text| {
        Arguments::try_parse_from(["rpcapd", "-t", text]).ok().map(|a| a.cli.udpstr_mtu.unwrap())
    };
    for (text, taken) in [("0", 0), ("256", 256), ("1472", 1472), ("65000", 65_000)] {
        assert_eq!(limit(text), Some(taken));
    }
    for text in ["1", "36", "37", "255", "65001", "70000", "-1", "abc", "", "1e3"] {
        assert_eq!(limit(text), None, "{text}");
    }
}

#[test]
fn what_the_options_of_the_data_path_mean() {
    let options = |args: &[&str]| {
        let args = ["rpcapd"].iter().chain(args);
        Arguments::try_parse_from(args).map(|a| a.cli.transport())
    };
    let plain = options(&[]).unwrap();
    assert_eq!((plain.threads, plain.nice), (Threads::One(None), (None, None)));
    assert_eq!((plain.send_buffer, plain.queue_bytes), (8 << 20, 64_000_000));
    let set = options(&["-c", "-1,0", "-e", "-5,1000", "-k", "1000", "-u", "100"]).unwrap();
    assert_eq!((set.threads, set.nice), (Threads::Two(None, Some(0)), (Some(-5), None)));
    assert_eq!((set.queue_packets, set.send_buffer), (1024, 8 << 20));
    let largest = options(&["-u", "4294967295"]).unwrap().send_buffer;
    assert_eq!(largest, (i32::MAX / 2) as usize, "twice that is a number of the kernel's");
    assert_eq!(options(&["-c", "0"]).unwrap().threads, Threads::One(Some(0)));
    assert!(options(&["-c", "100000"]).unwrap_err().to_string().contains("core 100000"));
}

#[test]
fn rates_are_bits_or_frames_a_second() {
    let rate = |text| {
        Arguments::try_parse_from(["rpcapd", "--max-rate", text]).ok().map(|a| {
            let rate = a.cli.max_rate.unwrap();
            assert_eq!(super::rate(&rate.to_string()), Ok(rate));
            (rate.bits, rate.frames)
        })
    };
    for (text, bits, frames) in [
        ("100Mbit", Some(100_000_000), None),
        ("20kpps", None, Some(20_000)),
        ("1.5Gbit, 0.1mpps", Some(1_500_000_000), Some(100_000)),
        ("7pps,800bit", Some(800), Some(7)),
    ] {
        assert_eq!(rate(text), Some((bits, frames)), "{text}");
    }
    for text in
        ["", "100", "Mbit", "0bit", "-1kbit", "1MB", "101Gbit", "1Mbit,", "1bit,2bit", "nanpps"]
    {
        assert_eq!(rate(text), None, "{text}");
    }
}

/// ExtraHop's `-L` takes no value, and whatever follows it is another option.
#[test]
fn where_the_log_goes() {
    let target = |args: &[&str]| {
        let args = ["rpcapd"].iter().chain(args);
        Arguments::try_parse_from(args).unwrap().cli.logging(true).target
    };
    assert_eq!(target(&[]), Target::Stderr);
    assert_eq!(target(&["-L", "-n"]), Target::Syslog(Facility::DAEMON));
    assert_eq!(target(&["-nL"]), Target::Syslog(Facility::DAEMON));
    assert_eq!(target(&["-L=journald"]), Target::Journald);
    assert_eq!(target(&["--log=local3"]).to_string(), "local3");
}
