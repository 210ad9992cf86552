//! The atomics that the lock-free cells are made of: the standard ones, or loom's when a model is being checked.
//!
//! Only `chain`, `index` and `epochs` may hold atomics, so that everything shared between threads is under loom's eye.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicI64, AtomicPtr, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicPtr, Ordering},
};
