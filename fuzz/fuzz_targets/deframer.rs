#![no_main]
//! See [`rpcap_fuzz::deframer`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::deframer(data));
