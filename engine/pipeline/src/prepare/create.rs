//! create, create2, createContainer, createTTL (client-protocol.md §9.1).

use std::borrow::Cow;

use proto::perms;
use proto::request::{Create, CreateMode};
use proto::stat::{Owner, TTL_MAX};
use proto::{Code, Op, Txn, TxnHeader};

use super::{Caller, Context, Prepared, Refusal, found, loose_split, stat_of, strict, typed};
use crate::guard::Guard;
use crate::message::MemberResult;

/// Checks and applies a create. The type of the transaction follows from the operation, not from the flags.
pub(crate) fn create<'f, G: Guard>(
    ctx: &mut Context<'_, G>,
    op: Op,
    request: &Create<'f>,
    caller: Caller<'_>,
    header: &TxnHeader,
) -> Result<Prepared<'f>, Refusal> {
    let mode = CreateMode::from_flags(request.flags).ok_or(Code::BadArguments)?;
    if mode.ttl && !ctx.settings.extended_types {
        return Err(Code::Unimplemented.into());
    }
    // Java lets createTTL with a non-TTL flag and a negative ttl through and then dies applying it (java-faults.md).
    let ttl_fits = match (mode.ttl, op) {
        (true, _) => (1..=TTL_MAX).contains(&request.ttl),
        (false, Op::CreateTtl) => false,
        (false, _) => request.ttl < 0,
    };
    if !ttl_fits {
        return Err(Code::BadArguments.into());
    }
    if mode.ephemeral { ctx.owner(caller) } else { ctx.session(caller) }?;
    let (parent_path, _) = loose_split(&request.path)?;
    let acl = ctx.fix_up(request.acl.as_deref(), caller)?;
    let parent = found(ctx.tree, parent_path)?;
    ctx.permit(parent.acl(), perms::CREATE, caller)?;
    let parent_cversion = parent.persisted().cversion;
    let path: Cow<'f, str> = if mode.sequential {
        Cow::Owned(format!("{}{:010}", request.path, parent_cversion))
    } else {
        request.path.clone()
    };
    strict(&path)?;
    if ctx.tree.node(&path).is_some() {
        return Err(Code::NodeExists.into());
    }
    if matches!(parent.owner(), Owner::Session(_)) {
        return Err(Code::NoChildrenForEphemerals.into());
    }
    ctx.quota(&path, request.data.map_or(0, |data| data.len() as i64), 1)?;

    let result_path: Box<str> = path.as_ref().into();
    let data = request.data.map(Cow::Borrowed);
    let acl = Cow::Owned(acl);
    let parent_cversion = parent_cversion.wrapping_add(1);
    let txn = match op {
        Op::CreateContainer => Txn::CreateContainer { path, data, acl, parent_cversion },
        Op::CreateTtl => Txn::CreateTtl { path, data, acl, parent_cversion, ttl: request.ttl },
        _ => Txn::Create { path, data, acl, ephemeral: mode.ephemeral, parent_cversion },
    };
    let applied = ctx.tree.apply(&typed(header, op), &txn);
    let stat = stat_of(&applied);
    let result =
        if op == Op::Create { MemberResult::Path(result_path) } else { MemberResult::PathStat(result_path, stat) };
    Ok(Prepared { op, txn, changes: applied.changes, result })
}
