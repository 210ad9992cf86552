//! Where a rule does not hold, and why: data for the rules about files. An entry that nothing needs any more is itself a
//! violation, so that these lists only shrink or are argued for.

/// Files of Rust that may be longer than [`LINES_MAX`], each with its reason.
pub const LONG_FILES: &[(&str, &str)] = &[];

/// Lines that a file of Rust may have.
pub const LINES_MAX: usize = 1500;

/// Files and folders whose tests may sleep, each with its reason.
pub const SLEEPERS: &[(&str, &str)] = &[];
