#![no_main]
//! See [`rpcap_fuzz::savefile`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::savefile(data));
