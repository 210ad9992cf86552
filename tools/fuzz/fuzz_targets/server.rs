//! Hands what libFuzzer makes up to `fuzz::server`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::server(input));
