//! From request to transaction, one operation per file: which checks, in which order, with which error
//! (client-protocol.md §9), and what the client hears. A prepared transaction is already applied to the tree's future.

mod check;
mod create;
mod delete;
mod multi;
mod reconfig;
mod set_acl;
mod set_data;

pub(crate) use create::create;
pub(crate) use delete::{delete, delete_container};
pub(crate) use multi::multi;
pub(crate) use reconfig::reconfig;
pub(crate) use set_acl::set_acl;
pub(crate) use set_data::set_data;

use proto::acl::RawAcl;
use proto::{Acl, Code, Id, Op, SessionId, Txn, TxnHeader, path};
use tree::{NodeView, Writer};

use crate::message::Changes;

use crate::guard::Guard;
use crate::message::{MemberResult, Origin};
use crate::sequencer::Settings;
use crate::session_table::SessionTable;

/// Why a write is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The client hears this code.
    Code(Code),
    /// The session speaks through another connection by now; this one is closed without an answer. A learner has it as an error.
    Moved,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Refusal {
        Refusal::Code(code)
    }
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// The session.
    pub(crate) session: SessionId,
    /// Its connection, or the learner that has it.
    pub(crate) from: Option<Origin>,
    /// The identities.
    pub(crate) ids: &'a [Id],
    /// What is known of the session.
    pub(crate) standing: Standing,
}

/// What is known of the session for which a write is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The table of sessions says whether it exists; if not, this code says so.
    Tabled(Code),
    /// It exists, although no transaction made it: the server knows it that has its connection. It owns no znodes, and whoever asks
    /// for one gets this code.
    Local(Code),
}

/// What the operations work on.
pub(crate) struct Context<'s, G> {
    /// The tree, newest state.
    pub(crate) tree: &'s mut Writer,
    /// The sessions, newest state.
    pub(crate) sessions: &'s SessionTable,
    /// Access control.
    pub(crate) guard: &'s G,
    /// Switches.
    pub(crate) settings: &'s Settings,
    /// What the ACLs of this request may still take.
    pub(crate) acl_bytes_left: usize,
}

/// A write that will happen.
pub(crate) struct Prepared<'f> {
    /// The transaction's type.
    pub(crate) op: Op,
    /// Its effect.
    pub(crate) txn: Txn<'f>,
    /// What watches must hear.
    pub(crate) changes: Changes,
    /// What the client hears.
    pub(crate) result: MemberResult,
}

impl<'s, G: Guard> Context<'s, G> {
    /// For one request.
    pub(crate) fn new(tree: &'s mut Writer, sessions: &'s SessionTable, guard: &'s G, settings: &'s Settings) -> Self {
        Context { tree, sessions, guard, settings, acl_bytes_left: settings.record_bytes_max }
    }

    /// The session check that precedes everything else.
    pub(crate) fn session(&self, caller: Caller<'_>) -> Result<(), Refusal> {
        let unknown = match caller.standing {
            Standing::Tabled(unknown) => unknown,
            Standing::Local(_) => return Ok(()),
        };
        let session = self.sessions.get(caller.session).ok_or(unknown)?;
        if session.owner.is_some() && session.owner != caller.from {
            return Err(Refusal::Moved);
        }
        Ok(())
    }

    /// The session check of whoever will own a znode.
    pub(crate) fn owner(&self, caller: Caller<'_>) -> Result<(), Refusal> {
        match caller.standing {
            Standing::Tabled(_) => self.session(caller),
            Standing::Local(refusal) => Err(refusal.into()),
        }
    }

    /// The ACL as it is stored. All that a request carries together must fit a record.
    fn fix_up(&mut self, acl: Option<&[RawAcl]>, caller: Caller<'_>) -> Result<Vec<Acl>, Code> {
        let fixed = self.guard.fix_up(acl, caller.ids, self.acl_bytes_left)?;
        let bytes = fixed.iter().map(Acl::encoded_bytes).sum();
        self.acl_bytes_left = self.acl_bytes_left.saturating_sub(bytes);
        Ok(fixed)
    }

    /// Refuses with NOAUTH.
    fn permit(&self, acl: &[Acl], wanted: i32, caller: Caller<'_>) -> Result<(), Code> {
        if self.guard.allows(acl, wanted, caller.ids) { Ok(()) } else { Err(Code::NoAuth) }
    }

    /// The quota of the deepest enclosing quota path, counted against the newest usage. A hard limit refuses, a soft one is
    /// only worth a line in the log (client-protocol.md §16).
    fn quota(&self, path: &str, bytes: i64, count: i64) -> Result<(), Code> {
        if !self.settings.enforce_quota {
            return Ok(());
        }
        let Some(quota) = self.tree.quota_for(path) else { return Ok(()) };
        let over = |used: i64, delta: i64, hard: Option<i64>, soft: Option<i64>| {
            delta != 0 && hard.or(soft).is_some_and(|limit| used.saturating_add(delta) > limit)
        };
        let (limits, usage) = (&quota.limits, &quota.usage);
        let checks = [
            ("bytes", over(usage.bytes, bytes, limits.bytes_hard, limits.bytes), limits.bytes_hard.is_some()),
            ("count", over(usage.count, count, limits.count_hard, limits.count), limits.count_hard.is_some()),
        ];
        for (what, exceeded, hard) in checks {
            if exceeded && hard {
                return Err(Code::QuotaExceeded);
            }
            if exceeded {
                tracing::warn!(quota = quota.path, znode = path, "{what} quota exceeded");
            }
        }
        Ok(())
    }
}

/// Parent and name of a path that must at least contain a slash and no NUL.
fn loose_split(path: &str) -> Result<(&str, &str), Code> {
    if path.contains('\0') {
        return Err(Code::BadArguments);
    }
    path::split(path).ok_or(Code::BadArguments)
}

/// The full path rules.
fn strict(path: &str) -> Result<(), Code> {
    path::check(path).map_err(|_| Code::BadArguments)
}

/// The node or NONODE.
fn found<'w>(tree: &'w Writer, path: &str) -> Result<NodeView<'w>, Code> {
    tree.node(path).ok_or(Code::NoNode)
}

/// The version check of delete, setData, setACL and check; the answer is the current version plus one.
fn next_version(expected: i32, current: i32) -> Result<i32, Code> {
    if expected != -1 && expected != current { Err(Code::BadVersion) } else { Ok(current.wrapping_add(1)) }
}

/// The stat that a single operation left behind.
fn stat_of(applied: &tree::Applied) -> proto::Stat {
    let outcome = applied.outcomes.first().filter(|outcome| outcome.err == 0);
    outcome.and_then(|outcome| outcome.stat).expect("what was checked applies, and leaves a stat")
}

/// The header of a member or of the whole transaction, with its type filled in.
fn typed(header: &TxnHeader, op: Op) -> TxnHeader {
    TxnHeader { op, ..*header }
}
