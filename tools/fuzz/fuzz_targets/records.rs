//! Hands what libFuzzer makes up to `fuzz::records`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::records(input));
