#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrokeeper_fuzz::quorum_packet::run(data));
