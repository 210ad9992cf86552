//! Tests of the log as a whole, over the in-memory disk: commit, recovery, crash images, faults.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commit;
mod crash;
mod history;
mod kit;
mod recovery;
