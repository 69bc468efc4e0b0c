#![no_main]
//! See [`rpcap_fuzz::config_ini`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::config_ini(data));
