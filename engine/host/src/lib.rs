//! What the engine asks of the machine: a [`Disk`], a [`Clock`], and [`Entropy`], as traits.
//!
//! Deciding code takes these as arguments and never opens, reads or draws anything by itself, so that a test or a
//! simulator can stand in for the machine. Here live the traits and the kinds that need no machine: an in-memory disk
//! that knows what a power cut may leave behind ([`memory`]), a wrapper that makes any disk fail on request
//! ([`faulty`]), a clock that is set by hand and a seeded generator. The real ones are in the crate `disk`.
#![forbid(unsafe_code)]

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod faulty;
pub mod memory;

pub use clock::{Clock, ManualClock};
pub use disk::{Disk, FileBytes, FileStat, LOCK_FILE, Mode, WriteFile};
pub use entropy::{Entropy, SeededEntropy};
pub use faulty::{Call, Fault, FaultyDisk};
pub use memory::MemoryDisk;
