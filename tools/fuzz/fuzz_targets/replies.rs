//! Hands what libFuzzer makes up to `fuzz::replies`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::replies(input));
