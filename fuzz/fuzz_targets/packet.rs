#![no_main]
//! See [`rpcap_fuzz::packet`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::packet(data));
