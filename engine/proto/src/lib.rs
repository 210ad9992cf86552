//! ZooKeeper's vocabulary: numbers, error codes, operation codes, jute, and the records of wire and disk.
//!
//! Everything here is a pure function of bytes. Decoding is total: every length is checked against its bound before use,
//! and no input panics. Nothing here knows what an operation *does*; that is the tree's and the pipeline's business.
#![forbid(unsafe_code)]

pub mod acl;
pub mod code;
pub mod connect;
pub mod ids;
pub mod jute;
pub mod multi;
pub mod op;
pub mod path;
pub mod reply;
pub mod request;
pub mod stat;
pub mod txn;

pub use acl::{Acl, Id, perms};
pub use code::Code;
pub use ids::{Millis, SessionId, Sid, Xid, Zxid};
pub use jute::{Decode, Encode, JuteError, Reader};
pub use op::Op;
pub use stat::Stat;
pub use txn::{Txn, TxnHeader};
