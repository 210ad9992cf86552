//! Tests of snapshots as a whole: round trips, damage, restoring, files of Java's, purging; and of the epoch files beside them.

mod damage;
mod epochs;
mod install;
mod java;
mod kit;
mod purge;
mod restore;
mod roundtrip;
