#![no_main]
//! See [`rpcap_fuzz::flow`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::flow(data));
