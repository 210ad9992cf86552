//! delete (client-protocol.md §9.2) and deleteContainer (§9.3).

use proto::request::PathVersion;
use proto::stat::Owner;
use proto::{Code, Op, Txn, TxnHeader, path, perms};

use super::{Caller, Context, Prepared, Refusal, found, loose_split, next_version, typed};
use crate::guard::Guard;
use crate::message::MemberResult;

/// Checks and applies a delete.
pub(crate) fn delete<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    request: &PathVersion<'f>,
    caller: Caller<'_>,
    header: &TxnHeader,
) -> Result<Prepared<'f>, Refusal> {
    ctx.session(caller)?;
    let parent_path = deletable(&request.path)?;
    let parent = found(ctx.tree, parent_path)?;
    ctx.permit(parent.acl(), perms::DELETE, caller)?;
    let node = found(ctx.tree, &request.path)?;
    next_version(request.version, node.persisted().version)?;
    if node.child_count() > 0 {
        return Err(Code::NotEmpty.into());
    }
    Ok(apply(ctx, Op::Delete, request, header))
}

/// Checks and applies a deleteContainer. `caller` is `None` for the server's own reaper. Java takes the operation from any
/// client without looking at ACLs (java-faults.md); we ask of a client what delete asks.
pub(crate) fn delete_container<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    request: &PathVersion<'f>,
    caller: Option<Caller<'_>>,
    header: &TxnHeader,
) -> Result<Prepared<'f>, Refusal> {
    if let Some(caller) = caller {
        ctx.session(caller)?;
    }
    let parent_path = deletable(&request.path)?;
    let node = found(ctx.tree, &request.path)?;
    if node.child_count() > 0 {
        return Err(Code::NotEmpty.into());
    }
    if matches!(node.owner(), Owner::Session(_)) {
        return Err(Code::BadVersion.into());
    }
    let parent = found(ctx.tree, parent_path)?;
    if let Some(caller) = caller {
        ctx.permit(parent.acl(), perms::DELETE, caller)?;
    }
    Ok(apply(ctx, Op::DeleteContainer, request, header))
}

fn deletable(path: &str) -> Result<&str, Code> {
    let (parent, _) = loose_split(path)?;
    if path::is_reserved(path) { Err(Code::BadArguments) } else { Ok(parent) }
}

fn apply<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    op: Op,
    request: &PathVersion<'f>,
    header: &TxnHeader,
) -> Prepared<'f> {
    let txn = Txn::Delete { path: request.path.clone() };
    let applied = ctx.tree.apply(&typed(header, op), &txn);
    Prepared { op, txn, changes: applied.changes, result: MemberResult::Deleted }
}
