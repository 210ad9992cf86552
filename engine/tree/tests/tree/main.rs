//! Behaviour of the tree through its public API.

mod agreement;
mod basics;
mod threads;
