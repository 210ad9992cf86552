//! Hands what libFuzzer makes up to `fuzz::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::config(input));
