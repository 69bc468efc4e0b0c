#![no_main]
//! See [`rpcap_fuzz::daemon_options`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::daemon_options(data));
