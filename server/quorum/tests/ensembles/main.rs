//! Whole ensembles: peers that elect, synchronise and broadcast over links with delays, breaks and partitions, in virtual time.

mod memory;
mod oracle;
mod rules;
mod storms;
mod world;
