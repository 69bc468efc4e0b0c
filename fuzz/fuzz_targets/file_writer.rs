#![no_main]
//! See [`rpcap_fuzz::file_writer`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::file_writer(data));
