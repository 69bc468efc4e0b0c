#![no_main]
//! See [`rpcap_fuzz::switchboard`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::switchboard(data));
