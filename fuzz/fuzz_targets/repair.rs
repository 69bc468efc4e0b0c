#![no_main]
//! See [`rpcap_fuzz::repair`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::repair(data));
