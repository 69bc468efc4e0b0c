//! Files that we write.

use std::ffi::OsString;
use std::fs;

use proptest::prelude::*;

use super::super::load;
use super::{Scratch, args, load_text};
use crate::peers::Peer;
use crate::preselect::Preselect;

#[test]
fn what_is_printed_says_where_it_is_from() {
    let scratch = Scratch::new();
    let text = "\nport = 2012\nactive = 'a'\n[[peer]]\nhost = 'b'\n";
    let file = scratch.write("c.toml", text);
    let mut args = args(&file, &["-n", "-l", "10.0.0.1 10.0.0.2"]);
    args.insert(1, "print-config".into());
    let printed = load(&args).unwrap().to_toml(true).unwrap();
    let file = file.display();
    assert_eq!(
        printed,
        format!(
            "port = 2012  # {file}:2:1\n\
             allow = \"10.0.0.1 10.0.0.2\"  # command line\n\
             null-auth = true  # command line\n\
             active = [\"a\"]  # {file}:3:1\n\
             \n\
             [[peer]]  # {file}:4:1\n\
             host = \"b\"\n\
             port = 2003\n"
        )
    );
}

#[test]
fn how_the_daemon_is_started_is_not_saved() {
    let scratch = Scratch::new();
    let file = scratch.path("saved.toml");
    for how in ["--daemon", "--inetd"] {
        let config = load(&["rpcapd".into(), how.into(), "-n".into()]).unwrap();
        config.save(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "null-auth = true\n");
    }
}

#[test]
fn what_an_ini_file_cannot_say_is_named() {
    let scratch = Scratch::new();
    let save = |text: &str, to: &str| {
        let config = load_text("c.toml", text, &[]).unwrap();
        config
            .save(&scratch.path(to))
            .map_err(|e| e.replace(&*scratch.0.to_string_lossy(), "").replace('\\', "/"))
    };
    assert_eq!(
        save("port = 1\nsnaplen = 2\nnull-auth = true", "a.ini").unwrap_err(),
        "saving to /a.ini: an ini file cannot say --port, --snaplen: save to a file whose name ends \
         in .toml"
    );
    assert!(save("[[peer]]\nhost = 'a'\nsnaplen = 1", "a.ini").unwrap_err().contains("a:2003"));
    // It would be a comment.
    assert!(save("active = 'a#b'", "a.ini").unwrap_err().contains("load"));
    assert!(save("active = 'a,1,ifname=x#y'", "a.ini").unwrap_err().contains("load back"));
    assert!(!scratch.path("a.ini").exists());
    save("[[peer]]\nhost = 'a'\nifname = 'eth0'", "a.ini").unwrap();
    let saved = fs::read_to_string(scratch.path("a.ini")).unwrap();
    assert_eq!(saved, "ActiveClient = a, 2003, ifname=eth0\n");
}

#[cfg(unix)]
#[test]
fn a_file_is_replaced_as_a_whole_and_nothing_else_is() {
    use std::path::Path;

    use super::toml;

    let scratch = Scratch::new();
    let config = toml("port = 1").unwrap();
    let file = scratch.write("old.toml", "old");
    let link = scratch.path("link.toml");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    config.save(&link).unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), "port = 1\n");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2);
    for wrong in [&scratch.0, Path::new("/dev/null"), &scratch.path("none/x.toml")] {
        config.save(wrong).unwrap_err();
    }
    assert!(!Path::new("/dev/null").is_file());
}

/// What a value of each kind may be.
fn settings_strategy() -> impl Strategy<Value = Vec<String>> {
    let one = prop_oneof![
        (1..=65535u16).prop_map(|n| format!("--port={n}")),
        (1..=262_144u32).prop_map(|n| format!("--snaplen={n}")),
        (1..=60_000u32).prop_map(|n| format!("--latency={n}")),
        (1..=1000u32).prop_map(|n| format!("--idle-timeout={}.5", n)),
        "[a-z0-9.:]{1,12}".prop_map(|s| format!("--bind={s}")),
        "[ -~]{1,12}".prop_map(|s| format!("--bind-device={s}")),
        "[ -~äß\"'\\\\\n\t]{1,15}".prop_map(|s| format!("--interface={s}")),
        Just("--null-auth".to_owned()),
        Just("--dry-run".to_owned()),
        Just(if cfg!(unix) { "--user=root" } else { "--tls" }.to_owned()),
        Just("--threads=-1,-1".to_owned()),
        "[a-z0-9]{1,8}([ ,;][a-z0-9]{1,8}){0,3}".prop_map(|s| format!("--allow={s}")),
        "!?[a-z0-9*?]{1,8}([ ,][a-z0-9*]{1,8}){0,3}".prop_map(|s| format!("--devices={s}")),
    ];
    let many = prop_oneof![
        "[a-z]{1,8}(,[1-9][0-9]{0,3}(,ifname=[!-+.-:<-~]{1,8})?(,ifaddr=10\\.0\\.0\\.0/8)?)?"
            .prop_map(|s| format!("--active={s}")),
        "[a-z \"'=]{0,8}".prop_map(|s| format!("--replay=d{s}=f{s}")),
    ];
    (proptest::collection::vec(one, 0..8), proptest::collection::vec(many, 0..4)).prop_map(
        |(mut one, many)| {
            let name = |s: &String| s.split('=').next().unwrap_or_default().to_owned();
            one.sort_by_key(name);
            one.dedup_by_key(|s| name(s));
            [one, many].concat()
        },
    )
}

fn peers_strategy() -> impl Strategy<Value = Vec<Peer>> {
    let text = || proptest::option::of("[ -~ä\n\t]{1,10}");
    let peer = (
        "[!-+.-:?-~]{1,10}",
        1..=65535u16,
        text(),
        proptest::option::of(1..=262_144u32),
        proptest::option::of(256..=65_000usize),
        text(),
        proptest::option::of(proptest::bool::ANY),
    );
    let peer = peer.prop_map(|(host, port, name, snaplen, udpstr_mtu, bind_device, tls)| Peer {
        preselect: name.as_deref().map(Preselect::named),

        snaplen,
        udpstr_mtu,
        bind_device,
        tls,
        ..Peer::new(&host.replace(';', "-"), port)
    });
    proptest::collection::vec(peer, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_saved_loads_back_to_the_same(settings in settings_strategy(), peers in peers_strategy()) {
        let scratch = Scratch::new();
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let line: Vec<_> = ["rpcapd"].iter().chain(&settings).map(OsString::from).collect();
        let mut config = load(&line).map_err(|e| TestCaseError::fail(e.to_string()))?;
        config.cli.peers = peers;
        config.peers = config.cli.peers.iter().map(|p| (String::new(), p.clone())).collect();
        for name in ["saved.toml", "saved.ini"] {
            let file = scratch.path(name);
            match config.save(&file) {
                Err(e) => prop_assert!(name == "saved.ini", "{}", e),
                Ok(()) => {
                    let loaded = load(&args(&file, &[]));
                    let loaded = loaded.map_err(|e| TestCaseError::fail(e.to_string()))?;
                    prop_assert!(loaded.cli.same_settings(&config.cli), "{:#?}", loaded.cli);
                }
            }
        }
    }
}
