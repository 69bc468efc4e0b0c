#![no_main]
//! See [`rpcap_fuzz::client_session`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::client_session(data));
