//! Whole ensembles of the product's own structs, with clients, under one seed and virtual time.
//!
//! A run is a function of its seed: the plan ([`plan`]), the machines with their disks ([`node`]), the network between
//! them ([`network`]), the clients ([`client`]), the faults ([`world`]). At every step the invariants are compared with what members
//! and clients show ([`ledger`], [`client`]); nothing of that shares code with what it judges.
//!
//! What is absent: real time, threads, sockets, files. A run that fails is run again by its seed, with a trace.
#![forbid(unsafe_code)]

pub mod agenda;
pub mod client;
pub mod dice;
pub mod java;
pub mod ledger;
pub mod membership;
pub mod network;
pub mod node;
pub mod operations;
pub mod plan;
pub mod rights;
pub mod sniff;
pub mod standing;
pub mod view;
pub mod watching;
pub mod wire;
pub mod world;
