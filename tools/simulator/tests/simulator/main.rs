//! Ensembles under one seed: scenarios by name, seeds that once found something, and that a seed is a run.

mod clients;
mod java;
mod operations;
mod scenarios;
mod seeds;
