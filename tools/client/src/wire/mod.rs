//! Requests to frames, frames to answers; no I/O.

mod request;
mod response;

pub use request::{MultiOp, Request, put_connect, xid};
pub use response::{Event, Frame, MultiResult, Reply, Response, next_frame, open_acl};

#[cfg(test)]
mod tests;
