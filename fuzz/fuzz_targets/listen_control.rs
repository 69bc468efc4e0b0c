#![no_main]
//! See [`rpcap_fuzz::listen_control`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::listen_control(data));
