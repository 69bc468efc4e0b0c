#![no_main]
//! See [`rpcap_fuzz::udpstr_unpack`].

libfuzzer_sys::fuzz_target!(|data: &[u8]| rpcap_fuzz::udpstr_unpack(data));
