//! Sockets to the other members of an ensemble: names resolved and connections made off the path ([`Connector`]), the two
//! ports of this member taken ([`bind`]), and taken anew where a reconfiguration moves them ([`bind_once`]).
//!
//! What always holds: whoever drives the ensemble never waits here. A name that does not resolve, or a host that does not answer,
//! delays no other attempt, and every attempt ends within its time. Kept out: what is said on a connection, when to connect, and
//! what a failure means. Those are decided in `quorum`; the ends of attempts are handed to a function of the caller's.
#![forbid(unsafe_code)]

mod bind;
mod connector;
mod race;

pub use bind::{BindError, Listeners, bind, bind_once, port_name, shown};
pub use connector::{Connector, Options, Resolve};
