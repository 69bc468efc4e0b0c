#![no_main]
//! See [`rpcap_fuzz::print`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::print(data));
