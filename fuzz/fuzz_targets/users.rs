#![no_main]
//! See [`rpcap_fuzz::users`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::users(data));
