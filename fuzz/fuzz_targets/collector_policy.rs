#![no_main]
//! See [`rpcap_fuzz::collector_policy`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::collector_policy(data));
