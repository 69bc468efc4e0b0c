#![no_main]
//! See [`rpcap_fuzz::savefile_reader`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::savefile_reader(data));
