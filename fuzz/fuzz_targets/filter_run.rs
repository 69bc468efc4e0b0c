#![no_main]
//! See [`rpcap_fuzz::filter_run`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::filter_run(data));
