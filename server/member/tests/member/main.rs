//! Stories about a member: shards, write stage and log in one thread, under virtual time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod end;
mod ensemble;
mod errors;
mod faults;
mod framing;
mod limits;
mod local_sessions;
mod multi;
mod order;
mod power_cuts;
mod random;
mod read_only;
mod reads;
mod sessions;
mod upkeep;
mod watches;
mod wire;
mod world;
