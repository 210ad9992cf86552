//! Micro-benchmarks of single rooms.
