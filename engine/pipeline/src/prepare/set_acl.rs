//! setACL (client-protocol.md §9.5).

use std::borrow::Cow;

use proto::request::SetAcl;
use proto::{Op, Txn, TxnHeader, perms};

use super::{Caller, Context, Prepared, Refusal, found, next_version, stat_of, strict, typed};
use crate::guard::Guard;
use crate::message::MemberResult;

/// Checks and applies a setACL.
pub(crate) fn set_acl<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    request: &SetAcl<'f>,
    caller: Caller<'_>,
    header: &TxnHeader,
) -> Result<Prepared<'f>, Refusal> {
    ctx.session(caller)?;
    strict(&request.path)?;
    let acl = ctx.fix_up(request.acl.as_deref(), caller)?;
    let node = found(ctx.tree, &request.path)?;
    ctx.permit(node.acl(), perms::ADMIN, caller)?;
    let version = next_version(request.version, node.persisted().aversion)?;

    let txn = Txn::SetAcl { path: request.path.clone(), acl: Cow::Owned(acl), version };
    let applied = ctx.tree.apply(&typed(header, Op::SetAcl), &txn);
    let result = MemberResult::Stat(stat_of(&applied));
    Ok(Prepared { op: Op::SetAcl, txn, changes: applied.changes, result })
}
