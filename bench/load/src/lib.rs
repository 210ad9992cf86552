//! Load over ZooKeeper's wire protocol, and what it costs the server.
//!
//! Closed loop: each connection keeps a number of requests outstanding. Open loop (`rate`): requests are due at fixed
//! instants, and a latency counts from the instant at which the request was due, so that a server that stalls is charged for
//! all that should have happened meanwhile. The program `load` drives one server; `bench/compare` drives two.
//!
//! Not here: correctness (an error number is counted and reported, no more) and clean-up of the znodes that were made.
#![forbid(unsafe_code)]

pub mod args;
mod connection;
pub mod cpu;
pub mod engine;
pub mod report;
pub mod setup;
pub mod workload;
