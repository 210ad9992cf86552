//! Hands what libFuzzer makes up to `fuzz::log`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::log(input));
