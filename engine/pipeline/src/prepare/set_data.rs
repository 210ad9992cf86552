//! setData (client-protocol.md §9.4).

use std::borrow::Cow;

use proto::request::SetData;
use proto::{Op, Txn, TxnHeader, perms};

use super::{Caller, Context, Prepared, Refusal, found, next_version, stat_of, strict, typed};
use crate::guard::Guard;
use crate::message::MemberResult;

/// Checks and applies a setData.
pub(crate) fn set_data<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    request: &SetData<'f>,
    caller: Caller<'_>,
    header: &TxnHeader,
) -> Result<Prepared<'f>, Refusal> {
    ctx.session(caller)?;
    strict(&request.path)?;
    let node = found(ctx.tree, &request.path)?;
    ctx.permit(node.acl(), perms::WRITE, caller)?;
    let length = |data: Option<&[u8]>| data.map_or(0, |data| data.len() as i64);
    ctx.quota(&request.path, length(request.data) - length(node.data()), 0)?;
    let version = next_version(request.version, node.persisted().version)?;

    let txn = Txn::SetData { path: request.path.clone(), data: request.data.map(Cow::Borrowed), version };
    let applied = ctx.tree.apply(&typed(header, Op::SetData), &txn);
    let result = MemberResult::Stat(stat_of(&applied));
    Ok(Prepared { op: Op::SetData, txn, changes: applied.changes, result })
}
