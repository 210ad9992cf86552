//! What the sequencer must know of authentication: may these identities do this, and what does a client's ACL mean?
//! The rules live in the server's auth crate; the engine only asks.

use proto::acl::RawAcl;
use proto::{Acl, Code, Id};

/// Access control, asked while a write is prepared.
pub trait Guard {
    /// May a caller with these identities do what `wanted` (bits of [`proto::perms`]) asks under this ACL?
    fn allows(&self, acl: &[Acl], wanted: i32, ids: &[Id]) -> bool;

    /// Expands and checks an ACL as a client sent it. `Err` is INVALIDACL, or MARSHALLINGERROR if what comes of it would take
    /// more than `bytes_max` in a record: each entry of a scheme may stand for as many as the caller has identities.
    fn fix_up(&self, acl: Option<&[RawAcl]>, ids: &[Id], bytes_max: usize) -> Result<Vec<Acl>, Code>;
}
