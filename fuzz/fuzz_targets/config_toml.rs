#![no_main]
//! See [`rpcap_fuzz::config_toml`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::config_toml(data));
