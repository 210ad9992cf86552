//! Hands what libFuzzer makes up to `fuzz::txns`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::txns(input));
