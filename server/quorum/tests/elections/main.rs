//! Whole elections: electors that talk over links with delays, breaks and partitions, in virtual time.

mod calls;
mod java;
mod stories;
mod storms;
mod world;
