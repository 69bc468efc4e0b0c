#![no_main]
//! See [`rpcap_fuzz::local_request`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::local_request(data));
