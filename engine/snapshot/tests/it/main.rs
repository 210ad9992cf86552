//! Tests of snapshots as a whole: round trips, damage, restoring, files of Java's, purging.

mod damage;
mod java;
mod kit;
mod purge;
mod restore;
mod roundtrip;
