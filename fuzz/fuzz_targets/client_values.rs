#![no_main]
//! See [`rpcap_fuzz::client_values`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::client_values(data));
