//! Hands what libFuzzer makes up to `fuzz::words`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::words(input));
