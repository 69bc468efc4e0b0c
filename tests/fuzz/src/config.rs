//! The daemon's configuration files.

use std::ffi::OsString;
use std::path::Path;

use rpcapd::config::{Config, load_bytes};

fn load(path: &str, bytes: &[u8]) -> Option<Config> {
    let args = [OsString::from("rpcapd")];
    match load_bytes(&args, Path::new(path), bytes.to_vec()) {
        Ok(config) => Some(config),
        Err(errors) => {
            assert!((1..=20).contains(&errors.0.len()));
            for error in &errors.0 {
                assert!(error.starts_with(path), "{error:?}");
                assert!(!error.chars().any(char::is_control), "{error:?}");
                assert!(error.len() < 4096, "{error:?}");
            }
            None
        }
    }
}

/// What is accepted, printed and read again is the same.
fn round_trip(config: &Config) {
    for with_sources in [false, true] {
        let text = config.to_toml(with_sources).expect("text");
        let again = load("again.toml", text.as_bytes()).expect("what was printed loads");
        assert!(again.cli.same_settings(&config.cli), "{text}");
    }
    if let Ok(text) = config.to_ini()
        && let Some(again) = load("again.ini", text.as_bytes())
        && again.cli.same_settings(&config.cli)
    {
        assert_eq!(again.to_ini().as_ref(), Ok(&text));
    }
}

/// An `rpcapd.toml`.
///
/// Every mistake is told with its place, on one line; what is accepted loads back to the same when
/// it is saved.
pub fn config_toml(data: &[u8]) {
    if let Some(config) = load("c.toml", data) {
        round_trip(&config);
    }
}

/// A file of ExtraHop's or libpcap's rpcapd, as [`config_toml`].
pub fn config_ini(data: &[u8]) {
    if let Some(config) = load("c.ini", data) {
        round_trip(&config);
    }
}
