//! Hands what libFuzzer makes up to `fuzz::requests`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::requests(input));
