//! The numbers that mean something, each with its own type, displayed as ZooKeeper's operators see them.

use std::fmt;

/// A transaction id: epoch in the high 32 bits, counter in the low 32. Shown in hexadecimal with `0x`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before any transaction.
    pub const ZERO: Zxid = Zxid(0);
    /// Later than every transaction that can exist.
    pub const MAX: Zxid = Zxid(i64::MAX);

    /// The id of `counter` within `epoch`.
    pub fn new(epoch: u32, counter: u32) -> Zxid {
        Zxid((i64::from(epoch) << 32) | i64::from(counter))
    }

    /// The leader's epoch, the high half.
    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The position within the epoch, the low half.
    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The id that follows in this epoch. Nothing follows the greatest number, which only a damaged file has.
    pub fn next(self) -> Zxid {
        Zxid(self.0.saturating_add(1))
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A client session. The top byte is the id of the server that made it. Shown in hexadecimal with `0x`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// "No session": what a new client sends, and what a refusal answers.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A client's number for one of its requests; in a transaction header it is called cxid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Xid(pub i32);

impl Xid {
    /// Header of a watch notification.
    pub const NOTIFICATION: Xid = Xid(-1);
    /// Header of a ping and of its reply.
    pub const PING: Xid = Xid(-2);
}

/// The id of a member of an ensemble, its `myid`. Shown in decimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sid(pub i64);

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Milliseconds: since 1970 where it is a wall-clock time, otherwise a duration or a reading of a monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Millis(pub i64);

impl Millis {
    /// This time plus `ms` milliseconds.
    pub fn plus(self, ms: i64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; negative if this is the earlier one.
    pub fn since(self, earlier: Millis) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}
