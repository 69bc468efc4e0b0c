#![no_main]
//! See [`rpcap_fuzz::sealed`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::sealed(data));
