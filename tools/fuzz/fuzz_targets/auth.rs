//! Hands what libFuzzer makes up to `fuzz::auth`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::auth(input));
