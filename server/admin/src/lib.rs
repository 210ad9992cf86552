//! What operators read of a server: the four-letter words (config-and-ops.md §4), as text.
//!
//! Everything here is a pure function: values that others gathered go in, the text that ZooKeeper 3.9.5 would send comes
//! out. No socket, file or clock is touched, and nothing is changed: what a word changes (`crst`, `srst`, `stmk`) is told
//! by [`effect`] and done by the caller.
//!
//! The caller's contract for one word: ask [`Whitelist::refusal`]; if that is `None`, gather what [`needs`] names into
//! [`Facts`], carry out [`effect`], send [`answer`], close the connection.
//!
//! What always holds: lines, their order and their endings are those of 3.9.5, down to the missing last newline of some;
//! and no line shows a number that nothing counts.
#![forbid(unsafe_code)]

mod facts;
mod java;
mod merged;
mod totals;
mod version;
mod whitelist;
mod words;

pub use facts::{Bytes, Descriptors, EnsembleFacts, Facts, HostFacts, Memory, Role, ServerFacts, TRACE_MASK};
pub use totals::{Levels, Totals};
pub use version::Version;
pub use whitelist::Whitelist;
pub use words::{Effect, Needs, answer, effect, needs};
