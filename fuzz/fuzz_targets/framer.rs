#![no_main]
//! See [`rpcap_fuzz::framer`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::framer(data));
