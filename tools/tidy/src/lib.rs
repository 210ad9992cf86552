//! The repository's own rules, as a program and a test.
//!
//! Each rule is a function from the repository as a value to what is against it. The rules are about what the compiler
//! and clippy cannot see: which crate may know which, where code may touch the world, what every file opens with. What
//! a human has to judge is left to humans.

#![forbid(unsafe_code)]

pub mod exceptions;
mod repository;
pub mod rules;
mod source;
pub mod table;

pub use repository::{Crate, File, Repository};
pub use rules::{Violation, check};
