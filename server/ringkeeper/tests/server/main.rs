//! The real binary, as its operator and its clients meet it: started with arguments and files, asked over sockets, killed,
//! and started again on what it left behind.
//!
//! Nothing waits for a fixed time: a test waits for a line of the log, an answer, or the end of the process, each with a
//! deadline that only a broken server misses.

mod backends;
mod crowds;
mod damage;
mod data_dirs;
mod ensembles;
mod features;
mod full_disk;
mod harness;
mod life;
mod log_failure;
mod masters;
mod sessions;
mod snapshots;
mod starting;
mod words;
