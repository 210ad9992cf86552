//! The fuzzers: for each decoder of the product one function that takes bytes and must not panic, hang, or grow without bound.
//!
//! What each also holds against its decoder is said where it is: what was decoded is written and decoded again; what was
//! recovered is recovered again; what was restored is written as a snapshot and loaded again. The functions live in this
//! library and not in the fuzz targets, so that a test can call them with the inputs that once broke something.
//!
//! Kept out: capturing and shrinking corpora (`capture.py`), running (`run.sh`), and whatever the product itself must do.

mod auth_rules;
mod configuration;
#[path = "../../../server/quorum/tests/ensembles/lines.rs"]
mod lines;
mod logs;
mod member_world;
mod peer_world;
mod pieces;
mod replies;
mod requests;
mod same;
mod snapshots;
mod txns;
mod words;
// The replica of the ensemble's own tests.
#[path = "../../../server/quorum/tests/ensembles/memory.rs"]
mod memory;
// The member's own harness: a whole server in one thread, without sockets, under virtual time.
#[allow(dead_code, reason = "it serves many more tests")]
#[path = "../../../server/member/tests/member/wire.rs"]
mod wire;
#[allow(dead_code, reason = "it serves many more tests")]
#[path = "../../../server/member/tests/member/world.rs"]
mod world;

pub use auth_rules::auth;
pub use configuration::config;
pub use logs::{log, records};
pub use member_world::server;
pub use peer_world::peer;
pub use replies::replies;
pub use requests::requests;
pub use snapshots::snapshot;
pub use txns::txns;
pub use words::words;
