#![no_main]
//! See [`rpcap_fuzz::filter_kernel`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::filter_kernel(data));
