#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| engine_checks::cookies::check(data));
