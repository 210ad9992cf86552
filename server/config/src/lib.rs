//! What an operator said, from every place where it can be said, as one typed value.
//!
//! This room decides and never looks: the text of the file, the arguments and the environment come in as values, further
//! files (`myid`, and that of `dynamicConfigFile`) through a function of the caller's, and a [`Config`] or a list of everything
//! that is wrong goes out, with warnings for whatever has no effect. It opens no file, resolves no name, and knows neither the
//! server that obeys nor what other rooms do with a value.
//!
//! What always holds: a setting is honoured, or its source hears that it is not; never neither. All errors are reported
//! together. A secret is in no message.
//!
//! Sources, each stronger than those before it:
//!
//! 1. defaults;
//! 2. `zoo.cfg`, or the bare arguments port, directory, tick, connections;
//! 3. `-D` flags in `SERVER_JVMFLAGS`, then `-D` arguments, under ZooKeeper's names of system properties
//!    (in ZooKeeper a line of the file is stronger than the same property given with `-D`; here what was said closer to
//!    the start of the process counts);
//! 4. environment variables `RINGKEEPER_<KEY>` (`snapCount` → `RINGKEEPER_SNAP_COUNT`, see [`environment`]);
//! 5. `--set key=value`.
//!
//! In 4 and 5 an empty value puts a setting back to its default, and an unhonoured one out of the way.

#![forbid(unsafe_code)]

mod draft;
pub mod dynamic;
pub mod environment;
mod exit;
mod honoured;
mod invocation;
mod layers;
mod load;
mod membership;
mod myid;
mod problem;
pub mod properties;
mod settings;
mod unhonoured;
mod values;

pub use exit::ExitStatus;
pub use invocation::{Invocation, Refusal, Start};
pub use load::{Loaded, Read, load};
pub use myid::my_id;
pub use problem::{Errors, Level, Problem, Source, Warning};
pub use settings::{
    Auth, Backend, CatchUp, Compression, Config, Election, Ensemble, Host, Limits, Listen, LocalSessions, Log, Machine,
    Nodes, ObserverMaster, Purge, Reaper, Secret, Sessions, Snapshots, Wires, Words,
};
pub use values::host;
