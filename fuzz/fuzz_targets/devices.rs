#![no_main]
//! See [`rpcap_fuzz::devices`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::devices(data));
