//! Identities and access-control entries.

use crate::jute::{Decode, Encode, JuteError, Reader, put_int, put_string};

/// Permission bits (client-protocol.md §15.1).
pub mod perms {
    /// Read data, children, and receive watch events.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

/// Who: a scheme and an identity within it.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Id {
    /// `world`, `auth`, `ip`, `digest`, `sasl`, `x509`, `super`, ….
    pub scheme: String,
    /// Meaning depends on the scheme.
    pub id: String,
}

impl Id {
    /// An identity from its two parts.
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Id {
        Id { scheme: scheme.into(), id: id.into() }
    }
}

/// Who may do what.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Acl {
    /// Bits of [`perms`]; unknown bits are kept.
    pub perms: i32,
    /// To whom they are given.
    pub id: Id,
}

impl Acl {
    /// `world:anyone` with all permissions.
    pub fn open() -> Acl {
        Acl { perms: perms::ALL, id: Id::new("world", "anyone") }
    }
}

impl Acl {
    /// What it takes in a record (characters beyond U+FFFF take half as much again).
    pub fn encoded_bytes(&self) -> usize {
        ACL_BYTES_MIN + self.id.scheme.len() + self.id.id.len()
    }
}

impl Encode for Id {
    fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, &self.scheme);
        put_string(out, &self.id);
    }
}

impl Encode for Acl {
    fn encode(&self, out: &mut Vec<u8>) {
        put_int(out, self.perms);
        self.id.encode(out);
    }
}

impl<'a> Decode<'a> for Acl {
    fn decode(r: &mut Reader<'a>) -> Result<Acl, JuteError> {
        let perms = r.int()?;
        Ok(Acl { perms, id: Id { scheme: r.string()?.into_owned(), id: r.string()?.into_owned() } })
    }
}

/// An access-control entry as a client sent it: strings may be null, which the fix-up refuses with INVALIDACL.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct RawAcl {
    /// Permission bits as sent.
    pub perms: i32,
    /// Scheme as sent.
    pub scheme: Option<String>,
    /// Identity as sent.
    pub id: Option<String>,
}

impl<'a> Decode<'a> for RawAcl {
    fn decode(r: &mut Reader<'a>) -> Result<RawAcl, JuteError> {
        let perms = r.int()?;
        let scheme = r.string_or_null()?.map(|s| s.into_owned());
        let id = r.string_or_null()?.map(|s| s.into_owned());
        Ok(RawAcl { perms, scheme, id })
    }
}

/// The fewest bytes an access-control entry takes on the wire.
pub const ACL_BYTES_MIN: usize = 12;
